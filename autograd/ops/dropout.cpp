#include "autograd/ops/dropout.h"

#include <string>

#include "autograd/graph.h"
#include "autograd/kernels/partial_vector.h"
#include "autograd/parallel.h"

namespace headscope {
namespace {

constexpr std::int64_t grain = 8192;  // elements worth a thread

Tensor apply(const Tensor& x, double p, const RandomStream& random) {
    Tensor y = Tensor::empty(x.shape(), x.dtype());
    dispatch_float(x.dtype(), "dropout", [&](auto scalar) {
        using T = decltype(scalar);
        const T* const from = x.data<T>();
        T* const to = y.data<T>();
        const T keep = static_cast<T>(1 - p);
        parallel_for(x.numel(), grain, [&](std::int64_t begin, std::int64_t end) {
            random.keep(static_cast<std::uint64_t>(begin), end - begin, p, T{1}, to + begin);
            kernels::each_vector<T>(end - begin, [=](std::int64_t i, std::int64_t left) {
                const auto kept = kernels::load_first(to + begin + i, left, T{0}) != T{0};
                const auto value = kernels::load_first(from + begin + i, left, T{0}) / keep;
                kernels::store_first(to + begin + i, left, kept ? value : decltype(value){});
            });
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
