// Where the first NaN or infinity of a computation came from.
//
// While a FiniteWatch lives, every op of its thread that the graph records, and every gradient that a backward walk
// hands on, is looked through. That costs a pass over each tensor, so a training step is watched only once it is known
// to have gone wrong: the same step, done again, gives the same bits.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "autograd/tensor.h"

namespace headscope {

/// An element that is NaN or infinite.
struct NotFinite {
    std::vector<std::int64_t> at;  ///< its index
    double value;                  ///< nan, inf or -inf
};

/// The first such element in row-major order; nothing when there is none, or when the dtype has no such values.
std::optional<NotFinite> first_not_finite(const Tensor& tensor);

class FiniteWatch {
public:
    struct Find {
        std::string op;  ///< as recorded: "linear", "softmax", ...
        bool backward;   ///< in a gradient that the op's backward gave, else in its output
        int number;      ///< forward: of how many ops of that name this was the last; backward: 0
        Shape shape;     ///< of that tensor
        NotFinite element;
        /// Forward: those of the op's inputs that are leaves. Backward: the leaf that the gradient is for, if it is
        /// one.
        std::vector<Tensor> parameters;
    };

    FiniteWatch() : outer_(current_) { current_ = this; }
    ~FiniteWatch() { current_ = outer_; }
    FiniteWatch(const FiniteWatch&) = delete;
    FiniteWatch& operator=(const FiniteWatch&) = delete;

    /// The first find, if there was one.
    const std::optional<Find>& found() const { return found_; }

    // For the engine.
    static bool watching() { return current_ != nullptr && !current_->found_; }
    static void see_output(const char* op, std::span<const Tensor> inputs, std::span<const Tensor> outputs);
    static void see_gradient(const char* op, const Tensor& gradient, const Tensor& leaf);

private:
    FiniteWatch* outer_;
    std::optional<Find> found_;
    std::map<std::string, int> ops_seen_;
    static inline thread_local FiniteWatch* current_ = nullptr;
};

}  // namespace headscope
