#include "optim/adam.h"

#include <cmath>
#include <string>
#include <utility>

namespace headscope::optim {
namespace {

/// The numbers of one update, for all elements of a parameter.
struct Update {
    double gradient_scale;
    double decay;      ///< g += decay * p: coupled weight decay
    double shrink;     ///< p *= shrink first: decoupled weight decay
    double step_size;  ///< lr sqrt(1 - beta2^t) / (1 - beta1^t)
    double eps;        ///< eps sqrt(1 - beta2^t)
};

Update update_of(const AdamOptions& options, const ParameterGroup& group, double t, double gradient_scale) {
    // m / (sqrt(v) / root + eps) = m root / (sqrt(v) + eps root): one division per element instead of two.
    const double root = std::sqrt(1 - std::pow(options.beta2, t));
    return {gradient_scale, options.decoupled ? 0 : group.weight_decay,
            options.decoupled ? 1 - group.lr * group.weight_decay : 1,
            group.lr * root / (1 - std::pow(options.beta1, t)), options.eps * root};
}

template <class T>
void update_elements(T* parameter, const T* gradient, T* exp_avg, T* exp_avg_sq, std::int64_t begin, std::int64_t end,
                     const AdamOptions& options, const Update& update) {
    const T beta1 = static_cast<T>(options.beta1);
    const T beta2 = static_cast<T>(options.beta2);
    const T rest1 = static_cast<T>(1 - options.beta1);
    const T rest2 = static_cast<T>(1 - options.beta2);
    const T scale = static_cast<T>(update.gradient_scale);
    const T decay = static_cast<T>(update.decay);
    const T shrink = static_cast<T>(update.shrink);
    const T minus_step = static_cast<T>(-update.step_size);
    const T eps = static_cast<T>(update.eps);
    for (std::int64_t i = begin; i < end; ++i) {
        const T p = parameter[i] * shrink;
        const T scaled = gradient[i] * scale;
        const T g = decay != 0 ? scaled + decay * p : scaled;
        const T m = beta1 * exp_avg[i] + rest1 * g;
        const T v = beta2 * exp_avg_sq[i] + rest2 * g * g;
        exp_avg[i] = m;
        exp_avg_sq[i] = v;
        parameter[i] = p + minus_step * m / (std::sqrt(v) + eps);
    }
}

void check(const char* name, double beta) {
    if (!(beta >= 0 && beta < 1))
        throw Error("adam: " + std::string(name) + " must be in [0, 1); it is " + std::to_string(beta));
}

}  // namespace

Adam::Adam(std::vector<ParameterGroup> groups, const AdamOptions& options)
    : Optimizer(std::move(groups)), options_(options) {
    check("beta1", options.beta1);
    check("beta2", options.beta2);
    if (!(options.eps >= 0)) throw Error("adam: eps must not be negative; it is " + std::to_string(options.eps));
    for (const ParameterGroup& group : groups_) {
        for (const nn::Parameter& parameter : group.parameters)
            memories_.push_back(
                {add_state(parameter, "exp_avg"), add_state(parameter, "exp_avg_sq"), add_counter(parameter, "step")});
    }
}

void Adam::update(double gradient_scale) {
    for_each_with_gradient([&](std::size_t number) {
        Tensor& count = memories_[number].step;
        count.fill_(count.item() + 1);
    });
    update_chunks([&]<class T>(std::size_t number, const ParameterGroup& group, T* parameter, const T* gradient,
                               std::int64_t begin, std::int64_t end) {
        Memory& memory = memories_[number];
        update_elements(parameter, gradient, memory.exp_avg.data<T>(), memory.exp_avg_sq.data<T>(), begin, end,
                        options_, update_of(options_, group, memory.step.item(), gradient_scale));
    });
}

}  // namespace headscope::optim
