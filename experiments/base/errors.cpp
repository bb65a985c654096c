#include "experiments/base/errors.h"

#include <filesystem>
#include <new>

namespace headscope::experiments {

ExitCode exit_code_of(const std::exception& error) {
    const auto is = [&]<class Kind>(const Kind*) { return dynamic_cast<const Kind*>(&error) != nullptr; };
    if (is(static_cast<const Stopped*>(nullptr))) return exit_stopped;
    if (is(static_cast<const CheckFailed*>(nullptr))) return exit_check_failed;
    if (is(static_cast<const NumericError*>(nullptr))) return exit_numeric;
    if (is(static_cast<const IoError*>(nullptr))) return exit_io;
    if (is(static_cast<const std::filesystem::filesystem_error*>(nullptr))) return exit_io;
    // UsageError, what the engine refuses, and a model that memory has no room for.
    if (is(static_cast<const Error*>(nullptr)) || is(static_cast<const std::bad_alloc*>(nullptr))) return exit_usage;
    return exit_check_failed;
}

}  // namespace headscope::experiments
