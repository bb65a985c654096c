#include "experiments/storage/child_process.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <exception>
#include <optional>
#include <span>

#include "experiments/base/errors.h"
#include "experiments/base/files.h"

namespace headscope::experiments {

namespace {

/// The child's answer comes in parts: one of these, the number of bytes, the bytes. The last part is another than
/// `piece`.
enum class AnswerPart : char { piece = 'p', end = 'e', usage_error = 'u', io_error = 'i' };

using PartSize = std::uint64_t;

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

void send(int pipe, AnswerPart part, std::string_view bytes) {
    const PartSize size = bytes.size();
    send(pipe, std::string_view(reinterpret_cast<const char*>(&part), sizeof part));
    send(pipe, std::string_view(reinterpret_cast<const char*>(&size), sizeof size));
    send(pipe, bytes);
}

[[noreturn]] void be_child(pid_t parent, int pipe, rlim_t most_seconds,
                           const std::function<void(const SendBytes&)>& read) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);     // nobody waits for the answer of a parent that was killed
    if (::getppid() != parent) ::_exit(1);  // that was before
    const rlimit no_core{0, 0}, time{most_seconds, most_seconds};
    setrlimit(RLIMIT_CORE, &no_core);
    setrlimit(RLIMIT_CPU, &time);
    for (const int signal_number : {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGALRM, SIGTERM})
        std::signal(signal_number, SIG_DFL);
    std::signal(SIGINT, SIG_IGN);                    // the parent decides
    const int null = ::open("/dev/null", O_WRONLY);  // the C library says on stderr why it gives up
    if (null >= 0) ::dup2(null, STDERR_FILENO);
    try {
        read([pipe](std::string_view bytes) { send(pipe, AnswerPart::piece, bytes); });
        send(pipe, AnswerPart::end, {});
    } catch (const UsageError& error) {
        send(pipe, AnswerPart::usage_error, error.what());
    } catch (const std::exception& error) {
        send(pipe, AnswerPart::io_error, error.what());
    }
    _exit(0);  // no destructors: they belong to the parent
}

/// Fills `bytes` from the pipe, as far as it goes. Returns 0 or errno.
int receive(int pipe, std::span<char> bytes, std::size_t& got) {
    for (got = 0; got < bytes.size();) {
        const ssize_t count = ::read(pipe, bytes.data() + got, bytes.size() - got);
        if (count == 0) return 0;
        if (count < 0 && errno != EINTR) return errno;
        if (count > 0) got += static_cast<std::size_t>(count);
    }
    return 0;
}

/// What a child has answered, but for the pieces.
struct Answer {
    std::optional<AnswerPart> last;  ///< nothing: the child ended before it
    std::string message;             ///< of an error
    int read_error = 0;
};

/// Does not trust the child: it may have been upset by a damaged file.
Answer receive_all(int pipe, const std::function<void(std::string_view)>& take) {
    std::array<char, 1 << 16> buffer;
    std::array<char, 1 + sizeof(PartSize)> head;
    std::size_t got = 0;
    for (Answer answer;;) {
        answer.read_error = receive(pipe, head, got);
        if (got < head.size()) return answer;
        const auto part = static_cast<AnswerPart>(head[0]);
        PartSize left = 0;
        std::memcpy(&left, head.data() + 1, sizeof left);
        while (left > 0) {
            answer.read_error = receive(pipe, std::span(buffer).first(std::min<PartSize>(left, buffer.size())), got);
            const std::string_view bytes(buffer.data(), got);
            if (part == AnswerPart::piece) take(bytes);
            else answer.message += bytes;
            left -= got;
            if (left > 0 && got < buffer.size()) return answer;
        }
        if (part == AnswerPart::piece) continue;
        answer.last = part;
        return answer;
    }
}

}  // namespace

void read_in_child(const std::string& path, const std::function<void(const SendBytes&)>& read,
                   const std::function<void(std::string_view)>& take) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) fail_io(path, "no pipe to read it through", errno);
    const rlim_t seconds = most_seconds(path);
    const pid_t parent = ::getpid();
    const pid_t child = ::fork();
    if (child == 0) {
        ::close(ends[0]);  // so that writing fails when nobody reads any more
        be_child(parent, ends[1], seconds, read);
    }
    const int fork_error = errno;
    ::close(ends[1]);
    Answer answer;
    std::exception_ptr failure;  // of take()
    try {
        if (child > 0) answer = receive_all(ends[0], take);
    } catch (...) {
        failure = std::current_exception();
    }
    ::close(ends[0]);
    if (child < 0) fail_io(path, "no process to read it in", fork_error);
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (failure) std::rethrow_exception(failure);
    if (answer.read_error != 0) fail_io(path, "cannot be received from the process that reads it", answer.read_error);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || !answer.last)
        throw IoError(path + ": damaged: the HDF5 library fails while it reads it; make the file anew");
    if (answer.last == AnswerPart::usage_error) throw UsageError(answer.message);
    if (answer.last != AnswerPart::end) throw IoError(answer.message);
}

std::string read_in_child(const std::string& path, const std::function<std::string()>& read) {
    std::string bytes;
    read_in_child(
        path, [&](const SendBytes& send_bytes) { send_bytes(read()); }, [&](std::string_view part) { bytes += part; });
    return bytes;
}

}  // namespace headscope::experiments
