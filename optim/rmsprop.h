#pragma once

#include "optim/optimizer.h"

namespace headscope::optim {

struct RmsPropOptions {
    double alpha = 0.99;
    double eps = 1e-8;
};

/// torch.optim.RMSprop of 1.13, not centered and without momentum (Tieleman and Hinton 2012):
/// g += weight_decay * p; v = alpha v + (1 - alpha) g^2; p -= lr * g / (sqrt(v) + eps). State "square_avg", "step".
class RmsProp : public Optimizer {
public:
    /// Throws Error when alpha is outside [0, 1) or eps is negative.
    explicit RmsProp(std::vector<ParameterGroup> groups, const RmsPropOptions& options = {});

protected:
    void update(double gradient_scale) override;

private:
    struct Memory {
        Tensor square_avg;
        Tensor step;
    };

    RmsPropOptions options_;
    std::vector<Memory> memories_;  // of every parameter, in the order of the groups; the tensors are those of state()
};

}  // namespace headscope::optim
