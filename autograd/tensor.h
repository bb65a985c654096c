// Tensor: a handle over shared storage, with what reverse-mode differentiation needs.
//
// Notes
//   Handles. Copying a Tensor copies the handle: both name the same values, gradient and place in the graph.
//   Layout. Always contiguous, row-major. `reshape` shares storage; a transpose is a flag of `matmul` or a copy made by
//   `permute`; a head is a column block that kernels read in place with an outer stride.
//   Types. One run-time dtype (see dtype.h). Nothing is converted silently: mixing dtypes is an Error.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "autograd/dtype.h"
#include "autograd/shape.h"

namespace headscope {

class Node;
struct TensorImpl;

class Tensor;

/// A hook is given the gradient of the loss with respect to its tensor, complete, of the tensor's shape and dtype. It
/// returns a replacement, or an undefined Tensor to leave the gradient alone.
using GradientHook = std::function<Tensor(const Tensor& gradient)>;

class Tensor {
public:
    /// Undefined: no storage. Most operations on it are errors; test with defined().
    Tensor() = default;

    /// Values not initialised.
    static Tensor empty(const Shape& shape, DType dtype = DType::f32);
    static Tensor zeros(const Shape& shape, DType dtype = DType::f32);
    static Tensor full(const Shape& shape, double value, DType dtype = DType::f32);
    /// Shape and dtype without memory for values: for a model that is only asked about its sizes. Reading or writing
    /// its values throws Error.
    static Tensor without_storage(const Shape& shape, DType dtype = DType::f32);
    /// Converts each value to `dtype`. Throws Error when the count is not the shape's.
    static Tensor from(const Shape& shape, std::initializer_list<double> values, DType dtype = DType::f32);
    /// Copies; the dtype is T's.
    template <class T>
    static Tensor from(const Shape& shape, std::span<const T> values);

    bool defined() const { return impl_ != nullptr; }
    /// False for what without_storage() made.
    bool has_storage() const;
    const Shape& shape() const;
    int rank() const { return shape().rank(); }
    /// Size of an axis; negative axes count from the end.
    std::int64_t size(int axis) const { return shape().size(axis); }
    std::int64_t numel() const { return shape().numel(); }
    DType dtype() const;

    /// Pointer to the first element. Throws Error when T is not the tensor's dtype.
    template <class T>
    T* data();
    template <class T>
    const T* data() const;
    /// The elements in row-major order.
    template <class T>
    std::span<const T> values() const {
        return {data<T>(), static_cast<std::size_t>(numel())};
    }
    /// The raw bytes, numel() * size_of(dtype()) of them.
    std::byte* bytes();
    const std::byte* bytes() const;

    /// The only element, as a double. Throws Error when there is not exactly one.
    double item() const;
    /// One element, as a double.
    double at(std::initializer_list<std::int64_t> index) const;

    /// The same values in storage of its own, outside the graph.
    Tensor clone() const;
    /// The same storage, outside the graph.
    Tensor detach() const;
    /// Converted copy, outside the graph (a plain clone when the dtype is the same).
    Tensor to(DType dtype) const;

    /// Overwrite the values in place; shape and dtype must match. Not recorded: tensors saved for a backward pass that
    /// is still to come must not be overwritten.
    void copy_(const Tensor& source);
    void fill_(double value);

    // --- differentiation ---

    /// Does a gradient flow to (leaf) or through (result of an op) this tensor?
    bool requires_grad() const;
    /// Only a leaf of floating dtype can be asked to collect a gradient; anything else throws Error.
    Tensor& set_requires_grad(bool value = true);
    bool is_leaf() const;
    /// The gradient that backward() has summed into this leaf; undefined before the first.
    const Tensor& grad() const;
    /// Sets or (undefined) drops the gradient. Shape and dtype must match.
    void set_grad(Tensor gradient);
    /// Fills the gradient with zeros where there is one; its storage stays.
    void zero_grad();
    /// Called with the whole gradient during backward, in the order of registration; each sees what the one before
    /// returned. Returns a number for remove_hook. Throws Error when no gradient flows here.
    std::uint64_t register_hook(GradientHook hook);
    void remove_hook(std::uint64_t id);

    /// The identity of the storage and graph place, for maps and comparisons.
    const TensorImpl* id() const { return impl_.get(); }

private:
    friend struct GraphAccess;
    explicit Tensor(std::shared_ptr<TensorImpl> impl) : impl_(std::move(impl)) {}
    std::shared_ptr<TensorImpl> impl_;
};

}  // namespace headscope
