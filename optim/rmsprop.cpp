#include "optim/rmsprop.h"

#include <cmath>
#include <string>
#include <utility>

namespace headscope::optim {
namespace {

template <class T>
void update_elements(T* parameter, const T* gradient, T* square_avg, std::int64_t begin, std::int64_t end,
                     const RmsPropOptions& options, const ParameterGroup& group, double gradient_scale) {
    const T alpha = static_cast<T>(options.alpha);
    const T rest = static_cast<T>(1 - options.alpha);
    const T eps = static_cast<T>(options.eps);
    const T scale = static_cast<T>(gradient_scale);
    const T decay = static_cast<T>(group.weight_decay);
    const T minus_lr = static_cast<T>(-group.lr);
    for (std::int64_t i = begin; i < end; ++i) {
        const T scaled = gradient[i] * scale;
        const T g = decay != 0 ? scaled + decay * parameter[i] : scaled;
        const T v = alpha * square_avg[i] + rest * g * g;
        square_avg[i] = v;
        parameter[i] += minus_lr * g / (std::sqrt(v) + eps);
    }
}

}  // namespace

RmsProp::RmsProp(std::vector<ParameterGroup> groups, const RmsPropOptions& options)
    : Optimizer(std::move(groups)), options_(options) {
    if (!(options.alpha >= 0 && options.alpha < 1))
        throw Error("rmsprop: alpha must be in [0, 1); it is " + std::to_string(options.alpha));
    if (!(options.eps >= 0)) throw Error("rmsprop: eps must not be negative; it is " + std::to_string(options.eps));
    for (const ParameterGroup& group : groups_) {
        for (const nn::Parameter& parameter : group.parameters)
            memories_.push_back({add_state(parameter, "square_avg"), add_counter(parameter, "step")});
    }
}

void RmsProp::update(double gradient_scale) {
    for_each_with_gradient([&](std::size_t number) {
        Tensor& count = memories_[number].step;
        count.fill_(count.item() + 1);
    });
    update_chunks([&]<class T>(std::size_t number, const ParameterGroup& group, T* parameter, const T* gradient,
                               std::int64_t begin, std::int64_t end) {
        update_elements(parameter, gradient, memories_[number].square_avg.data<T>(), begin, end, options_, group,
                        gradient_scale);
    });
}

}  // namespace headscope::optim
