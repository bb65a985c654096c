// What one forward pass (and, when asked, the backward pass after it) left in every layer, head by head.
//
// The pass is the one code path of training, in evaluation mode, with guests at the model's points (nn/point.h); others
// that stay there, gates and edits, have their effect. Values of heads are copied out to [B, H, T, .] when first asked
// for, from whatever thread, so ask while the model's weights are those of the pass.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "experiments/probes/probe.h"

namespace headscope::experiments {

/// One layer. B sequences, H heads, T positions, d_k = d_v the head's width, d the model's. All in the model's dtype.
class LayerCapture {
public:
    const Tensor& q() const;         ///< [B, H, T, d_k], after rotation
    const Tensor& k() const;         ///< [B, H, T, d_k], after rotation
    const Tensor& v() const;         ///< [B, H, T, d_v]
    const Tensor& scores() const;    ///< [B, H, T, T]: q k^T / sqrt(d_k), before alibi and mask, hidden keys included
    const Tensor& weights() const;   ///< [B, H, T, T], as the attention made them: rows may not sum to 1
    const Tensor& head_out() const;  ///< [B, H, T, d_v], what W_o is given: after gates and other edits
    const Tensor& head_result() const;  ///< [B, H, T, d]: head_out W_o^h, each head's own part, without bias

    // Gradients of L, defined below. Throw Error unless the capture was made with gradients.
    const Tensor& grad_q() const;
    const Tensor& grad_k() const;
    const Tensor& grad_v() const;
    const Tensor& grad_scores() const;   ///< softmax attention only (else Error): of the scores as above
    const Tensor& grad_weights() const;  ///< as if the weights were free; from weights v, before gates and edits
    const Tensor& grad_head_out() const;
    const Tensor& grad_head_result() const;  ///< the same for all heads: they are summed

private:
    friend class Capture;
    struct State;
    std::shared_ptr<State> state_;
};

class Capture {
public:
    /// Runs the model on the batch. `gradients`: of L = sum over the sequences b of L_b, where L_b is the mean
    /// cross-entropy over b's own scored targets (0 where there is none): so the gradient at sequence b's activations
    /// is that of L_b. The parameters' own gradients are left as they were, and so is the model's mode.
    Capture(nn::Transformer& model, const Batch& batch, SequenceSource source, bool gradients);

    const Batch& batch() const { return batch_; }
    SequenceSource source() const { return source_; }
    nn::Transformer& model() const { return model_; }
    const Tensor& logits() const { return logits_; }  ///< [B, T, V]
    const LayerCapture& layer(std::int64_t index) const { return layers_[static_cast<std::size_t>(index)]; }
    std::int64_t num_layers() const { return static_cast<std::int64_t>(layers_.size()); }

private:
    nn::Transformer& model_;
    Batch batch_;
    SequenceSource source_;
    Tensor logits_;
    std::vector<LayerCapture> layers_;
};

}  // namespace headscope::experiments
