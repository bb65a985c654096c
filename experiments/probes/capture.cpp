#include "experiments/probes/capture.h"

#include <algorithm>
#include <cmath>
#include <mutex>

#include "autograd/graph.h"
#include "autograd/ops.h"
#include "autograd/parallel.h"
#include "experiments/probes/extra_pass.h"

namespace headscope::experiments {

namespace {

/// dL/dlogits for L = sum over b of the mean cross-entropy of sequence b: (softmax - one-hot) / its number of targets.
Tensor loss_gradient(const Tensor& logits, const Tensor& targets) {
    const NoGrad no_grad;
    Tensor gradient = softmax(logits);  // [B, T, V]
    const std::int64_t length = logits.size(1), vocab = logits.size(2);
    const std::int64_t* target = targets.data<std::int64_t>();
    dispatch_float(logits.dtype(), "Capture", [&](auto zero) {
        using T = decltype(zero);
        for (std::int64_t sequence = 0; sequence < logits.size(0); ++sequence) {
            const std::int64_t* own = target + sequence * length;
            const auto scored = std::count_if(own, own + length, [](std::int64_t t) { return t >= 0; });
            for (std::int64_t t = 0; t < length; ++t) {
                T* const row = gradient.data<T>() + (sequence * length + t) * vocab;
                if (own[t] < 0) {
                    std::fill_n(row, vocab, T{});
                    continue;
                }
                row[own[t]] -= 1;
                for (std::int64_t v = 0; v < vocab; ++v) row[v] /= static_cast<T>(scored);
            }
        }
    });
    return gradient;
}

/// dS = P * (dP - rowsum(P * dP)): the way back through a softmax.
Tensor through_softmax(const Tensor& weights, const Tensor& grad_weights) {
    Tensor result = Tensor::empty(weights.shape(), weights.dtype());
    const std::int64_t keys = weights.size(3), rows = weights.numel() / keys;
    dispatch_float(weights.dtype(), "Capture", [&](auto zero) {
        using T = decltype(zero);
        parallel_for(rows, 1 + (1 << 14) / keys, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t row = begin; row < end; ++row) {
                const T* const p = weights.data<T>() + row * keys;
                const T* const d = grad_weights.data<T>() + row * keys;
                T* const out = result.data<T>() + row * keys;
                double mean = 0;
                for (std::int64_t j = 0; j < keys; ++j) mean += static_cast<double>(p[j]) * static_cast<double>(d[j]);
                for (std::int64_t j = 0; j < keys; ++j) out[j] = p[j] * (d[j] - static_cast<T>(mean));
            }
        });
    });
    return result;
}

}  // namespace

struct LayerCapture::State {
    /// A tensor that is computed when first asked for. Threads may ask at once.
    class Lazy {
    public:
        template <class Make>
        const Tensor& get(Make&& make) {
            std::call_once(made_, [&] {
                const NoGrad no_grad;
                value_ = make();
            });
            return value_;
        }

    private:
        std::once_flag made_;
        Tensor value_;
    };

    /// What the points of a layer show.
    struct Values {
        Tensor q, k, v;
        Tensor weights;       // no gradient of its own: see grad_weights()
        Tensor own_head_out;  // before other edits, gates among them
        Tensor head_out;      // after them: what W_o is given
        Tensor middle;        // the residual stream after the attention
    };

    const nn::MultiHeadAttention& attention;
    bool with_gradients;
    Values values = {};  // heads side by side [B, T, H*d]
    Values grads = {};   // the same; undefined where nothing flows
    Lazy q = {}, k = {}, v = {}, scores = {}, head_out = {}, head_result = {};
    Lazy grad_q = {}, grad_k = {}, grad_v = {}, grad_scores = {}, grad_weights = {}, grad_head_out = {},
         grad_head_result = {};

    Tensor split(const Tensor& x) const { return split_heads(x, attention.num_heads()); }
    /// A gradient, or zeros of its tensor's shape.
    Tensor split_gradient(const Tensor& gradient, const Tensor& of) const {
        return split(gradient.defined() ? gradient : Tensor::zeros(of.shape(), of.dtype()));
    }
    void require_gradients() const {
        if (!with_gradients)
            throw Error(
                "LayerCapture: this capture was made without gradients; a CaptureProbe that reads them says so "
                "in needs_activation_gradients()");
    }
    /// W_o [d, H*d_v] -> [H, d, d_v]
    Tensor output_blocks() const {
        const Tensor& W_o = attention.W_o.weight;
        return permute(reshape(W_o, {W_o.size(0), attention.num_heads(), -1}), {1, 0, 2});
    }
};

const Tensor& LayerCapture::q() const {
    return state_->q.get([&] { return state_->split(state_->values.q); });
}

const Tensor& LayerCapture::k() const {
    return state_->k.get([&] { return state_->split(state_->values.k); });
}

const Tensor& LayerCapture::v() const {
    return state_->v.get([&] { return state_->split(state_->values.v); });
}

const Tensor& LayerCapture::weights() const { return state_->values.weights; }

const Tensor& LayerCapture::head_out() const {
    return state_->head_out.get([&] { return state_->split(state_->values.head_out); });
}

const Tensor& LayerCapture::scores() const {
    return state_->scores.get([&] {
        const double factor = 1 / std::sqrt(static_cast<double>(state_->attention.head_dim()));
        return scale(matmul(q(), k(), false, true), factor);
    });
}

const Tensor& LayerCapture::head_result() const {
    // [B, H, T, d_v] x ([H, d, d_v])^T
    return state_->head_result.get([&] { return matmul(head_out(), state_->output_blocks(), false, true); });
}

const Tensor& LayerCapture::grad_q() const {
    state_->require_gradients();
    return state_->grad_q.get([&] { return state_->split_gradient(state_->grads.q, state_->values.q); });
}

const Tensor& LayerCapture::grad_k() const {
    state_->require_gradients();
    return state_->grad_k.get([&] { return state_->split_gradient(state_->grads.k, state_->values.k); });
}

const Tensor& LayerCapture::grad_v() const {
    state_->require_gradients();
    return state_->grad_v.get([&] { return state_->split_gradient(state_->grads.v, state_->values.v); });
}

const Tensor& LayerCapture::grad_head_out() const {
    state_->require_gradients();
    return state_->grad_head_out.get(
        [&] { return state_->split_gradient(state_->grads.head_out, state_->values.head_out); });
}

const Tensor& LayerCapture::grad_head_result() const {
    state_->require_gradients();
    return state_->grad_head_result.get([&] {
        const Tensor& output = state_->values.middle;  // [B, T, d]
        const std::int64_t B = output.size(0), T = output.size(1), d = output.size(2);
        const Tensor gradient =
            state_->grads.middle.defined() ? state_->grads.middle : Tensor::zeros(output.shape(), output.dtype());
        return broadcast_to(reshape(gradient, {B, 1, T, d}), {B, state_->attention.num_heads(), T, d});
    });
}

const Tensor& LayerCapture::grad_weights() const {
    state_->require_gradients();
    return state_->grad_weights.get([&] {
        // O = P v     dP = dO v^T
        const Tensor own = state_->split_gradient(state_->grads.own_head_out, state_->values.own_head_out);
        return matmul(own, v(), false, true);
    });
}

const Tensor& LayerCapture::grad_scores() const {
    state_->require_gradients();
    const nn::AttentionModuleOptions& options = state_->attention.options();
    if (options.kind != AttentionKind::softmax || options.custom || options.weights)
        throw Error("LayerCapture::grad_scores: only softmax attention has scores to differentiate by; this one is " +
                    std::string(options.custom || options.weights       ? "custom"
                                : options.kind == AttentionKind::linear ? "linear"
                                                                        : "uniform"));
    return state_->grad_scores.get([&] { return through_softmax(weights(), grad_weights()); });
}

Capture::Capture(nn::Transformer& model, const Batch& batch, SequenceSource source, bool gradients)
    : model_(model), batch_(batch), source_(source), layers_(model.blocks.size()) {
    std::vector<nn::Guest> guests;
    /// Keeps the value at a point, and its gradient where there will be one.
    const auto keep = [&](nn::Point& point, Tensor& value, Tensor& gradient, bool before_others = false) {
        if (!gradients) {
            guests.push_back(point.look([&value](const Tensor& seen) { value = seen; }));
            return;
        }
        const auto hook = [&value, &gradient](const Tensor& passing) {
            value = passing.detach();
            Tensor hooked = passing;
            hooked.register_hook([&gradient](const Tensor& arrived) {
                gradient = arrived;
                return Tensor();
            });
            return hooked;
        };
        guests.push_back(point.edit(hook, {.first = before_others}));
    };
    for (std::size_t l = 0; l < layers_.size(); ++l) {
        nn::TransformerBlock& block = *model.blocks[l];
        layers_[l].state_ = std::shared_ptr<LayerCapture::State>(
            new LayerCapture::State{.attention = block.attn, .with_gradients = gradients});
        LayerCapture::State::Values &values = layers_[l].state_->values, &grads = layers_[l].state_->grads;
        keep(block.attn.q, values.q, grads.q);
        keep(block.attn.k, values.k, grads.k);
        keep(block.attn.v, values.v, grads.v);
        guests.push_back(block.attn.weights.look([&values](const Tensor& seen) { values.weights = seen; }));
        if (gradients) keep(block.attn.heads, values.own_head_out, grads.own_head_out, true);
        keep(block.attn.heads, values.head_out, grads.head_out);
        keep(block.middle, values.middle, grads.middle);
    }
    with_own_gradients(model, [&] {
        model.eval();
        if (!gradients) {
            const NoGrad no_grad;
            logits_ = model.forward(batch.inputs);
            return;
        }
        const Tensor logits = model.forward(batch.inputs);
        backward(logits, {.gradient = loss_gradient(logits, batch.targets)});
        logits_ = logits.detach();
    });
}

}  // namespace headscope::experiments
