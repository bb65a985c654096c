#include "optim/sgd.h"

#include <string>
#include <utility>

namespace headscope::optim {
namespace {

/// `buffer` is null without momentum. It starts at zero, so that the first update makes it the gradient.
template <class T>
void update_elements(T* parameter, const T* gradient, T* buffer, std::int64_t begin, std::int64_t end,
                     const SgdOptions& options, const ParameterGroup& group, double gradient_scale) {
    const T scale = static_cast<T>(gradient_scale);
    const T minus_lr = static_cast<T>(-group.lr);
    const T decay = static_cast<T>(group.weight_decay);
    const T momentum = static_cast<T>(options.momentum);
    if (buffer == nullptr) {
        for (std::int64_t i = begin; i < end; ++i) {
            const T scaled = gradient[i] * scale;
            const T g = decay != 0 ? scaled + decay * parameter[i] : scaled;
            parameter[i] += minus_lr * g;
        }
        return;
    }
    for (std::int64_t i = begin; i < end; ++i) {
        const T scaled = gradient[i] * scale;
        const T g = decay != 0 ? scaled + decay * parameter[i] : scaled;
        const T b = momentum * buffer[i] + g;
        buffer[i] = b;
        parameter[i] += minus_lr * (options.nesterov ? g + momentum * b : b);
    }
}

}  // namespace

Sgd::Sgd(std::vector<ParameterGroup> groups, const SgdOptions& options)
    : Optimizer(std::move(groups)), options_(options) {
    if (!(options.momentum >= 0 && options.momentum < 1))
        throw Error("sgd: momentum must be in [0, 1); it is " + std::to_string(options.momentum));
    if (options.nesterov && options.momentum == 0)
        throw Error("sgd: nesterov needs momentum; set momentum, for example 0.9");
    if (options.momentum == 0) return;
    for (const ParameterGroup& group : groups_) {
        for (const nn::Parameter& parameter : group.parameters)
            memories_.push_back({add_state(parameter, "momentum_buffer"), add_counter(parameter, "step")});
    }
}

void Sgd::update(double gradient_scale) {
    const bool has_momentum = !memories_.empty();
    if (has_momentum)
        for_each_with_gradient([&](std::size_t number) {
            Tensor& count = memories_[number].step;
            count.fill_(count.item() + 1);
        });
    update_chunks([&]<class T>(std::size_t number, const ParameterGroup& group, T* parameter, const T* gradient,
                               std::int64_t begin, std::int64_t end) {
        T* buffer = has_momentum ? memories_[number].buffer.data<T>() : nullptr;
        update_elements(parameter, gradient, buffer, begin, end, options_, group, gradient_scale);
    });
}

}  // namespace headscope::optim
