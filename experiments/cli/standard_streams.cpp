#include "experiments/cli/standard_streams.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "experiments/base/files.h"

namespace headscope::experiments::cli {

void open_closed_streams() {
    for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
        if (::fcntl(stream, F_GETFD) < 0 && errno == EBADF) ::open("/dev/null", O_RDWR);  // takes the lowest number
}

void require_output() {
    errno = EIO;  // where an earlier write failed, nobody knows the reason any more
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) fail_io("standard output", "cannot be written", errno);
}

}  // namespace headscope::experiments::cli
