#include "autograd/ops/dropout.h"

#include <string>

#include "autograd/graph.h"
#include "autograd/parallel.h"

namespace headscope {
namespace {

constexpr std::int64_t grain = 4096;  // elements worth a thread; a random number costs more than a sum

Tensor apply(const Tensor& x, double p, const RandomStream& random) {
    Tensor y = Tensor::empty(x.shape(), x.dtype());
    dispatch_float(x.dtype(), "dropout", [&](auto scalar) {
        using T = decltype(scalar);
        const T* const from = x.data<T>();
        T* const to = y.data<T>();
        const T keep = static_cast<T>(1 - p);
        parallel_for(x.numel(), grain, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t i = begin; i < end; ++i)
                to[i] = random.uniform(static_cast<std::uint64_t>(i)) >= p ? from[i] / keep : T{0};
        });
    });
    return y;
}

}  // namespace

Tensor dropout(const Tensor& x, double p, const RandomStream& random) {
    if (!(p >= 0 && p < 1)) throw Error("dropout: p must be in [0, 1), not " + std::to_string(p));
    if (p == 0) return x;
    // The mask is not kept: the stream captured here gives the same numbers again.
    return record("dropout", {x}, apply(x, p, random), {},
                  [p, random](Backward& bw) { bw.set(0, apply(bw.grad(), p, random)); });
}

}  // namespace headscope
