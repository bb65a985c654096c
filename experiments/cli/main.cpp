// The command line: arguments in, one verb called, exceptions out as exit codes with one clear message.
#include <CLI/CLI.hpp>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <functional>
#include <iostream>
#include <new>
#include <optional>
#include <sstream>
#include <string>
#include <system_error>
#include <vector>

#include "autograd/parallel.h"
#include "experiments/base/environment.h"
#include "experiments/base/errors.h"
#include "experiments/cli/standard_streams.h"
#include "experiments/cli/verbs.h"

namespace {

using namespace headscope;
using namespace headscope::experiments;

std::atomic<bool> stop{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler may only touch lock-free atomics");

/// The first SIGINT, SIGTERM or SIGHUP (the terminal is gone; not under nohup) asks the training loop to stop after a
/// checkpoint; a second one ends the process. A run does not end because nobody reads its progress any more.
const std::atomic<bool>& stop_on_signals() {
    std::signal(SIGPIPE, SIG_IGN);
    struct sigaction action {};
    action.sa_handler = [](int) { stop = true; };
    action.sa_flags = SA_RESTART | static_cast<int>(SA_RESETHAND);
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);
    struct sigaction hang_up {};
    sigaction(SIGHUP, nullptr, &hang_up);
    if (hang_up.sa_handler != SIG_IGN) sigaction(SIGHUP, &action, nullptr);
    return stop;
}

void print_error(const std::string& message) {
    std::istringstream lines(message);
    for (std::string line; std::getline(lines, line);) std::cerr << "headscope: " << line << '\n';
}

struct Arguments {
    cli::RunArguments run;
    cli::ResumeArguments resume;
    cli::TraceArguments trace;
    cli::ReplayArguments replay;
    cli::ForkArguments fork;
    cli::AblateArguments ablate;
    std::string check_config;
    std::vector<std::string> check_overrides;
    std::optional<std::string> check_text;
    std::string inspect_run;
    bool inspect_json = false;
    std::vector<std::string> compare_runs;
    bool compare_json = false;
    std::string verify_path;
    bool verify_json = false;
    std::string kind;
    std::string name;
    std::optional<int> threads;
};

/// What to call once the arguments are known; set by the verb that was given.
using Action = std::function<void()>;

void add_verbs(CLI::App& app, Arguments& arguments, Action& action) {
    const std::string overrides_help = "config keys to change, for example train.steps=100 optimizer.lr=3e-4";

    CLI::App* run = app.add_subcommand("run", "train by a config file");
    run->add_option("config", arguments.run.config, "TOML file")->required();
    run->add_option("overrides", arguments.run.overrides, overrides_help);
    run->add_option("--out", arguments.run.out, "the run's folder (default runs/<name>-s<seed>)");
    run->add_flag("--json", arguments.run.json, "end with a summary in JSON on stdout");
    run->add_flag("--profile", arguments.run.profile, "end with where the time went: ops, optimizer, data, probes");
    run->callback([&] { action = [&] { cli::run(arguments.run, stop_on_signals()); }; });

    CLI::App* resume = app.add_subcommand("resume", "go on with a run that was stopped or killed");
    resume->add_option("run", arguments.resume.run, "the run's folder")->required();
    resume->add_option("overrides", arguments.resume.overrides,
                       "keys to change: train.steps, log.*, checkpoint.*, eval.*");
    resume->callback([&] { action = [&] { cli::resume(arguments.resume, stop_on_signals()); }; });

    CLI::App* replay = app.add_subcommand("replay", "compute steps of a past run again, with other probes");
    replay->add_option("run", arguments.replay.run, "the run's folder")->required();
    replay->add_option("overrides", arguments.replay.overrides,
                       "what to log, for example log.probes.overlap=1; only log.* and eval.every can change");
    replay->add_option("--from", arguments.replay.from, "first step (default: the run's first)");
    replay->add_option("--to", arguments.replay.to, "last step (default: the run's last)");
    replay->add_option("--out", arguments.replay.out, "folder to make (default <run>-replay-<from>-<to>)");
    replay->callback([&] { action = [&] { cli::replay(arguments.replay, stop_on_signals()); }; });

    CLI::App* fork = app.add_subcommand("fork", "a new run from some step of a past one, with something changed");
    fork->add_option("run", arguments.fork.run, "the run's folder")->required();
    fork->add_option("overrides", arguments.fork.overrides, overrides_help);
    fork->add_option("--step", arguments.fork.step, "step to begin at")->required();
    fork->add_option("--out", arguments.fork.out, "the new run's folder (default <run>-fork-<step>)");
    fork->add_flag("--json", arguments.fork.json, "end with a summary in JSON on stdout");
    fork->callback([&] { action = [&] { cli::fork(arguments.fork, stop_on_signals()); }; });

    CLI::App* ablate = app.add_subcommand("ablate", "take out one head after the other: what the loss makes of it");
    ablate->add_option("run", arguments.ablate.run, "the run's folder")->required();
    ablate
        ->add_option("--step", arguments.ablate.step,
                     "any step of the run (default: that of the newest good checkpoint)")
        ->check(CLI::NonNegativeNumber);
    ablate->add_option("--draws", arguments.ablate.draws, "random directions per head, for comparison (default 5)")
        ->check(CLI::Range(1, 10000));
    ablate->add_option("--out", arguments.ablate.out, "HDF5 file to make or add to (default <run>/ablation.h5)");
    ablate->add_flag("--json", arguments.ablate.json, "as JSON");
    ablate->callback([&] { action = [&] { cli::ablate(arguments.ablate, stop_on_signals()); }; });

    CLI::App* check = app.add_subcommand("check", "check a config; print shapes, parameters, memory, FLOPs");
    check->add_option("config", arguments.check_config, "TOML file")->required();
    check->add_option("overrides", arguments.check_overrides, overrides_help);
    check->add_option("--text", arguments.check_text,
                      "a sentence: show its tokens, their ids and every shape it takes");
    check->callback(
        [&] { action = [&] { cli::check(arguments.check_config, arguments.check_overrides, arguments.check_text); }; });

    CLI::App* trace =
        app.add_subcommand("trace", "run given tokens through the weights of a step; write every value and gradient");
    trace->add_option("run", arguments.trace.run, "the run's folder")->required();
    trace
        ->add_option("--step", arguments.trace.step,
                     "any step of the run (default: that of the newest good checkpoint)")
        ->check(CLI::NonNegativeNumber);
    trace->add_option("--tokens", arguments.trace.tokens, "HDF5 file with /inputs and /targets, int64 [batches, B, T]")
        ->required();
    trace->add_option("-o,--out", arguments.trace.out, "HDF5 file to write")->required();
    trace->callback([&] { action = [&] { cli::trace(arguments.trace, stop_on_signals()); }; });

    for (CLI::App* verb : {run, resume, replay, fork, ablate, trace})
        verb->add_option("--threads", arguments.threads, "threads to use (default OMP_NUM_THREADS, or all cores)")
            ->check(CLI::Range(1, 1024));

    CLI::App* inspect = app.add_subcommand("inspect", "what is in a run's log: loss against floors, a row per head");
    inspect->add_option("run", arguments.inspect_run, "the run's folder")->required();
    inspect->add_flag("--json", arguments.inspect_json, "as JSON");
    inspect->callback([&] { action = [&] { cli::inspect(arguments.inspect_run, arguments.inspect_json); }; });

    CLI::App* compare = app.add_subcommand("compare", "runs side by side, by what differs in their configs");
    compare->add_option("runs", arguments.compare_runs, "folders of runs")->required();
    compare->add_flag("--json", arguments.compare_json, "as JSON");
    compare->callback([&] { action = [&] { cli::compare(arguments.compare_runs, arguments.compare_json); }; });

    CLI::App* verify = app.add_subcommand("verify", "is all that a run left on disk whole? exit 1 when not");
    verify->add_option("path", arguments.verify_path, "the run's folder, or a single file")->required();
    verify->add_flag("--json", arguments.verify_json, "as JSON");
    verify->callback([&] { action = [&] { cli::verify(arguments.verify_path, arguments.verify_json); }; });

    const std::string kinds_help = "tasks, attentions, positions, modules, optimizers, schedules, probes or tables";
    CLI::App* list = app.add_subcommand("list", "what can be named in a config, by kind");
    list->add_option("kind", arguments.kind, kinds_help + " (default: the kinds)");
    list->callback([&] { action = [&] { cli::list(arguments.kind); }; });

    CLI::App* describe = app.add_subcommand("describe", "what one of them is, and its keys with types and defaults");
    describe->add_option("kind", arguments.kind, kinds_help)->required();
    describe->add_option("name", arguments.name, "as `headscope list KIND` prints it")->required();
    describe->callback([&] { action = [&] { cli::describe(arguments.kind, arguments.name); }; });
}

/// Parses and runs; returns the exit code of what needs no exception.
int run_command_line(int argc, char** argv) {
    CLI::App app("Trains small transformers and watches their attention heads specialise.", "headscope");
    app.set_version_flag("--version", "headscope " + software_version());
    app.require_subcommand(1);
    Arguments arguments;
    Action action;
    add_verbs(app, arguments, action);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        if (error.get_exit_code() == 0) {  // --help, --version
            app.exit(error);
            cli::require_output();
            return exit_done;
        }
        throw UsageError(std::string(error.what()) + "; see headscope --help");
    }
    std::optional<ThreadLimit> limit;
    if (arguments.threads) limit.emplace(*arguments.threads);
    action();
    cli::require_output();
    return exit_done;
}

}  // namespace

int main(int argc, char** argv) {
    cli::open_closed_streams();
    std::signal(SIGXFSZ, SIG_IGN);  // a file over its size limit is then an error of write(), with a message
    std::signal(SIGCHLD, SIG_DFL);  // who started us may have ignored it, and we wait for our children
    try {
        return run_command_line(argc, argv);
    } catch (const Stopped& error) {
        print_error(error.what());
        return exit_stopped;
    } catch (const CheckFailed& error) {
        print_error(error.what());
        return exit_check_failed;
    } catch (const NumericError& error) {
        print_error(error.what());
        return exit_numeric;
    } catch (const IoError& error) {
        print_error(error.what());
        return exit_io;
    } catch (const std::filesystem::filesystem_error& error) {
        print_error(error.path1().string() + ": cannot be looked at: " + error.code().message());
        return exit_io;
    } catch (const Error& error) {  // UsageError, and what the engine refuses
        print_error(error.what());
        return exit_usage;
    } catch (const std::bad_alloc&) {
        print_error("out of memory; make the model, the batch or seq_len smaller");
        return exit_usage;
    } catch (const std::system_error& error) {
        const bool output = std::ferror(stdout) != 0;
        print_error((output ? "standard output: cannot be written: " : "unexpected error: ") + error.code().message());
        return output ? exit_io : exit_check_failed;
    } catch (const std::exception& error) {
        print_error(std::string("unexpected error: ") + error.what());
        return exit_check_failed;
    }
}
