// The graph of a computation and the walk back over it.
//
// Notes
//   Writing an op. Compute the result, then return `record(...)` with the backward right below:
//
//     Tensor mul(const Tensor& a, const Tensor& b) {                 // c = a * b
//         Tensor c = ...;
//         return record("mul", {a, b}, c, {a, b}, [](Backward& bw) {
//             if (bw.needs(0)) bw.set(0, mul(bw.grad(), bw.saved(1)));   // dL/da = dL/dc * b
//             if (bw.needs(1)) bw.set(1, mul(bw.grad(), bw.saved(0)));   // dL/db = dL/dc * a
//         });
//     }
//
//   The backward function captures attributes only (numbers, flags, shapes): it must be trivially copyable, which the
//   compiler checks. Tensors go through the list of saved tensors, which keeps values and never a graph edge; so a
//   reference cycle cannot be written. Inside a backward function nothing is recorded, and any op may be called.
//
//   What the engine does, so that ops need not: sums a gradient over the axes its input was broadcast along, checks
//   shape and dtype of every gradient and names the node that got it wrong, adds the gradients of several uses in a
//   fixed order, frees saved tensors as it goes.
//
//   Order. Nodes are numbered as they are made and visited from the highest number down, as soon as all their users are
//   done. So the order of every sum is that of the program text, reversed, and the bits are always the same. Walking
//   and destroying are loops, not recursion: a chain of a million ops fits a small stack.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <type_traits>
#include <vector>

#include "autograd/tensor.h"

namespace headscope {

/// Is the graph being recorded in this thread?
bool grad_enabled();

/// While one lives, nothing is recorded in this thread.
class NoGrad {
public:
    NoGrad();
    ~NoGrad();
    NoGrad(const NoGrad&) = delete;
    NoGrad& operator=(const NoGrad&) = delete;

private:
    bool before_;
};

/// A backward function's view of its node.
class Backward {
public:
    /// Gradient of the loss with respect to an output. Always defined for an op with one output; for an op with more,
    /// undefined when nothing depends on that output.
    const Tensor& grad(int output = 0) const;
    /// A saved tensor, by its place in the list given to record().
    const Tensor& saved(int index) const;
    /// Shape of an input.
    const Shape& input_shape(int input) const;
    /// Does anybody want the gradient of this input?
    bool needs(int input) const;
    /// Hands over the gradient of an input; its shape may still be the broadcast one.
    void set(int input, Tensor gradient);

private:
    friend class Engine;
    Backward(Node& node, std::vector<Tensor>& input_grads) : node_(node), input_grads_(input_grads) {}
    Node& node_;
    std::vector<Tensor>& input_grads_;
};

/// A backward function kept by value: trivially copyable, at most 160 bytes of captured attributes.
class BackwardFunction {
public:
    BackwardFunction() = default;
    template <class F>
    BackwardFunction(F function) {  // NOLINT(google-explicit-constructor): ops pass lambdas
        static_assert(std::is_trivially_copyable_v<F>,
                      "a backward function captures attributes only; pass tensors through the saved list");
        static_assert(sizeof(F) <= capacity, "too many captured attributes");
        std::memcpy(bytes_.data(), static_cast<const void*>(&function), sizeof(F));
        call_ = [](const void* self, Backward& bw) { (*static_cast<const F*>(self))(bw); };
    }
    void operator()(Backward& bw) const { call_(bytes_.data(), bw); }

private:
    static constexpr std::size_t capacity = 160;
    alignas(16) std::array<std::byte, capacity> bytes_{};
    void (*call_)(const void*, Backward&) = nullptr;
};

/// Makes `output` the result of op `name` on `inputs` and returns it. Records nothing (and keeps none of `saved`) when
/// recording is off or no input requires a gradient. `name` must outlive the graph: pass a literal.
Tensor record(const char* name, std::initializer_list<Tensor> inputs, Tensor output,
              std::initializer_list<Tensor> saved, BackwardFunction backward);
/// The same for an op with several outputs.
std::vector<Tensor> record(const char* name, std::initializer_list<Tensor> inputs, std::vector<Tensor> outputs,
                           std::initializer_list<Tensor> saved, BackwardFunction backward);
/// The same for an op with any number of inputs of one kind, which saves nothing.
Tensor record(const char* name, const std::vector<Tensor>& inputs, Tensor output, BackwardFunction backward);
/// Would an op on these inputs be recorded? Lets an op skip work that only its backward needs.
bool records(std::initializer_list<Tensor> inputs);

struct BackwardOptions {
    Tensor gradient;            ///< dL/d(output), of the output's shape; undefined means 1 and asks for a scalar output
    bool retain_graph = false;  ///< keep saved tensors, so that backward may be called again
};

/// Sums dL/dx into grad() of every leaf x that `output` depends on and that requires a gradient.
/// Throws Error when the output does not require a gradient, is not a scalar (without options.gradient), or when the
/// graph was freed by an earlier backward.
void backward(const Tensor& output, const BackwardOptions& options = {});

}  // namespace headscope
