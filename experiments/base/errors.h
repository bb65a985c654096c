// Errors by what the user can do about them; main() turns each into its exit code.
#pragma once

#include <exception>

#include "autograd/error.h"

namespace headscope::experiments {

/// Exit codes of the command line.
enum ExitCode : int {
    exit_done = 0,
    exit_check_failed = 1,
    exit_usage = 2,
    exit_numeric = 70,
    exit_io = 74,
    exit_stopped = 75,
};

/// A check found something wrong: what was computed again differs, a file is not what it should be (exit 1).
class CheckFailed : public Error {
public:
    using Error::Error;
};

/// Wrong command line, config or data (exit 2).
class UsageError : public Error {
public:
    using Error::Error;
};

/// NaN or infinity where a number should be; names the step and the tensor (exit 70).
class NumericError : public Error {
public:
    using Error::Error;
};

/// The disk or a file on it: cannot be read, written, or is damaged; names the path (exit 74).
class IoError : public Error {
public:
    using Error::Error;
};

/// Ended by SIGINT, SIGTERM or SIGHUP after a checkpoint; `headscope resume` goes on (exit 75).
class Stopped : public Error {
public:
    using Error::Error;
};

/// What the process ends with that an error has reached.
ExitCode exit_code_of(const std::exception& error);

}  // namespace headscope::experiments
