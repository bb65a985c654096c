// The command line: arguments in, one verb called, exceptions out as exit codes with one clear message.
#include <CLI/CLI.hpp>
#include <atomic>
#include <csignal>
#include <exception>
#include <functional>
#include <iostream>
#include <new>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "autograd/parallel.h"
#include "experiments/cli/verbs.h"
#include "experiments/environment.h"
#include "experiments/errors.h"

namespace {

using namespace headscope;

std::atomic<bool> stop{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler may only touch lock-free atomics");

/// The first SIGINT or SIGTERM asks the training loop to stop after a checkpoint; a second one ends the process.
const std::atomic<bool>& stop_on_signals() {
    struct sigaction action {};
    action.sa_handler = [](int) { stop = true; };
    action.sa_flags = SA_RESTART | static_cast<int>(SA_RESETHAND);
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);
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
    std::string check_config;
    std::vector<std::string> check_overrides;
    std::optional<std::string> check_text;
    std::string inspect_run;
    bool inspect_json = false;
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

    for (CLI::App* verb : {run, resume})
        verb->add_option("--threads", arguments.threads, "threads to use (default OMP_NUM_THREADS, or all cores)")
            ->check(CLI::Range(1, 1024));

    CLI::App* check = app.add_subcommand("check", "check a config; print shapes, parameters, memory, FLOPs");
    check->add_option("config", arguments.check_config, "TOML file")->required();
    check->add_option("overrides", arguments.check_overrides, overrides_help);
    check->add_option("--text", arguments.check_text,
                      "a sentence: show its tokens, their ids and every shape it takes");
    check->callback(
        [&] { action = [&] { cli::check(arguments.check_config, arguments.check_overrides, arguments.check_text); }; });

    CLI::App* trace =
        app.add_subcommand("trace", "run given tokens through a checkpoint; write every value and gradient");
    trace->add_option("run", arguments.trace.run, "the run's folder")->required();
    trace->add_option("--step", arguments.trace.step, "checkpoint to load (default: the newest good one)")
        ->check(CLI::NonNegativeNumber);
    trace->add_option("--tokens", arguments.trace.tokens, "HDF5 file with /inputs and /targets, int64 [batches, B, T]")
        ->required();
    trace->add_option("-o,--out", arguments.trace.out, "HDF5 file to write")->required();
    trace->callback([&] { action = [&] { cli::trace(arguments.trace); }; });

    CLI::App* inspect = app.add_subcommand("inspect", "what is in a run's log: loss against floors, a row per head");
    inspect->add_option("run", arguments.inspect_run, "the run's folder")->required();
    inspect->add_flag("--json", arguments.inspect_json, "as JSON");
    inspect->callback([&] { action = [&] { cli::inspect(arguments.inspect_run, arguments.inspect_json); }; });

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
        if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
        throw UsageError(std::string(error.what()) + "; see headscope --help");
    }
    if (arguments.threads) set_num_threads(*arguments.threads);
    action();
    return exit_done;
}

}  // namespace

int main(int argc, char** argv) {
    std::signal(SIGXFSZ, SIG_IGN);  // a file over its size limit is then an error of write(), with a message
    try {
        return run_command_line(argc, argv);
    } catch (const Stopped& error) {
        print_error(error.what());
        return exit_stopped;
    } catch (const NumericError& error) {
        print_error(error.what());
        return exit_numeric;
    } catch (const IoError& error) {
        print_error(error.what());
        return exit_io;
    } catch (const Error& error) {  // UsageError, and what the engine refuses
        print_error(error.what());
        return exit_usage;
    } catch (const std::bad_alloc&) {
        print_error("out of memory; make the model, the batch or seq_len smaller");
        return exit_usage;
    } catch (const std::exception& error) {
        print_error(std::string("unexpected error: ") + error.what());
        return exit_check_failed;
    }
}
