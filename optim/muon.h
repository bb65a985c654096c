#pragma once

#include <memory>

#include "optim/adam.h"
#include "optim/optimizer.h"

namespace headscope::optim {

struct MuonOptions {
    double momentum = 0.95;
    AdamOptions elsewhere{};        ///< of the AdamW that updates every other parameter; always decoupled
    double elsewhere_lr_ratio = 1;  ///< its learning rate over that of the matrices
};

/// Muon (Jordan, Jin, Boza, You, Cesista, Newhouse and Bernstein 2024, https://kellerjordan.github.io/posts/muon/) for
/// parameters of role `matrix`, AdamW for all others. A matrix p [rows, cols] with gradient g is updated by
///   b = momentum * b + g;  u = g + momentum * b                      (Nesterov)
///   X = u / (||u||_F + 1e-7), then five Newton-Schulz steps X = a X + (b' A + c A A) X with A = X X^T (X transposed
///   when it is taller than wide) and (a, b', c) = (3.4445, -4.7750, 2.0315), which bring all singular values near 1
///   p = p * (1 - lr * weight_decay) - lr * sqrt(max(1, rows / cols)) * X
/// The factor sqrt(max(1, rows / cols)) is that of the authors' code: wide and tall matrices then change their outputs
/// by as much. Products run in the parameter's dtype, not in bfloat16. State: "momentum_buffer" of a matrix, AdamW's of
/// the others.
class Muon : public Optimizer {
public:
    /// Throws Error when momentum is outside [0, 1), the ratio is negative, a parameter of role `matrix` has another
    /// number of axes than two, or as Adam does.
    explicit Muon(std::vector<ParameterGroup> groups, const MuonOptions& options = {});

protected:
    void update(double gradient_scale) override;

private:
    double momentum_, elsewhere_lr_ratio_;
    std::vector<Tensor> buffers_;      // of every matrix, in the order of the groups
    std::unique_ptr<Adam> elsewhere_;  // with a group for each of ours; null when every parameter is a matrix
};

/// The five Newton-Schulz steps, after dividing by the norm: about U V^T of the singular value decomposition U S V^T of
/// a matrix. Same bits for any number of threads.
Tensor orthogonalise(const Tensor& matrix);

}  // namespace headscope::optim
