#include "autograd/finite_watch.h"

#include <cmath>

namespace headscope {

std::optional<NotFinite> first_not_finite(const Tensor& tensor) {
    if (!tensor.defined() || (tensor.dtype() != DType::f32 && tensor.dtype() != DType::f64)) return std::nullopt;
    return dispatch_float(tensor.dtype(), "first_not_finite", [&](auto zero) -> std::optional<NotFinite> {
        const auto values = tensor.values<decltype(zero)>();
        std::size_t found = 0;
        while (found < values.size() && std::isfinite(values[found])) ++found;
        if (found == values.size()) return std::nullopt;
        NotFinite element{{tensor.shape().begin(), tensor.shape().end()}, static_cast<double>(values[found])};
        auto rest = static_cast<std::int64_t>(found);
        for (std::size_t axis = element.at.size(); axis-- > 0;) {  // from sizes to indices
            const std::int64_t size = element.at[axis];
            element.at[axis] = rest % size;
            rest /= size;
        }
        return element;
    });
}

void FiniteWatch::see_output(const char* op, std::span<const Tensor> inputs, std::span<const Tensor> outputs) {
    const int number = ++current_->ops_seen_[op];
    for (const Tensor& output : outputs) {
        const auto element = first_not_finite(output);
        if (!element) continue;
        Find find{op, false, number, output.shape(), *element, {}};
        for (const Tensor& input : inputs)
            if (input.defined() && input.is_leaf() && input.requires_grad()) find.parameters.push_back(input);
        current_->found_ = std::move(find);
        return;
    }
}

void FiniteWatch::see_gradient(const char* op, const Tensor& gradient, const Tensor& leaf) {
    const auto element = first_not_finite(gradient);
    if (!element) return;
    Find find{op, true, 0, gradient.shape(), *element, {}};
    if (leaf.defined()) find.parameters.push_back(leaf);
    current_->found_ = std::move(find);
}

}  // namespace headscope
