#pragma once

#include "optim/optimizer.h"

namespace headscope::optim {

struct SgdOptions {
    double momentum = 0;
    bool nesterov = false;
};

/// torch.optim.SGD of 1.13: g += weight_decay * p; buf = g at first, then momentum * buf + g; g = nesterov ?
/// g + momentum * buf : buf; p -= lr * g. State "momentum_buffer" and "step", when momentum is not 0.
class Sgd : public Optimizer {
public:
    /// Throws Error when momentum is outside [0, 1), or nesterov is asked for without momentum.
    explicit Sgd(std::vector<ParameterGroup> groups, const SgdOptions& options = {});

protected:
    void update(double gradient_scale) override;

private:
    struct Memory {
        Tensor buffer;
        Tensor step;
    };

    SgdOptions options_;
    std::vector<Memory> memories_;  // of every parameter, in the order of the groups; empty without momentum
};

}  // namespace headscope::optim
