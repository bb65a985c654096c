#include "experiments/tasks/windows.h"

#include <numeric>

namespace headscope::experiments {

EvaluationWindows::EvaluationWindows(std::int64_t tokens, std::int64_t seq_len)
    : seq_len_(seq_len), windows_((tokens - 1) / seq_len) {
    // Multiples of a step near windows / golden ratio, modulo windows, fill a circle evenly at every stage (Weyl);
    // coprime, so that each window comes once.
    stride_ = std::max<std::int64_t>(1, static_cast<std::int64_t>(0.6180339887 * static_cast<double>(windows_)));
    while (std::gcd(stride_, windows_) != 1) ++stride_;
}

std::vector<std::int64_t> EvaluationWindows::starts(std::int64_t batch, std::int64_t batch_size) const {
    std::vector<std::int64_t> starts(static_cast<std::size_t>(std::min(batch_size, windows_)));
    for (std::int64_t b = 0; b < std::ssize(starts); ++b)
        starts[static_cast<std::size_t>(b)] = (batch * batch_size + b) * stride_ % windows_ * seq_len_;
    return starts;
}

}  // namespace headscope::experiments
