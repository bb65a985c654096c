#include "nn/module.h"

#include <algorithm>

#include "autograd/tensor_impl.h"

namespace headscope::nn {
namespace {

std::string describe(const Tensor& tensor) {
    if (!tensor.defined()) return "undefined";
    return tensor.shape().str() + " " + std::string(name_of(tensor.dtype()));
}

/// Appends "; title: a, b, c" unless the list is empty.
void append(std::string& message, const char* title, const std::vector<std::string>& items) {
    for (std::size_t i = 0; i < items.size(); ++i)
        message += (i == 0 ? std::string("; ") + title + ": " : ", ") + items[i];
}

}  // namespace

std::vector<NamedTensor> Module::named_parameters() const {
    std::vector<NamedTensor> all = parameters_;
    for (const auto& [name, child] : children_)
        for (const NamedTensor& below : child->named_parameters())
            all.push_back({name + "." + below.name, below.tensor});
    return all;
}

std::vector<std::pair<std::string, Module*>> Module::named_modules() {
    std::vector<std::pair<std::string, Module*>> all{{"", this}};
    for (const auto& [name, child] : children_)
        for (const auto& [below, module] : child->named_modules())
            all.emplace_back(below.empty() ? name : name + "." + below, module);
    return all;
}

void Module::train(bool on) {
    training_ = on;
    for (const auto& [name, child] : children_) child->train(on);
}

void Module::zero_grad() {
    for (NamedTensor& parameter : named_parameters()) parameter.tensor.zero_grad();
}

void Module::to(DType dtype) {
    if (!is_floating(dtype))
        throw Error("Module::to: parameters are float32 or float64, not " + std::string(name_of(dtype)));
    for (NamedTensor& parameter : named_parameters()) {
        if (parameter.tensor.dtype() == dtype) continue;
        GraphAccess::replace_values(parameter.tensor, parameter.tensor.to(dtype));
    }
}

StateDict Module::state_dict() const {
    StateDict state;
    for (const NamedTensor& parameter : named_parameters()) state.emplace(parameter.name, parameter.tensor.clone());
    return state;
}

void Module::load_state_dict(const StateDict& state) {
    std::vector<NamedTensor> parameters = named_parameters();
    std::vector<std::string> missing, unexpected, unfit;
    for (const auto& [name, own] : parameters) {
        const auto given = state.find(name);
        if (given == state.end()) missing.push_back(name + " " + describe(own));
        else if (describe(given->second) != describe(own))
            unfit.push_back(name + " is " + describe(given->second) + ", the module has " + describe(own));
    }
    for (const auto& [name, tensor] : state) {
        const auto same_name = [&name = name](const NamedTensor& parameter) { return parameter.name == name; };
        if (std::none_of(parameters.begin(), parameters.end(), same_name))
            unexpected.push_back(name + " " + describe(tensor));
    }
    if (!missing.empty() || !unexpected.empty() || !unfit.empty()) {
        std::string message = "load_state_dict: the state does not fit, nothing was loaded";
        append(message, "missing", missing);
        append(message, "unexpected", unexpected);
        append(message, "mis-shaped", unfit);
        throw Error(message);
    }
    for (auto& [name, own] : parameters) own.copy_(state.at(name));
}

void Module::check_name(const std::string& name) const {
    bool taken = name.empty();
    for (const NamedTensor& parameter : parameters_) taken |= parameter.name == name;
    for (const auto& [other, child] : children_) taken |= other == name;
    if (taken) throw Error("Module: the name \"" + name + "\" is empty or taken; give another");
}

Tensor Module::register_parameter(std::string name, const Shape& shape) {
    check_name(name);
    if (name.find('.') != std::string::npos)
        throw Error("Module: the parameter name \"" + name + "\" has a dot; dots join the names of modules");
    Tensor parameter = Tensor::zeros(shape);
    parameter.set_requires_grad();
    parameters_.push_back({std::move(name), parameter});
    return parameter;
}

void Module::register_module(std::string name, Module& module) {
    check_name(name);
    children_.emplace_back(std::move(name), &module);
}

}  // namespace headscope::nn
