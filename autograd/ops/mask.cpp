// The named factories of Mask, declared in attention.h.
#include <algorithm>

#include "autograd/error.h"
#include "autograd/ops/attention.h"

namespace headscope {
namespace {

/// [B|1, H|1, Tq|1, Tk] and its like, combined by logical and.
Tensor both(const Tensor& a, const Tensor& b) {
    const Shape shape = broadcast_shapes(a.shape(), b.shape(), "mask");
    Tensor result = Tensor::empty(shape, DType::boolean);
    std::uint8_t* out = result.data<std::uint8_t>();
    const auto place = [&shape](const Tensor& t, std::int64_t index) {
        std::int64_t source = 0;
        std::int64_t stride = 1;
        for (int axis = shape.rank() - 1; axis >= 0; --axis) {
            const std::int64_t i = index % shape[axis];
            index /= shape[axis];
            if (t.shape()[axis] != 1) source += i * stride;
            stride *= t.shape()[axis];
        }
        return source;
    };
    const std::uint8_t* pa = a.data<std::uint8_t>();
    const std::uint8_t* pb = b.data<std::uint8_t>();
    for (std::int64_t i = 0; i < shape.numel(); ++i)
        out[i] = static_cast<std::uint8_t>(pa[place(a, i)] != 0 && pb[place(b, i)] != 0);
    return result;
}

void check_boolean(const Tensor& tensor, const char* factory, int rank, const char* layout) {
    if (tensor.dtype() == DType::boolean && tensor.rank() == rank) return;
    throw Error(std::string("mask: ") + factory + " needs a bool tensor " + layout + "; it was given " +
                std::string(name_of(tensor.dtype())) + " " + tensor.shape().str());
}

}  // namespace

Mask Mask::causal() {
    Mask mask;
    mask.causal_ = true;
    return mask;
}

Mask Mask::padding(const Tensor& valid) {
    check_boolean(valid, "padding", 2, "[B, Tk]");
    Mask mask;
    mask.visible_ = Tensor::from<std::uint8_t>({valid.size(0), 1, 1, valid.size(1)}, valid.values<std::uint8_t>());
    return mask;
}

Mask Mask::visible(const Tensor& visible) {
    check_boolean(visible, "visible", 4, "[B|1, H|1, Tq, Tk]");
    Mask mask;
    mask.visible_ = visible.detach();
    return mask;
}

Mask Mask::window(std::int64_t width, std::int64_t queries, std::int64_t keys) {
    if (width < 1) throw Error("mask: a window must be at least 1 wide; it is " + std::to_string(width));
    Tensor near = Tensor::zeros({1, 1, queries, keys}, DType::boolean);
    for (std::int64_t i = 0; i < queries; ++i)
        for (std::int64_t j = std::max<std::int64_t>(0, i - width + 1); j < keys; ++j)
            near.data<std::uint8_t>()[i * keys + j] = 1;
    return causal() & visible(near);
}

Mask Mask::operator&(const Mask& other) const {
    Mask mask;
    mask.causal_ = causal_ || other.causal_;
    if (visible_.defined() && other.visible_.defined()) mask.visible_ = both(visible_, other.visible_);
    else mask.visible_ = visible_.defined() ? visible_ : other.visible_;
    return mask;
}

void Mask::check(std::int64_t batch, std::int64_t heads, std::int64_t queries, std::int64_t keys) const {
    if (!visible_.defined()) return;
    const Shape scores{batch, heads, queries, keys};
    if (!broadcasts_to(visible_.shape(), scores) || visible_.size(3) != keys)
        throw Error("attention: the mask " + visible_.shape().str() +
                    " does not fit the scores [B, H, Tq, Tk] = " + scores.str());
}

}  // namespace headscope
