// What all optimizers share: parameter groups, and state by parameter name.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "nn/parameter.h"
#include "optim/tensor_chunks.h"

namespace headscope::optim {

/// Parameters that share settings. The settings that exist depend on the optimizer; lr and weight_decay always do.
struct ParameterGroup {
    std::vector<nn::Parameter> parameters;
    double lr = 1e-3;
    double weight_decay = 0;
    double lr_scale = 1;  ///< what Optimizer::set_lr() multiplies a rate by for this group
};

/// What a role of parameters has of its own.
struct RoleSettings {
    double lr_scale = 1;
    std::optional<double> weight_decay = std::nullopt;  ///< none: that of all
};

/// One group of all parameters, in their order, and one more for each role that has settings of its own, in the order
/// of the roles. Groups without parameters are left out.
std::vector<ParameterGroup> group_by_role(const std::vector<nn::Parameter>& parameters, double lr, double weight_decay,
                                          const std::map<nn::ParameterRole, RoleSettings>& settings = {});

/// Optimizer state by "<parameter name>/<state name>", for example "head.weight/exp_avg". State names are PyTorch's.
using OptimizerState = std::map<std::string, Tensor>;

class Optimizer {
public:
    /// Throws Error when there is no parameter, or a name twice.
    explicit Optimizer(std::vector<ParameterGroup> groups);
    virtual ~Optimizer() = default;
    Optimizer(const Optimizer&) = delete;
    Optimizer& operator=(const Optimizer&) = delete;

    /// One update with each group's lr. A parameter without a gradient is left alone. The update is that of gradients
    /// which were multiplied by `gradient_scale` before, without a pass of its own over them; the gradients themselves
    /// stay. For clipping: step(clip_scale(grad_norm(), max_norm)).
    void step(double gradient_scale = 1) { update(gradient_scale); }
    /// Euclidean norm of all gradients together, summed in f64 over fixed chunks; a parameter without one counts 0.
    double grad_norm();

    /// Drops every gradient (torch's set_to_none): the first that backward() brings is then taken over as it is, where
    /// a gradient of zeros would be filled first and added to after. A parameter that the next backward() does not
    /// reach has no gradient, and step() leaves it alone. With set_to_none = false, fills the gradients that are there
    /// with zeros; their storage stays.
    void zero_grad(bool set_to_none = true);
    /// The learning rate of every group, times its lr_scale; for schedules.
    void set_lr(double lr);
    std::vector<ParameterGroup>& groups() { return groups_; }

    /// The state tensors (shared storage, not copies), including a scalar f64 "step" per parameter where it matters.
    const OptimizerState& state() const { return state_; }
    /// Copies values in. Strict like Module::load_state_dict: missing, unexpected and mis-shaped names are reported
    /// together, and nothing is changed then.
    void load_state(const OptimizerState& state);

protected:
    /// What step() does; `gradient_scale` is to be rounded to the parameter's dtype.
    virtual void update(double gradient_scale) = 0;

    /// Calls body(number) for every parameter that has a gradient; the number counts all, in the order of the groups.
    template <class Body>
    void for_each_with_gradient(Body&& body) const {
        for (std::size_t number = 0; number < parameters_.size(); ++number)
            if (parameters_[number].tensor.grad().defined()) body(number);
    }
    /// Calls body(number, group, parameter, gradient, begin, end), parameter and gradient as pointers to float or
    /// double, for chunks [begin, end) of every parameter that has a gradient; in parallel.
    template <class Body>
    void update_chunks(Body&& body) {
        chunks_.for_each([&](std::size_t i) {
            const TensorChunk& chunk = chunks_[i];
            Parameter& parameter = parameters_[chunk.tensor];
            const Tensor& gradient = parameter.tensor.grad();
            if (!gradient.defined()) return;
            dispatch_float(gradient.dtype(), "optimizer", [&](auto zero) {
                using T = decltype(zero);
                body(chunk.tensor, groups_[parameter.group], parameter.tensor.data<T>(), gradient.data<T>(),
                     chunk.begin, chunk.end);
            });
        });
    }

    /// Registers a zero tensor like `parameter` (same shape and dtype) and returns its handle.
    Tensor add_state(const nn::Parameter& parameter, const std::string& name);
    /// Registers a scalar f64 zero.
    Tensor add_counter(const nn::Parameter& parameter, const std::string& name);
    /// Makes the state of an optimizer that works for this one part of its own.
    void share_state(const Optimizer& part);

    std::vector<ParameterGroup> groups_;

private:
    struct Parameter {
        Tensor tensor;
        std::size_t group;
    };

    std::vector<Parameter> parameters_;  // of all groups
    TensorChunks chunks_;                // of parameters_
    std::vector<double> squares_;        // per chunk: scratch of grad_norm()
    OptimizerState state_;
};

}  // namespace headscope::optim
