// Element types. f32 trains, f64 checks, i64 holds tokens, boolean holds masks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

#include "autograd/error.h"

namespace headscope {

enum class DType : std::uint8_t { f32, f64, i64, boolean };

/// Bytes per element.
constexpr std::size_t size_of(DType dtype) {
    switch (dtype) {
        case DType::f32: return 4;
        case DType::f64: return 8;
        case DType::i64: return 8;
        case DType::boolean: return 1;
    }
    return 0;
}

/// "float32", "float64", "int64" or "bool": the spelling of NumPy, and of `train.dtype` in a config.
constexpr std::string_view name_of(DType dtype) {
    switch (dtype) {
        case DType::f32: return "float32";
        case DType::f64: return "float64";
        case DType::i64: return "int64";
        case DType::boolean: return "bool";
    }
    return "?";
}

constexpr bool is_floating(DType dtype) { return dtype == DType::f32 || dtype == DType::f64; }

/// The DType of a C++ scalar; booleans are stored as std::uint8_t, 0 or 1.
template <class T>
constexpr DType dtype_of() {
    if constexpr (std::is_same_v<T, float>) return DType::f32;
    else if constexpr (std::is_same_v<T, double>) return DType::f64;
    else if constexpr (std::is_same_v<T, std::int64_t>) return DType::i64;
    else {
        static_assert(std::is_same_v<T, std::uint8_t>, "a Tensor holds float, double, std::int64_t or std::uint8_t");
        return DType::boolean;
    }
}

/// Calls `body(T{})` with T = float or double. Kernels are templates on the scalar, and this is their only doorway,
/// so that a gradient check in f64 runs the very code that trains in f32.
/// Throws Error naming `op` for any other dtype.
template <class Body>
decltype(auto) dispatch_float(DType dtype, std::string_view op, Body&& body) {
    if (dtype == DType::f32) return body(float{});
    if (dtype == DType::f64) return body(double{});
    throw Error(std::string(op) + ": needs float32 or float64 values, not " + std::string(name_of(dtype)));
}

}  // namespace headscope
