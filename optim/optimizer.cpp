#include "optim/optimizer.h"

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

}  // namespace

Optimizer::Optimizer(std::vector<ParameterGroup> groups) : groups_(std::move(groups)) {
    std::set<std::string> names;
    for (const ParameterGroup& group : groups_) {
        for (const NamedTensor& parameter : group.parameters) {
            if (!is_floating(parameter.tensor.dtype()))
                throw Error("optimizer: parameter " + parameter.name + " is " +
                            std::string(name_of(parameter.tensor.dtype())) + "; it must be float32 or float64");
            if (!names.insert(parameter.name).second)
                throw Error("optimizer: parameter " + parameter.name + " is given twice");
        }
    }
    if (names.empty()) throw Error("optimizer: there is no parameter to optimize");
}

void Optimizer::zero_grad() {
    for (ParameterGroup& group : groups_) {
        for (NamedTensor& parameter : group.parameters) parameter.tensor.zero_grad();
    }
}

void Optimizer::set_lr(double lr) {
    for (ParameterGroup& group : groups_) group.lr = lr;
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

Tensor Optimizer::add_state(const NamedTensor& parameter, const std::string& name) {
    Tensor zero = Tensor::zeros(parameter.tensor.shape(), parameter.tensor.dtype());
    return state_.emplace(parameter.name + "/" + name, std::move(zero)).first->second;
}

Tensor Optimizer::add_counter(const NamedTensor& parameter, const std::string& name) {
    return state_.emplace(parameter.name + "/" + name, Tensor::zeros({}, DType::f64)).first->second;
}

void Optimizer::share_state(const Optimizer& part) { state_.insert(part.state_.begin(), part.state_.end()); }

}  // namespace headscope::optim
