#include "autograd/ops/mse.h"

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/reduction.h"

namespace headscope {

Tensor mse(const Tensor& prediction, const Tensor& target) {
    const auto shapes = [&] {
        return "; the prediction is " + prediction.shape().str() + ", the target is " + target.shape().str();
    };
    if (!(prediction.shape() == target.shape())) throw Error("mse: the shapes differ" + shapes());
    if (prediction.dtype() != target.dtype()) throw Error("mse: the dtypes differ" + shapes());
    if (prediction.numel() == 0) throw Error("mse: there is nothing to average" + shapes());
    const Tensor error = prediction - target;
    return mean(error * error);
}

}  // namespace headscope
