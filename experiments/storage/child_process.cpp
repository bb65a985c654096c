#include "experiments/storage/child_process.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <string_view>

#include "experiments/base/errors.h"
#include "experiments/base/files.h"

namespace headscope::experiments {

namespace {

/// What the child's answer begins with.
enum Answer : char { result = 'r', usage_error = 'u', io_error = 'i' };

/// A damaged file can keep HDF5 going round in circles. Sound ones take some 10 ms a megabyte.
rlim_t most_seconds(const std::string& path) {
    struct stat status {};
    const auto megabytes = ::stat(path.c_str(), &status) == 0 ? static_cast<rlim_t>(status.st_size) >> 20U : 0;
    return 5 + megabytes;
}

void send(int pipe, std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t written = ::write(pipe, bytes.data(), bytes.size());
        if (written < 0 && errno != EINTR) _exit(1);
        if (written > 0) bytes.remove_prefix(static_cast<std::size_t>(written));
    }
}

void send(int pipe, Answer answer, std::string_view bytes) {
    send(pipe, std::string_view(reinterpret_cast<const char*>(&answer), 1));
    send(pipe, bytes);
}

[[noreturn]] void be_child(int pipe, rlim_t most_seconds, const std::function<std::string()>& read) {
    const rlimit no_core{0, 0}, time{most_seconds, most_seconds};
    setrlimit(RLIMIT_CORE, &no_core);
    setrlimit(RLIMIT_CPU, &time);
    for (const int signal_number : {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGALRM, SIGTERM})
        std::signal(signal_number, SIG_DFL);
    std::signal(SIGINT, SIG_IGN);                    // the parent decides
    const int null = ::open("/dev/null", O_WRONLY);  // the C library says on stderr why it gives up
    if (null >= 0) ::dup2(null, STDERR_FILENO);
    try {
        send(pipe, result, read());
    } catch (const UsageError& error) {
        send(pipe, usage_error, error.what());
    } catch (const std::exception& error) {
        send(pipe, io_error, error.what());
    }
    _exit(0);  // no destructors: they belong to the parent
}

/// All that comes through the pipe; 0 or errno.
int receive(int pipe, std::string& bytes) {
    std::array<char, 1 << 16> part;
    for (;;) {
        const ssize_t got = ::read(pipe, part.data(), part.size());
        if (got == 0) return 0;
        if (got < 0 && errno != EINTR) return errno;
        if (got > 0) bytes.append(part.data(), static_cast<std::size_t>(got));
    }
}

}  // namespace

std::string read_in_child(const std::string& path, const std::function<std::string()>& read) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) fail_io(path, "no pipe to read it through", errno);
    const rlim_t seconds = most_seconds(path);
    const pid_t child = ::fork();
    if (child == 0) be_child(ends[1], seconds, read);
    const int fork_error = errno;
    ::close(ends[1]);
    std::string answer;
    const int read_error = child < 0 ? 0 : receive(ends[0], answer);
    ::close(ends[0]);
    if (child < 0) fail_io(path, "no process to read it in", fork_error);
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (read_error != 0) fail_io(path, "cannot be received from the process that reads it", read_error);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || answer.empty())
        throw IoError(path + ": damaged: the HDF5 library fails while it reads it; make the file anew");
    const char kind = answer.front();
    answer.erase(0, 1);
    if (kind == usage_error) throw UsageError(answer);
    if (kind == io_error) throw IoError(answer);
    return answer;
}

}  // namespace headscope::experiments
