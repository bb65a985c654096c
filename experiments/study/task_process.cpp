#include "experiments/study/task_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "experiments/base/errors.h"

namespace headscope::experiments {

namespace {

using Json = nlohmann::ordered_json;

struct Pipe {
    Descriptor reading, writing;
};

Pipe make_pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) fail_io("pipe", "cannot be made", errno);
    Pipe pipe{Descriptor(ends[0]), Descriptor(ends[1])};
    ::fcntl(pipe.reading, F_SETFL, O_NONBLOCK);
    return pipe;
}

/// In the new process, where nothing but calls of the kernel is allowed.
[[noreturn]] void become(pid_t parent, int output, int errors, char* const* arguments) {
    ::setpgid(0, 0);  // Ctrl-C is for the sweep, which tells its runs
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (::getppid() != parent) ::_exit(exit_stopped);
    const int nothing = ::open("/dev/null", O_RDONLY);
    ::dup2(nothing, STDIN_FILENO);
    ::dup2(output, STDOUT_FILENO);
    ::dup2(errors, STDERR_FILENO);
    ::execv("/proc/self/exe", arguments);
    constexpr std::string_view reason = "the program cannot be started again: /proc/self/exe is not there\n";
    [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, reason.data(), reason.size());
    ::_exit(exit_io);
}

/// All that can be had without waiting.
std::string read_available(int file) {
    std::string text;
    std::array<char, 4096> piece{};
    for (;;) {
        const ssize_t got = ::read(file, piece.data(), piece.size());
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return text;
        text.append(piece.data(), static_cast<std::size_t>(got));
    }
}

}  // namespace

std::string progress_to_json(const Progress& progress) {
    return Json{{"step", progress.step},
                {"steps", progress.steps},
                {"loss", progress.loss},
                {"tokens_per_second", progress.tokens_per_second},
                {"seconds_left", progress.seconds_left}}
        .dump();
}

std::optional<Progress> progress_from_json(const std::string& line) {
    const Json json = Json::parse(line, nullptr, false);
    if (!json.is_object() || !json.contains("step") || !json.contains("steps")) return std::nullopt;
    const auto number = [&](const char* name) {
        const auto found = json.find(name);
        return found != json.end() && found->is_number() ? found->get<double>()
                                                         : std::numeric_limits<double>::quiet_NaN();
    };
    return Progress{static_cast<std::int64_t>(number("step")), static_cast<std::int64_t>(number("steps")),
                    number("loss"), number("tokens_per_second"), number("seconds_left")};
}

TaskProcess::TaskProcess(const std::string& sweep, std::size_t task, int threads) : task_(task) {
    Pipe output = make_pipe(), errors = make_pipe();
    std::vector<std::string> arguments{
        "headscope", "sweep", sweep, "--task", std::to_string(task), "--threads", std::to_string(threads), "--json"};
    std::vector<char*> pointers;
    for (std::string& argument : arguments) pointers.push_back(argument.data());
    pointers.push_back(nullptr);
    const pid_t parent = ::getpid();
    process_ = ::fork();
    if (process_ < 0) fail_io(sweep, "no process can be started for a run", errno);
    if (process_ == 0) become(parent, output.writing, errors.writing, pointers.data());
    output_ = std::move(output.reading);
    error_output_ = std::move(errors.reading);
}

TaskProcess::TaskProcess(TaskProcess&& other) noexcept
    : task_(other.task_),
      process_(std::exchange(other.process_, -1)),
      output_(std::move(other.output_)),
      error_output_(std::move(other.error_output_)),
      line_(std::move(other.line_)),
      errors_(std::move(other.errors_)),
      stopped_(other.stopped_) {}

TaskProcess::~TaskProcess() {
    if (process_ < 0) return;
    stop();
    while (::waitpid(process_, nullptr, 0) < 0 && errno == EINTR) {
    }
}

std::vector<int> TaskProcess::descriptors() const { return {output_, error_output_}; }

void TaskProcess::read(const std::function<void(const Progress&)>& on_progress) {
    constexpr std::size_t longest = 8192;
    line_ += read_available(output_);
    for (std::size_t end = line_.find('\n'); end != std::string::npos; end = line_.find('\n')) {
        const auto progress = progress_from_json(line_.substr(0, end));
        line_.erase(0, end + 1);
        if (progress) on_progress(*progress);
    }
    errors_ += read_available(error_output_);
    if (errors_.size() > longest) errors_.erase(0, errors_.size() - longest);
}

void TaskProcess::stop() {
    if (!std::exchange(stopped_, true)) ::kill(process_, SIGTERM);
}

std::optional<int> TaskProcess::ended() {
    int status = 0;
    const pid_t found = ::waitpid(process_, &status, WNOHANG);
    if (found == 0 || (found < 0 && errno == EINTR)) return std::nullopt;
    process_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

}  // namespace headscope::experiments
