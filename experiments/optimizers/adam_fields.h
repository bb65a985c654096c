// The keys that Adam has wherever it is used: as `adam`, `adamw` and within `muon`.
#pragma once

#include "experiments/base/fields.h"
#include "optim/adam.h"

namespace headscope::experiments {

inline void adam_fields(Fields& fields, optim::AdamOptions& options) {
    fields.real("beta1", options.beta1, "memory of the gradient's mean", {.min = 0, .below = 1});
    fields.real("beta2", options.beta2, "memory of the gradient's square", {.min = 0, .below = 1});
    fields.real("eps", options.eps, "added to the root of the mean square", {.min = 0});
}

}  // namespace headscope::experiments
