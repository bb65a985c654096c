#include "autograd/gradcheck.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "autograd/graph.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/reduction.h"
#include "autograd/random.h"

namespace headscope {
namespace {

using Function = std::function<std::vector<Tensor>(const std::vector<Tensor>&)>;
using Gradients = std::vector<std::vector<double>>;

constexpr double law_tolerance = 1e-10;  // of the laws that hold but for rounding

Tensor random_like(const Tensor& output, std::uint64_t seed, const char* stream, std::uint64_t number) {
    const RandomStream random(seed, stream, number);
    Tensor result = Tensor::empty(output.shape(), DType::f64);
    for (std::int64_t i = 0; i < result.numel(); ++i)
        result.data<double>()[i] = random.normal(static_cast<std::uint64_t>(i));
    return result;
}

/// sum over outputs of output * gradient. Outputs that are undefined, do not depend on any input or have no gradient
/// are left out. Undefined when nothing is left.
Tensor weighted_sum(const std::vector<Tensor>& outputs, const std::vector<Tensor>& gradients) {
    Tensor total;
    for (std::size_t i = 0; i < outputs.size(); ++i) {
        if (!outputs[i].defined() || !outputs[i].requires_grad() || !gradients[i].defined()) continue;
        const Tensor term = sum(mul(outputs[i], gradients[i]));
        total = total.defined() ? add(total, term) : term;
    }
    return total;
}

double error_of(double a, double b) { return std::abs(a - b) / std::max({1.0, std::abs(a), std::abs(b)}); }

std::string text_of(double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%.12g", value);
    return text;
}

std::string place_of(std::size_t input, const Tensor& tensor, std::size_t element) {
    return "input " + std::to_string(input) + " " + tensor.shape().str() + ", element " + std::to_string(element);
}

/// The values and gradients that the caller's tensors had, put back at the end, also after an exception.
class Restore {
public:
    explicit Restore(std::vector<Tensor>& inputs) : inputs_(inputs) {
        for (const Tensor& input : inputs) {
            values_.push_back(input.clone());
            gradients_.push_back(input.grad());
        }
    }
    ~Restore() {
        for (std::size_t i = 0; i < inputs_.size(); ++i) {
            inputs_[i].copy_(values_[i]);
            inputs_[i].set_grad(gradients_[i]);
        }
    }
    Restore(const Restore&) = delete;
    Restore& operator=(const Restore&) = delete;

private:
    std::vector<Tensor>& inputs_;
    std::vector<Tensor> values_;
    std::vector<Tensor> gradients_;
};

class Check {
public:
    Check(const Function& function, std::vector<Tensor>& inputs, const GradcheckOptions& options)
        : function_(function), inputs_(inputs), options_(options) {}

    GradcheckResult run() {
        const std::vector<Tensor> outputs = function_(inputs_);
        std::vector<Tensor> g1, g2, mixed;
        for (std::size_t i = 0; i < outputs.size(); ++i) {
            const bool used = outputs[i].defined();
            if (used && outputs[i].dtype() != DType::f64)
                throw Error("gradcheck: output " + std::to_string(i) + " is " +
                            std::string(name_of(outputs[i].dtype())) + " " + outputs[i].shape().str() +
                            ", it must be float64");
            g1.push_back(used ? random_like(outputs[i], options_.seed, "gradcheck/first", i) : Tensor{});
            g2.push_back(used ? random_like(outputs[i], options_.seed, "gradcheck/second", i) : Tensor{});
            mixed.push_back(used ? g1.back() * 2 + g2.back() * 3 : Tensor{});
        }
        const Tensor loss = weighted_sum(outputs, g1);
        if (!loss.defined()) {
            fail(INFINITY, "no output depends on an input that requires a gradient");
            return result_;
        }
        const Gradients analytic = walk_back(loss, true);
        check_same_bits(analytic, walk_back(loss, false));
        check_linear(analytic, gradients_of(g2), gradients_of(mixed));
        if (outputs.size() > 1) check_unused(analytic, g1);
        check_differences(analytic, g1);
        result_.ok = result_.message.empty();
        return result_;
    }

private:
    Gradients walk_back(const Tensor& loss, bool retain_graph) {
        for (Tensor& input : inputs_) input.set_grad({});
        backward(loss, {.gradient = {}, .retain_graph = retain_graph});
        Gradients result;
        for (const Tensor& input : inputs_) {
            std::vector<double> values(static_cast<std::size_t>(input.numel()));  // no gradient means zero
            if (input.grad().defined()) std::copy_n(input.grad().data<double>(), values.size(), values.begin());
            result.push_back(std::move(values));
        }
        return result;
    }

    /// A fresh forward and backward pass; all zero when no output in use depends on the inputs.
    Gradients gradients_of(const std::vector<Tensor>& output_gradients) {
        const Tensor loss = weighted_sum(function_(inputs_), output_gradients);
        if (loss.defined()) return walk_back(loss, false);
        Gradients zeros;
        for (const Tensor& input : inputs_) zeros.emplace_back(static_cast<std::size_t>(input.numel()));
        return zeros;
    }

    void check_same_bits(const Gradients& first, const Gradients& second) {
        for (std::size_t i = 0; i < first.size(); ++i)
            if (std::memcmp(first[i].data(), second[i].data(), first[i].size() * sizeof(double)) != 0)
                fail(INFINITY, "two backward passes give different bits for input " + std::to_string(i));
    }

    void check_equal(const char* law, const Gradients& expected, const Gradients& got) {
        for (std::size_t i = 0; i < got.size(); ++i)
            for (std::size_t j = 0; j < got[i].size(); ++j)
                if (!(error_of(expected[i][j], got[i][j]) <= law_tolerance))
                    fail(error_of(expected[i][j], got[i][j]), std::string(law) + ": " + place_of(i, inputs_[i], j) +
                                                                  " has gradient " + text_of(got[i][j]) +
                                                                  ", expected " + text_of(expected[i][j]));
    }

    void check_linear(const Gradients& a, const Gradients& b, const Gradients& mixed) {
        Gradients expected = a;
        for (std::size_t i = 0; i < a.size(); ++i)
            for (std::size_t j = 0; j < a[i].size(); ++j) expected[i][j] = 2 * a[i][j] + 3 * b[i][j];
        check_equal("the backward is not linear in the output gradient", expected, mixed);
    }

    /// Each output alone, the others unused; by linearity that adds up to all of them together.
    void check_unused(const Gradients& together, const std::vector<Tensor>& output_gradients) {
        Gradients total;
        for (std::size_t i = 0; i < output_gradients.size(); ++i) {
            std::vector<Tensor> alone(output_gradients.size());
            alone[i] = output_gradients[i];
            const Gradients part = gradients_of(alone);
            if (total.empty()) {
                total = part;
                continue;
            }
            for (std::size_t k = 0; k < part.size(); ++k)
                for (std::size_t j = 0; j < part[k].size(); ++j) total[k][j] += part[k][j];
        }
        check_equal("an unused output does not count as zero", together, total);
    }

    double value(const std::vector<Tensor>& output_gradients) {
        const std::vector<Tensor> outputs = function_(inputs_);
        double total = 0;
        for (std::size_t i = 0; i < outputs.size(); ++i) {
            if (!outputs[i].defined()) continue;
            const auto values = outputs[i].values<double>();
            const auto weights = output_gradients[i].values<double>();
            for (std::size_t j = 0; j < values.size(); ++j) total += values[j] * weights[j];
        }
        return total;
    }

    void check_differences(const Gradients& analytic, const std::vector<Tensor>& output_gradients) {
        const NoGrad no_grad;
        for (std::size_t i = 0; i < inputs_.size(); ++i) {
            if (!inputs_[i].requires_grad()) continue;
            double* const x = inputs_[i].data<double>();
            for (std::size_t j = 0; j < analytic[i].size(); ++j) {
                const double before = x[j];
                const double above = before + options_.step;
                const double below = before - options_.step;
                x[j] = above;
                const double value_above = value(output_gradients);
                x[j] = below;
                const double value_below = value(output_gradients);
                x[j] = before;
                const double numeric = (value_above - value_below) / (above - below);
                const double error = error_of(analytic[i][j], numeric);
                if (error <= options_.tolerance) result_.worst = std::max(result_.worst, error);
                else
                    fail(error, place_of(i, inputs_[i], j) + ": the gradient is " + text_of(analytic[i][j]) +
                                    ", the difference quotient " + text_of(numeric));
            }
        }
    }

    /// Keeps the message of the worst failure; not a number is worse than any number.
    void fail(double error, std::string message) {
        if (std::isnan(error)) error = INFINITY;
        if (!result_.message.empty() && error <= result_.worst) return;
        result_.message = std::move(message);
        result_.worst = std::max(result_.worst, error);
    }

    const Function& function_;
    std::vector<Tensor>& inputs_;
    const GradcheckOptions& options_;
    GradcheckResult result_;
};

}  // namespace

GradcheckResult gradcheck(const Function& function, std::vector<Tensor> inputs, const GradcheckOptions& options) {
    for (std::size_t i = 0; i < inputs.size(); ++i)
        if (inputs[i].dtype() != DType::f64 || !inputs[i].is_leaf())
            throw Error("gradcheck: input " + std::to_string(i) + " is " + std::string(name_of(inputs[i].dtype())) +
                        " " + inputs[i].shape().str() + "; it must be a float64 leaf");
    if (std::none_of(inputs.begin(), inputs.end(), [](const Tensor& input) { return input.requires_grad(); }))
        throw Error("gradcheck: no input requires a gradient; call set_requires_grad()");
    const Restore restore(inputs);
    return Check(function, inputs, options).run();
}

}  // namespace headscope
