#include "nn/init.h"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "autograd/parallel.h"
#include "autograd/random.h"
#include "nn/orthogonal.h"

namespace headscope::nn {
namespace {

/// x[i] = value(i, x[i]), computed in f64 and rounded.
template <class Value>
void assign_each(Tensor x, Value&& value) {
    dispatch_float(x.dtype(), "initialize", [&](auto scalar) {
        using T = decltype(scalar);
        T* out = x.data<T>();
        parallel_for(x.numel(), 4096, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t i = begin; i < end; ++i)
                out[i] = static_cast<T>(value(static_cast<std::uint64_t>(i), static_cast<double>(out[i])));
        });
    });
}

void fill_uniform(const Tensor& x, double limit, const RandomStream& random) {
    assign_each(x, [&](std::uint64_t i, double) { return limit * (2 * random.uniform(i) - 1); });
}

void fill_normal(const Tensor& x, double std, const RandomStream& random) {
    assign_each(x, [&](std::uint64_t i, double) { return std * random.normal(i); });
}

void fill_orthogonal(const Tensor& x, const RandomStream& random) {
    const Tensor values = random_orthogonal(x.size(0), x.size(1), random);
    assign_each(x, [&](std::uint64_t i, double) { return values.data<double>()[i]; });
}

/// Calls visit(path, module) for every module, those below a module before itself.
template <class Visit>
void for_each_module(Module& module, Visit&& visit) {
    auto modules = module.named_modules();
    // In the order of registration a module comes before those below it.
    for (auto one = modules.rbegin(); one != modules.rend(); ++one) visit(one->first, *one->second);
}

}  // namespace

std::string Initializer::stream(const char* purpose, const std::string& name) const {
    return std::string(purpose) + "." + path_ + (path_.empty() ? "" : ".") + name;
}

void Initializer::draw_matrix(const Tensor& weight, const std::string& name) const {
    const auto out = static_cast<double>(weight.size(0)), in = static_cast<double>(weight.size(1));
    const RandomStream random(seed_, stream("init", name));
    switch (options_.scheme) {
        case InitScheme::xavier_uniform: return fill_uniform(weight, std::sqrt(6 / (in + out)), random);
        case InitScheme::xavier_normal: return fill_normal(weight, std::sqrt(2 / (in + out)), random);
        case InitScheme::kaiming_uniform: return fill_uniform(weight, std::sqrt(6 / in), random);
        case InitScheme::normal: return fill_normal(weight, options_.std, random);
        case InitScheme::orthogonal: return fill_orthogonal(weight, random);
        case InitScheme::pytorch: return fill_uniform(weight, 1 / std::sqrt(in), random);
    }
}

void Initializer::draw_bias(const Tensor& bias, const std::string& name, std::int64_t fan_in) const {
    if (options_.scheme == InitScheme::pytorch)
        fill_uniform(bias, 1 / std::sqrt(static_cast<double>(fan_in)), RandomStream(seed_, stream("init", name)));
    else Tensor(bias).fill_(0);
}

void Initializer::draw_normal(const Tensor& values, const std::string& name, double std) const {
    fill_normal(values, std, RandomStream(seed_, stream("init", name)));
}

void Initializer::add_clone_noise(const Tensor& values, const std::string& name) const {
    const RandomStream random(seed_, stream("clone_noise", name));
    assign_each(values, [&](std::uint64_t i, double value) { return value + options_.clone_noise * random.normal(i); });
}

void initialize(Module& module, const InitOptions& options, std::uint64_t seed) {
    for (const char letter : options.clone_heads)
        if (std::string_view("qkvo").find(letter) == std::string_view::npos)
            throw Error(std::string("initialize: clone_heads has '") + letter + "'; it takes 'q', 'k', 'v' and 'o'");
    for_each_module(
        module, [&](const std::string& path, Module& part) { part.initialize_own(Initializer(options, seed, path)); });
}

void initialize_new(Module& module) {
    if (!DeferInit::is_deferred()) initialize(module, {.scheme = InitScheme::pytorch});
}

}  // namespace headscope::nn
