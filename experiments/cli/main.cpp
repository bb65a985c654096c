// The command line: reads the arguments, runs one verb, turns exceptions into exit codes with one clear message.
#include <fmt/format.h>
#include <sys/mman.h>

#include <atomic>
#include <csignal>
#include <exception>
#include <filesystem>
#include <new>
#include <optional>
#include <string>
#include <system_error>

#include "autograd/floating_point.h"
#include "autograd/parallel.h"
#include "experiments/base/errors.h"
#include "experiments/cli/output.h"
#include "experiments/cli/standard_streams.h"
#include "experiments/cli/verb.h"

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

/// The HDF5 library crashes in places where it gets no memory. So what it takes at its least is asked for first.
void require_some_memory() {
    constexpr std::size_t least = 64 << 20;
    void* const memory = ::mmap(nullptr, least, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        throw IoError("less than 64 MB of memory can be had; raise the limit on it (ulimit -v, ulimit -d)");
    ::munmap(memory, least);
}

int threads_to_use() {
    const int wanted = num_threads(), possible = possible_threads(wanted);
    if (possible < wanted)
        cli::print_note(
            fmt::format("{} of {} threads can be had, by the limits on processes and memory (ulimit -u, ulimit -v), "
                        "OMP_STACKSIZE and GOMP_CPU_AFFINITY; going on with {}\n",
                        possible, wanted, possible));
    return possible;
}

/// Parses and runs; returns the exit code of what needs no exception.
int run_command_line(int argc, char** argv) {
    const std::optional<cli::Command> command = cli::read_command_line(argc, argv);
    if (command) {
        require_some_memory();
        std::optional<ThreadLimit> limit;
        if (command->threads) limit.emplace(*command->threads);
        if (command->verb->computes()) limit.emplace(threads_to_use());
        command->verb->run(command->verb->ends_on_signals() ? stop_on_signals() : stop);
    }
    cli::require_output();
    return exit_done;
}

std::string message_of(const std::exception& error) {
    if (const auto* file = dynamic_cast<const std::filesystem::filesystem_error*>(&error))
        return file->path1().string() + ": cannot be looked at: " + file->code().message();
    if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr)
        return "out of memory; make the model, the batch or seq_len smaller";
    const bool ours = dynamic_cast<const Error*>(&error) != nullptr;
    return (ours ? "" : "unexpected error: ") + std::string(error.what());
}

}  // namespace

int main(int argc, char** argv) {
    cli::open_closed_streams();
    std::signal(SIGXFSZ, SIG_IGN);  // a file over its size limit is then an error of write(), with a message
    std::signal(SIGCHLD, SIG_DFL);  // who started us may have ignored it, and we wait for our children
    try {
        use_exact_arithmetic();
        return run_command_line(argc, argv);
    } catch (const std::exception& error) {
        cli::print_error(message_of(error));
        return exit_code_of(error);
    }
}
