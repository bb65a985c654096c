#include "nn/sigmoid_weights.h"

#include <algorithm>

#include "autograd/graph.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/reduction.h"

namespace headscope::nn {
namespace {

/// max(1, x), outside the graph: a query that sees no key has weights 0 whatever is taken off its scores.
Tensor at_least_one(const Tensor& counts) {
    Tensor result = counts.clone();
    dispatch_float(result.dtype(), "sigmoid_weights", [&](auto zero) {
        using T = decltype(zero);
        T* const values = result.data<T>();
        for (std::int64_t i = 0; i < result.numel(); ++i) values[i] = std::max(values[i], T{1});
    });
    return result;
}

}  // namespace

Tensor sigmoid_weights(const Tensor& scores, const Tensor& visible) {
    if (!visible.defined()) {
        const Tensor n = Tensor::full({}, static_cast<double>(scores.size(-1)), scores.dtype());
        return sigmoid(scores - log(n));
    }
    const Tensor seen = visible.to(scores.dtype());        // [B|1, H|1, Tq, Tk]
    const Tensor n = at_least_one(sum(seen, {-1}, true));  // [B|1, H|1, Tq, 1]
    return mul(sigmoid(scores - log(n)), seen);
}

}  // namespace headscope::nn
