#include "optim/rmsprop.h"

#include <cmath>
#include <string>
#include <utility>

#include "autograd/parallel.h"
#include "optim/pieces.h"

namespace headscope::optim {
namespace {

/// The numbers of one update, for all elements of a parameter.
struct Update {
    double lr;
    double weight_decay;
};

template <class T>
void update_elements(T* parameter, const T* gradient, T* square_avg, std::int64_t begin, std::int64_t end,
                     const RmsPropOptions& options, const Update& update) {
    const T alpha = static_cast<T>(options.alpha);
    const T rest = static_cast<T>(1 - options.alpha);
    const T eps = static_cast<T>(options.eps);
    const T decay = static_cast<T>(update.weight_decay);
    const T minus_lr = static_cast<T>(-update.lr);
    for (std::int64_t i = begin; i < end; ++i) {
        const T g = decay != 0 ? gradient[i] + decay * parameter[i] : gradient[i];
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
        for (const NamedTensor& parameter : group.parameters)
            memories_.push_back({add_state(parameter, "square_avg"), add_counter(parameter, "step")});
    }
}

void RmsProp::step() {
    std::vector<Tensor> parameters;
    std::vector<Tensor> square_avgs;
    std::vector<Update> updates;
    std::size_t number = 0;
    for (const ParameterGroup& group : groups_) {
        for (const NamedTensor& parameter : group.parameters) {
            Memory& memory = memories_[number++];
            if (!parameter.tensor.grad().defined()) continue;
            memory.step.fill_(memory.step.item() + 1);
            parameters.push_back(parameter.tensor);
            square_avgs.push_back(memory.square_avg);
            updates.push_back({group.lr, group.weight_decay});
        }
    }

    const std::vector<Piece> pieces = cut_into_pieces(parameters);
    parallel_chunks(static_cast<std::int64_t>(pieces.size()), [&](std::int64_t index) {
        const Piece& piece = pieces[static_cast<std::size_t>(index)];
        Tensor& parameter = parameters[piece.tensor];
        dispatch_float(parameter.dtype(), "rmsprop", [&](auto zero) {
            using T = decltype(zero);
            update_elements(parameter.data<T>(), parameter.grad().data<T>(),
                            square_avgs[piece.tensor].template data<T>(), piece.begin, piece.end, options_,
                            updates[piece.tensor]);
        });
    });
}

}  // namespace headscope::optim
