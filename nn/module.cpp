#include "nn/module.h"

#include <set>
#include <string_view>

#include "autograd/tensor_impl.h"
#include "nn/init.h"

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

const char* name_of(ParameterRole role) {
    switch (role) {
        case ParameterRole::matrix: return "matrix";
        case ParameterRole::bias: return "bias";
        case ParameterRole::scale: return "scale";
        case ParameterRole::embedding: return "embedding";
        case ParameterRole::head: return "head";
    }
    return "?";
}

std::vector<Parameter> Module::named_parameters() const {
    std::vector<Parameter> all = parameters_;
    for (const auto& [name, child] : children_)
        for (const Parameter& below : child->named_parameters())
            all.push_back({name + "." + below.name, below.tensor, below.role});
    return all;
}

std::vector<std::pair<std::string, Module*>> Module::named_modules() {
    std::vector<std::pair<std::string, Module*>> all{{"", this}};
    for (const auto& [name, child] : children_)
        for (const auto& [below, module] : child->named_modules())
            all.emplace_back(below.empty() ? name : name + "." + below, module);
    return all;
}

std::vector<std::pair<std::string, Point*>> Module::named_points() const {
    std::vector<std::pair<std::string, Point*>> all = points_;
    for (const auto& [name, child] : children_)
        for (const auto& [below, point] : child->named_points()) all.emplace_back(name + "." + below, point);
    return all;
}

Point& Module::point(const std::string& path) const {
    std::string known;
    for (const auto& [name, point] : named_points()) {
        if (name == path) return *point;
        known += (known.empty() ? "" : ", ") + name;
    }
    throw Error("Module: there is no point " + path + "; there are " + (known.empty() ? "none" : known));
}

std::vector<Tensor> Module::guest_leaves() const {
    std::vector<Tensor> all;
    for (const auto& [name, point] : named_points())
        for (const Tensor& leaf : point->leaves()) all.push_back(leaf);
    return all;
}

void Module::train(bool on) {
    training_ = on;
    for (const auto& [name, child] : children_) child->train(on);
}

void Module::zero_grad() {
    for (Parameter& parameter : named_parameters()) parameter.tensor.zero_grad();
}

void Module::to(DType dtype) {
    if (!is_floating(dtype))
        throw Error("Module::to: parameters are float32 or float64, not " + std::string(name_of(dtype)));
    for (Parameter& parameter : named_parameters()) {
        if (parameter.tensor.dtype() == dtype) continue;
        GraphAccess::replace_values(parameter.tensor, parameter.tensor.has_storage()
                                                          ? parameter.tensor.to(dtype)
                                                          : Tensor::without_storage(parameter.tensor.shape(), dtype));
    }
}

StateDict Module::state_dict() const {
    StateDict state;
    for (const Parameter& parameter : named_parameters()) state.emplace(parameter.name, parameter.tensor.clone());
    return state;
}

void Module::load_state_dict(const StateDict& state) {
    std::vector<Parameter> parameters = named_parameters();
    std::vector<std::string> missing, unexpected, unfit;
    for (const auto& [name, own, role] : parameters) {
        const auto given = state.find(name);
        if (given == state.end()) missing.push_back(name + " " + describe(own));
        else if (describe(given->second) != describe(own))
            unfit.push_back(name + " is " + describe(given->second) + ", the module has " + describe(own));
    }
    std::set<std::string_view> own_names;
    for (const Parameter& parameter : parameters) own_names.insert(parameter.name);
    for (const auto& [name, tensor] : state)
        if (!own_names.contains(name)) unexpected.push_back(name + " " + describe(tensor));
    if (!missing.empty() || !unexpected.empty() || !unfit.empty()) {
        std::string message = "load_state_dict: the state does not fit, nothing was loaded";
        append(message, "missing", missing);
        append(message, "unexpected", unexpected);
        append(message, "mis-shaped", unfit);
        throw Error(message);
    }
    for (auto& [name, own, role] : parameters) own.copy_(state.at(name));
}

void Module::take_name(const std::string& name) {
    if (name.empty() || !names_.insert(name).second)
        throw Error("Module: the name \"" + name + "\" is empty or taken; give another");
}

Tensor Module::register_parameter(std::string name, const Shape& shape, ParameterRole role) {
    if (name.find('.') != std::string::npos)
        throw Error("Module: the parameter name \"" + name + "\" has a dot; dots join the names of modules");
    take_name(name);
    Tensor parameter = WithoutStorage::is_on() ? Tensor::without_storage(shape) : Tensor::zeros(shape);
    parameter.set_requires_grad();
    parameters_.push_back({std::move(name), parameter, role});
    return parameter;
}

void Module::register_point(std::string name, Point& point) {
    for (const auto& [other, there] : points_)
        if (other == name) throw Error("Module: there is a point \"" + name + "\" already; give another name");
    points_.emplace_back(std::move(name), &point);
}

void Module::register_module(std::string name, Module& module) {
    take_name(name);
    children_.emplace_back(std::move(name), &module);
}

}  // namespace headscope::nn
