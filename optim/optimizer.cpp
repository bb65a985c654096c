#include "optim/optimizer.h"

#include <cmath>
#include <numeric>
#include <set>
#include <string>
#include <utility>

namespace headscope::optim {
namespace {

/// "float32 [2, 3]".
std::string describe(const Tensor& tensor) { return std::string(name_of(tensor.dtype())) + " " + tensor.shape().str(); }

/// Adds "; title: a, b" when there are names.
void append(std::string& message, const char* title, const std::vector<std::string>& names) {
    if (names.empty()) return;
    message += std::string("; ") + title + ": ";
    for (std::size_t i = 0; i < names.size(); ++i) message += (i == 0 ? "" : ", ") + names[i];
}

std::vector<Tensor> all_parameters(const std::vector<ParameterGroup>& groups) {
    std::vector<Tensor> all;
    for (const ParameterGroup& group : groups)
        for (const nn::Parameter& parameter : group.parameters) all.push_back(parameter.tensor);
    return all;
}

}  // namespace

std::vector<ParameterGroup> group_by_role(const std::vector<nn::Parameter>& parameters, double lr, double weight_decay,
                                          const std::map<nn::ParameterRole, RoleSettings>& settings) {
    std::vector<ParameterGroup> groups{{{}, lr, weight_decay}};
    std::map<nn::ParameterRole, std::size_t> place;
    for (const auto& [role, own] : settings) {
        place[role] = groups.size();
        groups.push_back({{}, lr * own.lr_scale, own.weight_decay.value_or(weight_decay), own.lr_scale});
    }
    for (const nn::Parameter& parameter : parameters) {
        const auto own = place.find(parameter.role);
        groups[own == place.end() ? 0 : own->second].parameters.push_back(parameter);
    }
    std::erase_if(groups, [](const ParameterGroup& group) { return group.parameters.empty(); });
    return groups;
}

Optimizer::Optimizer(std::vector<ParameterGroup> groups)
    : groups_(std::move(groups)), chunks_(all_parameters(groups_)), squares_(chunks_.size()) {
    std::set<std::string> names;
    for (const ParameterGroup& group : groups_) {
        for (const nn::Parameter& parameter : group.parameters) {
            if (!is_floating(parameter.tensor.dtype()))
                throw Error("optimizer: parameter " + parameter.name + " is " +
                            std::string(name_of(parameter.tensor.dtype())) + "; it must be float32 or float64");
            if (!names.insert(parameter.name).second)
                throw Error("optimizer: parameter " + parameter.name + " is given twice");
            parameters_.push_back({parameter.tensor, static_cast<std::size_t>(&group - groups_.data())});
        }
    }
    if (names.empty()) throw Error("optimizer: there is no parameter to optimize");
}

double Optimizer::grad_norm() {
    chunks_.for_each([&](std::size_t i) {
        const Tensor& gradient = parameters_[chunks_[i].tensor].tensor.grad();
        squares_[i] = gradient.defined() ? sum_of_squares(gradient, chunks_[i].begin, chunks_[i].end) : 0;
    });
    return std::sqrt(std::accumulate(squares_.begin(), squares_.end(), 0.0));
}

void Optimizer::zero_grad(bool set_to_none) {
    for (Parameter& parameter : parameters_) {
        if (set_to_none) parameter.tensor.set_grad({});
        else parameter.tensor.zero_grad();
    }
}

void Optimizer::set_lr(double lr) {
    for (ParameterGroup& group : groups_) group.lr = lr * group.lr_scale;
}

void Optimizer::load_state(const OptimizerState& state) {
    std::vector<std::string> missing;
    std::vector<std::string> unexpected;
    std::vector<std::string> unfit;
    for (const auto& [name, own] : state_) {
        const auto given = state.find(name);
        if (given == state.end()) missing.push_back(name + " " + describe(own));
        else if (describe(given->second) != describe(own))
            unfit.push_back(name + " is " + describe(given->second) + ", the optimizer has " + describe(own));
    }
    for (const auto& [name, given] : state) {
        if (!state_.contains(name)) unexpected.push_back(name + " " + describe(given));
    }
    if (!missing.empty() || !unexpected.empty() || !unfit.empty()) {
        std::string message = "load_state: the state does not fit, nothing was loaded";
        append(message, "missing", missing);
        append(message, "unexpected", unexpected);
        append(message, "mis-shaped", unfit);
        throw Error(message);
    }
    for (auto& [name, own] : state_) own.copy_(state.at(name));
}

Tensor Optimizer::add_state(const nn::Parameter& parameter, const std::string& name) {
    Tensor zero = Tensor::zeros(parameter.tensor.shape(), parameter.tensor.dtype());
    return state_.emplace(parameter.name + "/" + name, std::move(zero)).first->second;
}

Tensor Optimizer::add_counter(const nn::Parameter& parameter, const std::string& name) {
    return state_.emplace(parameter.name + "/" + name, Tensor::zeros({}, DType::f64)).first->second;
}

void Optimizer::share_state(const Optimizer& part) { state_.insert(part.state_.begin(), part.state_.end()); }

}  // namespace headscope::optim
