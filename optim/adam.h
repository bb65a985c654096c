#pragma once

#include "optim/optimizer.h"

namespace headscope::optim {

struct AdamOptions {
    double beta1 = 0.9;
    double beta2 = 0.999;
    double eps = 1e-8;
    bool decoupled = false;  ///< AdamW: p *= 1 - lr * weight_decay first, instead of g += weight_decay * p
};

/// torch.optim.Adam and AdamW of 1.13 (Kingma and Ba 2015; Loshchilov and Hutter 2019):
/// m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2;
/// p -= lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps). The gradient's scale, clipping's factor, is taken
/// in the same pass. State "exp_avg", "exp_avg_sq", "step".
class Adam : public Optimizer {
public:
    /// Throws Error when a beta is outside [0, 1) or eps is negative.
    explicit Adam(std::vector<ParameterGroup> groups, const AdamOptions& options = {});

protected:
    void update(double gradient_scale) override;

private:
    struct Memory {
        Tensor exp_avg;
        Tensor exp_avg_sq;
        Tensor step;
    };

    AdamOptions options_;
    std::vector<Memory> memories_;  // of every parameter, in the order of the groups; the tensors are those of state()
};

}  // namespace headscope::optim
