#include "optim/adam.h"

#include <cmath>
#include <string>
#include <utility>

#include "autograd/parallel.h"
#include "optim/pieces.h"

namespace headscope::optim {
namespace {

/// The numbers of one update, for all elements of a parameter.
struct Update {
    double shrink;           ///< p *= shrink first: decoupled weight decay
    double decay;            ///< g += decay * p: coupled weight decay
    double step_size;        ///< lr / (1 - beta1^t)
    double correction_root;  ///< sqrt(1 - beta2^t)
};

template <class T>
void update_elements(T* parameter, const T* gradient, T* exp_avg, T* exp_avg_sq, std::int64_t begin, std::int64_t end,
                     const AdamOptions& options, const Update& update) {
    const T beta1 = static_cast<T>(options.beta1);
    const T beta2 = static_cast<T>(options.beta2);
    const T rest1 = static_cast<T>(1 - options.beta1);
    const T rest2 = static_cast<T>(1 - options.beta2);
    const T eps = static_cast<T>(options.eps);
    const T shrink = static_cast<T>(update.shrink);
    const T decay = static_cast<T>(update.decay);
    const T minus_step = static_cast<T>(-update.step_size);
    const T root = static_cast<T>(update.correction_root);
    for (std::int64_t i = begin; i < end; ++i) {
        const T p = parameter[i] * shrink;
        const T g = decay != 0 ? gradient[i] + decay * p : gradient[i];
        const T m = beta1 * exp_avg[i] + rest1 * g;
        const T v = beta2 * exp_avg_sq[i] + rest2 * g * g;
        exp_avg[i] = m;
        exp_avg_sq[i] = v;
        parameter[i] = p + minus_step * m / (std::sqrt(v) / root + eps);
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
        for (const NamedTensor& parameter : group.parameters)
            memories_.push_back(
                {add_state(parameter, "exp_avg"), add_state(parameter, "exp_avg_sq"), add_counter(parameter, "step")});
    }
}

void Adam::step() {
    std::vector<Tensor> parameters;
    std::vector<Memory> memories;
    std::vector<Update> updates;
    std::size_t number = 0;
    for (const ParameterGroup& group : groups_) {
        for (const NamedTensor& parameter : group.parameters) {
            Memory& memory = memories_[number++];
            if (!parameter.tensor.grad().defined()) continue;
            const double t = memory.step.item() + 1;
            memory.step.fill_(t);
            parameters.push_back(parameter.tensor);
            memories.push_back(memory);
            updates.push_back({options_.decoupled ? 1 - group.lr * group.weight_decay : 1,
                               options_.decoupled ? 0 : group.weight_decay,
                               group.lr / (1 - std::pow(options_.beta1, t)),
                               std::sqrt(1 - std::pow(options_.beta2, t))});
        }
    }

    const std::vector<Piece> pieces = cut_into_pieces(parameters);
    parallel_chunks(static_cast<std::int64_t>(pieces.size()), [&](std::int64_t index) {
        const Piece& piece = pieces[static_cast<std::size_t>(index)];
        Tensor& parameter = parameters[piece.tensor];
        Memory& memory = memories[piece.tensor];
        dispatch_float(parameter.dtype(), "adam", [&](auto zero) {
            using T = decltype(zero);
            update_elements(parameter.data<T>(), parameter.grad().data<T>(), memory.exp_avg.data<T>(),
                            memory.exp_avg_sq.data<T>(), piece.begin, piece.end, options_, updates[piece.tensor]);
        });
    });
}

}  // namespace headscope::optim
