#include "autograd/graph.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <queue>
#include <span>
#include <string>

#include "autograd/finite_watch.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/reduction.h"
#include "autograd/parallel.h"
#include "autograd/profile.h"
#include "autograd/tensor_impl.h"

namespace headscope {
namespace {

thread_local bool recording = true;
std::atomic<std::uint64_t> nodes_made = 0;
std::atomic<std::uint64_t> walks_made = 0;

constexpr std::uint64_t accumulator_number = std::numeric_limits<std::uint64_t>::max();

const std::shared_ptr<Node>& accumulator_of(TensorImpl& leaf) {
    if (!leaf.accumulator) {
        leaf.accumulator = std::make_shared<Node>("leaf", accumulator_number, 0, 1, 0);
        leaf.accumulator->outputs.push_back({leaf.shape, leaf.dtype, {}});
        leaf.accumulator->leaf = &leaf;
    }
    return leaf.accumulator;
}

Node::Input input_of(const Tensor& tensor) {
    if (!tensor.defined()) return {};  // an optional input that was left out
    const auto& impl = GraphAccess::impl(tensor);
    if (impl->node) return {impl->node, nullptr, impl->output, impl->shape, impl->dtype};
    if (impl->requires_grad) return {accumulator_of(*impl), impl, 0, impl->shape, impl->dtype};
    return {nullptr, nullptr, 0, impl->shape, impl->dtype};
}

using Tensors = std::span<const Tensor>;

bool any_requires_grad(Tensors inputs) {
    return std::any_of(inputs.begin(), inputs.end(), [](const Tensor& t) { return t.requires_grad(); });
}

/// target += source, same shape and dtype.
void add_in_place(Tensor& target, const Tensor& source) {
    dispatch_float(target.dtype(), "backward", [&](auto zero) {
        using T = decltype(zero);
        T* to = target.data<T>();
        const T* from = source.data<T>();
        parallel_for(target.numel(), 1 << 15, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t i = begin; i < end; ++i) to[i] += from[i];
        });
    });
}

/// Does nobody else hold this tensor or its values?
bool unshared(const Tensor& tensor) {
    const auto& impl = GraphAccess::impl(tensor);
    return impl.use_count() == 1 && impl->storage.use_count() == 1;
}

/// Adds a gradient to what has arrived. A sum of two is a fresh tensor, so later ones are added in place.
void add_to(Tensor& sum, Tensor gradient) {
    if (!sum.defined()) sum = std::move(gradient);
    else if (unshared(sum)) add_in_place(sum, gradient);
    else sum = add(sum, gradient);
}

void check_gradient(const char* what, const char* name, const Tensor& gradient, const Shape& shape, DType dtype) {
    if (gradient.shape() == shape && gradient.dtype() == dtype) return;
    throw Error("backward: the gradient that " + std::string(what) + " of `" + name + "` gave is " +
                std::string(name_of(gradient.dtype())) + " " + gradient.shape().str() + ", it must be " +
                std::string(name_of(dtype)) + " " + shape.str());
}

void make_node(const char* name, Tensors inputs, std::span<Tensor> outputs, Tensors saved,
               const BackwardFunction& backward) {
    auto node = std::make_shared<Node>(name, ++nodes_made, inputs.size(), outputs.size(), saved.size());
    for (const Tensor& input : inputs) node->inputs.push_back(input_of(input));
    for (const Tensor& tensor : saved) node->saved.push_back(tensor.defined() ? tensor.detach() : Tensor{});
    node->backward = backward;
    for (std::size_t i = 0; i < outputs.size(); ++i) {
        if (!outputs[i].defined()) {
            node->outputs.push_back({});
            continue;
        }
        TensorImpl& impl = *GraphAccess::impl(outputs[i]);
        if (impl.node || impl.requires_grad)
            throw Error("record: output " + std::to_string(i) + " of `" + name +
                        "` is already part of a graph; an op must return a fresh tensor");
        node->outputs.push_back({impl.shape, impl.dtype, {}});
        impl.node = node;
        impl.output = static_cast<int>(i);
    }
}

void record_all(const char* name, Tensors inputs, std::span<Tensor> outputs, Tensors saved,
                const BackwardFunction& backward) {
    if (!recording) return;
    if (FiniteWatch::watching()) FiniteWatch::see_output(name, inputs, outputs);
    if (any_requires_grad(inputs)) make_node(name, inputs, outputs, saved, backward);
    Profile::mark(Profile::Phase::forward, name);
}

}  // namespace

bool grad_enabled() { return recording; }
NoGrad::NoGrad() : before_(recording) { recording = false; }
NoGrad::~NoGrad() { recording = before_; }

Node::Node(const char* node_name, std::uint64_t node_number, std::size_t input_count, std::size_t output_count,
           std::size_t saved_count)
    : name(node_name),
      number(node_number),
      memory(input_count * sizeof(Input) + output_count * sizeof(Output) +
             (saved_count + output_count) * sizeof(Tensor)),
      inputs(&memory),
      outputs(&memory),
      saved(&memory),
      gradients(&memory) {
    inputs.reserve(input_count);
    outputs.reserve(output_count);
    saved.reserve(saved_count);
    gradients.reserve(output_count);
}

Node::~Node() {
    // Nodes hold the nodes of their inputs, so plain destruction of a long chain would recurse once per op. Instead the
    // inputs of every node that dies here are moved to a list first.
    std::vector<std::shared_ptr<Node>> dying;
    const auto take_inputs = [&dying](Node& node) {
        for (Input& input : node.inputs)
            if (input.node) dying.push_back(std::move(input.node));
    };
    take_inputs(*this);
    while (!dying.empty()) {
        const std::shared_ptr<Node> node = std::move(dying.back());
        dying.pop_back();
        if (node.use_count() == 1) take_inputs(*node);
    }
}

const Tensor& Backward::grad(int output) const { return node_.gradients[static_cast<std::size_t>(output)]; }
const Tensor& Backward::saved(int index) const { return node_.saved[static_cast<std::size_t>(index)]; }
const Shape& Backward::input_shape(int input) const { return node_.inputs[static_cast<std::size_t>(input)].shape; }
bool Backward::needs(int input) const { return node_.inputs[static_cast<std::size_t>(input)].node != nullptr; }
void Backward::set(int input, Tensor gradient) { input_grads_[static_cast<std::size_t>(input)] = std::move(gradient); }

bool records(std::initializer_list<Tensor> inputs) {
    return recording && any_requires_grad({inputs.begin(), inputs.size()});
}

std::vector<Tensor> record(const char* name, std::initializer_list<Tensor> inputs, std::vector<Tensor> outputs,
                           std::initializer_list<Tensor> saved, BackwardFunction backward) {
    record_all(name, {inputs.begin(), inputs.size()}, outputs, {saved.begin(), saved.size()}, backward);
    return outputs;
}

Tensor record(const char* name, std::initializer_list<Tensor> inputs, Tensor output,
              std::initializer_list<Tensor> saved, BackwardFunction backward) {
    record_all(name, {inputs.begin(), inputs.size()}, {&output, 1}, {saved.begin(), saved.size()}, backward);
    return output;
}

Tensor record(const char* name, const std::vector<Tensor>& inputs, Tensor output, BackwardFunction backward) {
    record_all(name, inputs, {&output, 1}, {}, backward);
    return output;
}

/// One walk back over a graph.
class Engine {
public:
    Engine(Node& root, int output, Tensor gradient, bool retain_graph)
        : retain_graph_(retain_graph), walk_(++walks_made) {
        visit(root);
        count_users(root);
        root.gradients[static_cast<std::size_t>(output)] = std::move(gradient);
        ready_.push(&root);
    }

    void run() {
        while (!ready_.empty()) {
            Node& node = *ready_.top();
            ready_.pop();
            call_hooks(node);
            if (node.leaf) accumulate(node);
            else run_node(node);
            node.gradients.clear();
            Profile::mark(Profile::Phase::backward, node.name);
        }
    }

private:
    struct LaterFirst {
        bool operator()(const Node* a, const Node* b) const { return a->number < b->number; }
    };

    /// Prepares a node's scratch; false when it was prepared before.
    bool visit(Node& node) {
        if (node.walk == walk_) return false;
        node.walk = walk_;
        node.users_left = 0;
        node.gradients.assign(node.outputs.size(), Tensor{});
        if (node.freed)
            throw Error("backward: the graph behind `" + std::string(node.name) +
                        "` was freed by an earlier backward; pass retain_graph = true to the earlier one");
        return true;
    }

    void count_users(Node& root) {
        std::vector<Node*> found{&root};
        while (!found.empty()) {
            Node& node = *found.back();
            found.pop_back();
            for (const Node::Input& input : node.inputs) {
                if (!input.node) continue;
                if (visit(*input.node)) found.push_back(input.node.get());
                ++input.node->users_left;
            }
        }
    }

    static void call_hooks(Node& node) {
        for (std::size_t i = 0; i < node.outputs.size(); ++i) {
            if (!node.gradients[i].defined()) continue;
            const std::vector<Hook> hooks = node.leaf ? node.leaf->hooks : node.outputs[i].hooks;
            for (const Hook& hook : hooks) {
                const Tensor replaced = hook.call(node.gradients[i]);
                if (!replaced.defined()) continue;
                check_gradient("a hook", node.name, replaced, node.outputs[i].shape, node.outputs[i].dtype);
                node.gradients[i] = replaced;
            }
        }
    }

    /// A leaf may have been given values of another type since the graph was made.
    static void check_leaf(const Node& node) {
        const TensorImpl& leaf = *node.leaf;
        const Node::Output& then = node.outputs[0];
        if (leaf.shape == then.shape && leaf.dtype == then.dtype) return;
        throw Error("backward: the graph was made when this leaf was " + std::string(name_of(then.dtype)) + " " +
                    then.shape.str() + "; it is " + std::string(name_of(leaf.dtype)) + " " + leaf.shape.str() +
                    " now; run the forward pass again");
    }

    static void accumulate(Node& node) {
        Tensor gradient = std::move(node.gradients[0]);
        if (!gradient.defined()) return;
        check_leaf(node);
        Tensor& sum = node.leaf->grad;
        if (sum.defined()) add_in_place(sum, gradient);
        else sum = unshared(gradient) ? std::move(gradient) : gradient.clone();
    }

    void run_node(Node& node) {
        input_grads_.assign(node.inputs.size(), Tensor{});
        const bool reached = std::any_of(node.gradients.begin(), node.gradients.end(),
                                         [](const Tensor& gradient) { return gradient.defined(); });
        if (reached) {
            Backward view(node, input_grads_);
            node.backward(view);
        }
        if (!retain_graph_) {
            node.freed = true;
            node.saved.clear();
        }
        node.gradients.clear();  // so that a gradient passed on unchanged has one owner fewer
        for (std::size_t i = 0; i < node.inputs.size(); ++i) {
            const Node::Input& input = node.inputs[i];
            if (!input.node) continue;
            if (input_grads_[i].defined()) {
                Tensor gradient = std::move(input_grads_[i]);
                if (!(gradient.shape() == input.shape) && broadcasts_to(input.shape, gradient.shape()))
                    gradient = sum_to(gradient, input.shape);
                check_gradient("the backward", node.name, gradient, input.shape, input.dtype);
                if (FiniteWatch::watching())
                    FiniteWatch::see_gradient(node.name, gradient,
                                              input.leaf ? GraphAccess::wrap(input.leaf) : Tensor{});
                add_to(input.node->gradients[static_cast<std::size_t>(input.output)], std::move(gradient));
            }
            if (--input.node->users_left == 0) ready_.push(input.node.get());
        }
        input_grads_.clear();  // what nobody needed must not keep a gradient shared
    }

    bool retain_graph_;
    std::uint64_t walk_;
    std::priority_queue<Node*, std::vector<Node*>, LaterFirst> ready_;
    std::vector<Tensor> input_grads_;  // of the node that runs
};

void backward(const Tensor& output, const BackwardOptions& options) {
    const TensorImpl& impl = checked_impl(output, "backward");
    if (!output.requires_grad())
        throw Error("backward: the tensor " + impl.shape.str() +
                    " does not depend on anything that requires a gradient; was it made under NoGrad?");
    Tensor gradient = options.gradient;
    if (!gradient.defined()) {
        if (output.numel() != 1)
            throw Error("backward: needs a scalar; the output is " + impl.shape.str() +
                        "; reduce it, or pass options.gradient");
        gradient = Tensor::full(impl.shape, 1, impl.dtype);
    }
    if (!(gradient.shape() == impl.shape) || gradient.dtype() != impl.dtype)
        throw Error("backward: the output is " + std::string(name_of(impl.dtype)) + " " + impl.shape.str() +
                    ", options.gradient " + std::string(name_of(gradient.dtype())) + " " + gradient.shape().str());
    const NoGrad no_grad;
    const std::shared_ptr<Node> root = impl.node ? impl.node : accumulator_of(*GraphAccess::impl(output));
    Engine(*root, impl.output, gradient.detach(), options.retain_graph).run();
}

}  // namespace headscope
