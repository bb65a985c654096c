// What all optimizers share: parameter groups, and state by parameter name.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "autograd/tensor.h"

namespace headscope::optim {

/// Parameters that share settings. The settings that exist depend on the optimizer; lr and weight_decay always do.
struct ParameterGroup {
    std::vector<NamedTensor> parameters;
    double lr = 1e-3;
    double weight_decay = 0;
};

/// Optimizer state by "<parameter name>/<state name>", for example "head.weight/exp_avg". State names are PyTorch's.
using OptimizerState = std::map<std::string, Tensor>;

class Optimizer {
public:
    /// Throws Error when there is no parameter, or a name twice.
    explicit Optimizer(std::vector<ParameterGroup> groups);
    virtual ~Optimizer() = default;
    Optimizer(const Optimizer&) = delete;
    Optimizer& operator=(const Optimizer&) = delete;

    /// One update with each group's lr. A parameter without a gradient is left alone.
    virtual void step() = 0;

    void zero_grad();
    /// The learning rate of every group, for schedules.
    void set_lr(double lr);
    std::vector<ParameterGroup>& groups() { return groups_; }

    /// The state tensors (shared storage, not copies), including a scalar f64 "step" per parameter where it matters.
    const OptimizerState& state() const { return state_; }
    /// Copies values in. Strict like Module::load_state_dict: missing, unexpected and mis-shaped names are reported
    /// together, and nothing is changed then.
    void load_state(const OptimizerState& state);

protected:
    /// Registers a zero tensor like `parameter` (same shape and dtype) and returns its handle.
    Tensor add_state(const NamedTensor& parameter, const std::string& name);
    /// Registers a scalar f64 zero.
    Tensor add_counter(const NamedTensor& parameter, const std::string& name);
    /// Makes the state of an optimizer that works for this one part of its own.
    void share_state(const Optimizer& part);

    std::vector<ParameterGroup> groups_;

private:
    OptimizerState state_;
};

}  // namespace headscope::optim
