// How much memory a training step needs, known before any of it is asked for.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "experiments/config/config.h"

namespace headscope::experiments {

/// In doubles, which no product of sizes overflows.
struct MemoryEstimate {
    struct Part {
        std::string name;
        double bytes;
    };
    std::vector<Part> parts;

    double total() const;
    const Part& largest() const;
};

/// Weights, gradients, optimizer state, what the forward pass keeps for the backward pass, and what probes look at.
/// An attention from outside is taken for the fused softmax, which keeps no weights for the backward pass.
MemoryEstimate estimate_memory(const Experiment& experiment);

/// Throws UsageError with both numbers and the largest part when `estimate` is more than `available` bytes.
void refuse_if_too_large(const MemoryEstimate& estimate, double available);

/// "1.5 GB" (powers of ten).
std::string readable_bytes(double bytes);

}  // namespace headscope::experiments
