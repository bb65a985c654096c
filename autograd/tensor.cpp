#include "autograd/tensor.h"

#include <atomic>
#include <cstring>

#include "autograd/allocator.h"
#include "autograd/tensor_impl.h"

namespace headscope {
namespace {

/// Calls body(T{}) with the scalar type of `dtype`.
template <class Body>
decltype(auto) dispatch(DType dtype, Body&& body) {
    switch (dtype) {
        case DType::f32: return body(float{});
        case DType::f64: return body(double{});
        case DType::i64: return body(std::int64_t{});
        case DType::boolean: break;
    }
    return body(std::uint8_t{});
}

std::uint64_t next_hook_id() {
    static std::atomic<std::uint64_t> id = 0;  // one count for all threads: they may put hooks on the same tensor
    return ++id;
}

/// The hooks of a leaf, or of the node that made the tensor.
std::vector<Hook>& hooks_of(TensorImpl& impl) {
    return impl.node ? impl.node->outputs[static_cast<std::size_t>(impl.output)].hooks : impl.hooks;
}

}  // namespace

Storage::Storage(std::size_t bytes) : bytes_(bytes), data_(static_cast<std::byte*>(allocator::allocate(bytes))) {}
Storage::~Storage() { allocator::release(data_, bytes_); }

TensorImpl& checked_impl(const Tensor& tensor, const char* what) {
    const auto& impl = GraphAccess::impl(tensor);
    if (!impl) throw Error(std::string(what) + ": the tensor is undefined");
    return *impl;
}

Tensor GraphAccess::view(const Tensor& tensor, const Shape& shape) {
    auto impl = std::make_shared<TensorImpl>();
    impl->shape = shape;
    impl->dtype = tensor.dtype();
    impl->storage = tensor.impl_->storage;
    return Tensor(std::move(impl));
}

void GraphAccess::replace_values(Tensor& leaf, const Tensor& values) {
    TensorImpl& impl = checked_impl(leaf, "replace_values");
    impl.shape = values.shape();
    impl.dtype = values.dtype();
    impl.storage = values.impl_->storage;
    impl.grad = {};
    impl.accumulator.reset();  // an old graph keeps its own view of the leaf's type
}

Tensor Tensor::empty(const Shape& shape, DType dtype) {
    auto impl = std::make_shared<TensorImpl>();
    impl->shape = shape;
    impl->dtype = dtype;
    impl->storage = std::make_shared<Storage>(static_cast<std::size_t>(shape.numel()) * size_of(dtype));
    return Tensor(std::move(impl));
}

Tensor Tensor::zeros(const Shape& shape, DType dtype) {
    Tensor result = empty(shape, dtype);
    std::memset(result.bytes(), 0, static_cast<std::size_t>(shape.numel()) * size_of(dtype));
    return result;
}

Tensor Tensor::full(const Shape& shape, double value, DType dtype) {
    Tensor result = empty(shape, dtype);
    result.fill_(value);
    return result;
}

Tensor Tensor::without_storage(const Shape& shape, DType dtype) {
    auto impl = std::make_shared<TensorImpl>();
    impl->shape = shape;
    impl->dtype = dtype;
    return Tensor(std::move(impl));
}

Tensor Tensor::from(const Shape& shape, std::initializer_list<double> values, DType dtype) {
    return from<double>(shape, std::span<const double>(values.begin(), values.size())).to(dtype);
}

template <class T>
Tensor Tensor::from(const Shape& shape, std::span<const T> values) {
    if (static_cast<std::int64_t>(values.size()) != shape.numel())
        throw Error("from: " + std::to_string(values.size()) + " values do not fill the shape " + shape.str());
    Tensor result = empty(shape, dtype_of<T>());
    if (!values.empty()) std::memcpy(result.bytes(), values.data(), values.size_bytes());
    return result;
}
template Tensor Tensor::from(const Shape&, std::span<const float>);
template Tensor Tensor::from(const Shape&, std::span<const double>);
template Tensor Tensor::from(const Shape&, std::span<const std::int64_t>);
template Tensor Tensor::from(const Shape&, std::span<const std::uint8_t>);

namespace {

std::byte* memory_of(TensorImpl& impl) {
    if (!impl.storage) throw Error("tensor: " + impl.shape.str() + " has no storage; it was made to tell its shape");
    return impl.storage->data();
}

}  // namespace

bool Tensor::has_storage() const { return checked_impl(*this, "has_storage").storage != nullptr; }

const Shape& Tensor::shape() const { return checked_impl(*this, "shape").shape; }
DType Tensor::dtype() const { return checked_impl(*this, "dtype").dtype; }
std::byte* Tensor::bytes() { return memory_of(checked_impl(*this, "bytes")); }
const std::byte* Tensor::bytes() const { return memory_of(checked_impl(*this, "bytes")); }

template <class T>
T* Tensor::data() {
    TensorImpl& impl = checked_impl(*this, "data");
    if (impl.dtype != dtype_of<T>())
        throw Error("data: asked for " + std::string(name_of(dtype_of<T>())) + ", but the tensor " + impl.shape.str() +
                    " holds " + std::string(name_of(impl.dtype)));
    return reinterpret_cast<T*>(memory_of(impl));
}
template <class T>
const T* Tensor::data() const {
    return const_cast<Tensor*>(this)->data<T>();
}
template float* Tensor::data<float>();
template double* Tensor::data<double>();
template std::int64_t* Tensor::data<std::int64_t>();
template std::uint8_t* Tensor::data<std::uint8_t>();
template const float* Tensor::data<float>() const;
template const double* Tensor::data<double>() const;
template const std::int64_t* Tensor::data<std::int64_t>() const;
template const std::uint8_t* Tensor::data<std::uint8_t>() const;

double Tensor::item() const {
    if (numel() != 1) throw Error("item: needs exactly one element; the tensor is " + shape().str());
    return dispatch(dtype(), [&](auto zero) { return static_cast<double>(*data<decltype(zero)>()); });
}

double Tensor::at(std::initializer_list<std::int64_t> index) const {
    const Shape& sizes = shape();
    bool fits = static_cast<int>(index.size()) == sizes.rank();
    std::int64_t place = 0;
    int axis = 0;
    for (const std::int64_t i : index) {
        if (!fits || i < 0 || i >= sizes[axis]) {
            fits = false;
            break;
        }
        place = place * sizes[axis++] + i;
    }
    if (!fits) throw Error("at: the index does not fit; the tensor is " + sizes.str());
    return dispatch(dtype(), [&](auto zero) { return static_cast<double>(data<decltype(zero)>()[place]); });
}

Tensor Tensor::clone() const {
    Tensor result = empty(shape(), dtype());
    result.copy_(*this);
    return result;
}

Tensor Tensor::detach() const { return GraphAccess::view(*this, shape()); }

Tensor Tensor::to(DType dtype) const {
    if (dtype == this->dtype()) return clone();
    Tensor result = empty(shape(), dtype);
    const std::int64_t count = numel();
    dispatch(this->dtype(), [&](auto from_zero) {
        const auto* source = data<decltype(from_zero)>();
        dispatch(dtype, [&](auto to_zero) {
            using To = decltype(to_zero);
            To* target = result.data<To>();
            for (std::int64_t i = 0; i < count; ++i) {
                if constexpr (std::is_same_v<To, std::uint8_t>) target[i] = source[i] != decltype(from_zero){};
                else target[i] = static_cast<To>(source[i]);
            }
        });
    });
    return result;
}

void Tensor::copy_(const Tensor& source) {
    if (!(shape() == source.shape()) || dtype() != source.dtype())
        throw Error("copy_: the target is " + std::string(name_of(dtype())) + " " + shape().str() + ", the source " +
                    std::string(name_of(source.dtype())) + " " + source.shape().str());
    if (numel() > 0) std::memmove(bytes(), source.bytes(), static_cast<std::size_t>(numel()) * size_of(dtype()));
}

void Tensor::fill_(double value) {
    const std::int64_t count = numel();
    dispatch(dtype(), [&](auto zero) {
        using T = decltype(zero);
        T* target = data<T>();
        const T converted = std::is_same_v<T, std::uint8_t> ? static_cast<T>(value != 0) : static_cast<T>(value);
        for (std::int64_t i = 0; i < count; ++i) target[i] = converted;
    });
}

bool Tensor::requires_grad() const { return impl_ && (impl_->requires_grad || impl_->node); }
bool Tensor::is_leaf() const { return !checked_impl(*this, "is_leaf").node; }

Tensor& Tensor::set_requires_grad(bool value) {
    TensorImpl& impl = checked_impl(*this, "set_requires_grad");
    if (impl.node)
        throw Error("set_requires_grad: the tensor is the result of `" + std::string(impl.node->name) +
                    "`; only a leaf can be asked, detach() it first");
    if (value && !is_floating(impl.dtype))
        throw Error("set_requires_grad: " + std::string(name_of(impl.dtype)) + " values have no gradient");
    impl.requires_grad = value;
    return *this;
}

const Tensor& Tensor::grad() const { return checked_impl(*this, "grad").grad; }

void Tensor::set_grad(Tensor gradient) {
    TensorImpl& impl = checked_impl(*this, "set_grad");
    if (gradient.defined() && (!(gradient.shape() == impl.shape) || gradient.dtype() != impl.dtype))
        throw Error("set_grad: the tensor is " + std::string(name_of(impl.dtype)) + " " + impl.shape.str() +
                    ", the gradient " + std::string(name_of(gradient.dtype())) + " " + gradient.shape().str());
    impl.grad = gradient.defined() ? gradient.detach() : Tensor{};
}

void Tensor::zero_grad() {
    Tensor gradient = grad();
    if (gradient.defined())
        std::memset(gradient.bytes(), 0, static_cast<std::size_t>(gradient.numel()) * size_of(gradient.dtype()));
}

std::uint64_t Tensor::register_hook(GradientHook hook) {
    TensorImpl& impl = checked_impl(*this, "register_hook");
    if (!requires_grad())
        throw Error("register_hook: no gradient flows to this tensor; call set_requires_grad() first");
    const std::uint64_t id = next_hook_id();
    hooks_of(impl).push_back({id, std::move(hook)});
    return id;
}

void Tensor::remove_hook(std::uint64_t id) {
    std::erase_if(hooks_of(checked_impl(*this, "remove_hook")), [&](const Hook& hook) { return hook.id == id; });
}

}  // namespace headscope
