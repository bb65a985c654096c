#pragma once

#include <memory>

#include "optim/adam.h"
#include "optim/optimizer.h"

namespace headscope::optim {

struct MuonOptions {
    double momentum = 0.95;
    AdamOptions elsewhere{};  ///< of the AdamW that updates everything but the blocks' matrices; always decoupled
};

/// Muon (Jordan, Jin, Boza, You, Cesista, Newhouse and Bernstein 2024, https://kellerjordan.github.io/posts/muon/) on
/// the blocks' matrices: the parameters with two axes whose name begins with "blocks.". Every other parameter gets
/// AdamW. For a matrix [rows, cols]:
///   b = momentum * b + g;  u = g + momentum * b                      (Nesterov)
///   X = u / (||u||_F + 1e-7), then five Newton-Schulz steps X = a X + (b' A + c A A) X with A = X X^T (X turned so
///   that it is no taller than wide) and (a, b', c) = (3.4445, -4.7750, 2.0315), which bring all singular values near 1
///   p = p * (1 - lr * weight_decay) - lr * sqrt(max(1, rows / cols)) * X
/// The scale is that of the authors' code, so that wide and tall matrices change their outputs by as much. All products
/// run in the parameter's own dtype, not in bfloat16. State: "momentum_buffer" of a matrix, AdamW's elsewhere.
class Muon : public Optimizer {
public:
    /// Throws Error when momentum is outside [0, 1), or as Adam does.
    explicit Muon(std::vector<ParameterGroup> groups, const MuonOptions& options = {});
    /// Is the parameter one that Muon itself updates?
    static bool is_block_matrix(const NamedTensor& parameter);

protected:
    void update(double gradient_scale) override;

private:
    double momentum_;
    std::vector<Tensor> buffers_;      // of every block matrix, in the order of the groups
    std::unique_ptr<Adam> elsewhere_;  // with a group for each of ours; null when every parameter is a block matrix
};

/// The five Newton-Schulz steps, after dividing by the norm: about U V^T of the singular value decomposition U S V^T of
/// a matrix. Same bits for any number of threads.
Tensor orthogonalise(const Tensor& matrix);

}  // namespace headscope::optim
