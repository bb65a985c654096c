// What stands behind a Tensor handle. For sources, never for public headers.
#pragma once

#include <cstddef>
#include <memory>
#include <memory_resource>
#include <utility>
#include <vector>

#include "autograd/graph.h"
#include "autograd/tensor.h"

namespace headscope {

/// A block of memory, given back to the caching allocator by its last owner.
class Storage {
public:
    explicit Storage(std::size_t bytes);
    ~Storage();
    Storage(const Storage&) = delete;
    Storage& operator=(const Storage&) = delete;
    std::byte* data() { return data_; }

private:
    std::size_t bytes_;
    std::byte* data_;
};

struct Hook {
    std::uint64_t id;
    GradientHook call;
};

struct TensorImpl {
    Shape shape;
    DType dtype = DType::f32;
    std::shared_ptr<Storage> storage;

    bool requires_grad = false;         // asked of a leaf
    Tensor grad;                        // of a leaf
    std::vector<Hook> hooks;            // of a leaf; those of a result live in its node
    std::shared_ptr<Node> accumulator;  // of a leaf, once a graph has used it
    std::shared_ptr<Node> node;         // of a result: the node that made it ...
    int output = 0;                     // ... and which of its outputs it is
};

/// One step of the computation: how to carry gradients from its outputs to its inputs. A leaf that collects a gradient
/// is represented by an accumulator node, which has no inputs and adds what arrives to the leaf.
class Node {
public:
    struct Input {
        std::shared_ptr<Node> node;        // null when the input needs no gradient
        std::shared_ptr<TensorImpl> leaf;  // of an accumulator: the graph keeps it, which keeps the accumulator
        int output = 0;                    // which output of `node`
        Shape shape;
        DType dtype = DType::f32;
    };
    struct Output {
        Shape shape;
        DType dtype = DType::f32;
        std::vector<Hook> hooks;
    };

    /// The lists of a node lie side by side in one block of memory.
    Node(const char* node_name, std::uint64_t node_number, std::size_t input_count, std::size_t output_count,
         std::size_t saved_count);
    ~Node();
    Node(const Node&) = delete;
    Node& operator=(const Node&) = delete;

    const char* name;
    std::uint64_t number;  // order of making; accumulators have the highest, so that they run as soon as they can
    std::pmr::monotonic_buffer_resource memory;  // of the lists
    std::pmr::vector<Input> inputs;
    std::pmr::vector<Output> outputs;
    std::pmr::vector<Tensor> saved;
    bool freed = false;
    BackwardFunction backward;
    TensorImpl* leaf = nullptr;  // of an accumulator, which it owns; the edges of a graph keep both

    // Scratch of the walk numbered `walk`.
    std::uint64_t walk = 0;
    std::int64_t users_left = 0;
    std::pmr::vector<Tensor> gradients;  // per output
};

struct GraphAccess {
    static const std::shared_ptr<TensorImpl>& impl(const Tensor& tensor) { return tensor.impl_; }
    static Tensor wrap(std::shared_ptr<TensorImpl> impl) { return Tensor(std::move(impl)); }
    /// The same storage under another shape with as many elements; outside the graph.
    static Tensor view(const Tensor& tensor, const Shape& shape);
    /// Gives a leaf the shape, dtype and storage of `values`, so that all its handles see them. Its gradient is
    /// dropped.
    static void replace_values(Tensor& leaf, const Tensor& values);
};

/// The impl, or an Error naming `what` when the tensor is undefined.
TensorImpl& checked_impl(const Tensor& tensor, const char* what);

}  // namespace headscope
