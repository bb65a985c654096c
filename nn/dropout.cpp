#include "nn/dropout.h"

#include "autograd/ops/dropout.h"

namespace headscope::nn {

Dropout::Dropout(double probability, std::string name)
    : probability_(probability), stream_("dropout." + std::move(name)) {
    if (!(probability >= 0 && probability < 1))
        throw Error("Dropout: the probability must be in [0, 1), not " + std::to_string(probability));
}

Tensor Dropout::forward(const Tensor& x) const {
    if (!is_training() || probability_ == 0) return x;
    return dropout(x, probability_, RandomScope::stream(stream_));
}

}  // namespace headscope::nn
