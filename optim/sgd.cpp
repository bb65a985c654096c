#include "optim/sgd.h"

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
    double momentum;
    bool nesterov;
};

/// `buffer` is null without momentum. It starts at zero, so that the first
/// update makes it the gradient.
template <class T>
void update_elements(T* parameter, const T* gradient, T* buffer, std::int64_t begin, std::int64_t end,
                     const Update& update) {
    const T minus_lr = static_cast<T>(-update.lr);
    const T decay = static_cast<T>(update.weight_decay);
    const T momentum = static_cast<T>(update.momentum);
    if (buffer == nullptr) {
        for (std::int64_t i = begin; i < end; ++i) {
            const T g = decay != 0 ? gradient[i] + decay * parameter[i] : gradient[i];
            parameter[i] += minus_lr * g;
        }
        return;
    }
    for (std::int64_t i = begin; i < end; ++i) {
        const T g = decay != 0 ? gradient[i] + decay * parameter[i] : gradient[i];
        const T b = momentum * buffer[i] + g;
        buffer[i] = b;
        parameter[i] += minus_lr * (update.nesterov ? g + momentum * b : b);
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
        for (const NamedTensor& parameter : group.parameters)
            memories_.push_back({add_state(parameter, "momentum_buffer"), add_counter(parameter, "step")});
    }
}

void Sgd::step() {
    std::vector<Tensor> parameters;
    std::vector<Tensor> buffers;
    std::vector<Update> updates;
    std::size_t number = 0;
    for (const ParameterGroup& group : groups_) {
        for (const NamedTensor& parameter : group.parameters) {
            const std::size_t own = number++;
            if (!parameter.tensor.grad().defined()) continue;
            parameters.push_back(parameter.tensor);
            updates.push_back({group.lr, group.weight_decay, options_.momentum, options_.nesterov});
            if (memories_.empty()) continue;
            Memory& memory = memories_[own];
            memory.step.fill_(memory.step.item() + 1);
            buffers.push_back(memory.buffer);
        }
    }

    const std::vector<Piece> pieces = cut_into_pieces(parameters);
    parallel_chunks(static_cast<std::int64_t>(pieces.size()), [&](std::int64_t index) {
        const Piece& piece = pieces[static_cast<std::size_t>(index)];
        Tensor& parameter = parameters[piece.tensor];
        dispatch_float(parameter.dtype(), "sgd", [&](auto zero) {
            using T = decltype(zero);
            T* buffer = buffers.empty() ? nullptr : buffers[piece.tensor].template data<T>();
            update_elements(parameter.data<T>(), parameter.grad().data<T>(), buffer, piece.begin, piece.end,
                            updates[piece.tensor]);
        });
    });
}

}  // namespace headscope::optim
