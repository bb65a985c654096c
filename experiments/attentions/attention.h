// What model.attention may be: how queries and keys become weights. `attention = "softmax"` is short for a table
// [model.attention] with only `type`; one with keys of its own takes them there. The built-in formulas are in
// autograd/ops/attention.h; one file each in experiments/attentions/ names them.
//
// Adding one: write attentions/<name>.cpp with AttentionSettings whose configure() sets options.attention_weights
// (scores to weights) or options.custom_attention (a function like headscope::attention()); nn/multi_head_attention.h
// says what they must keep to: which keys a query may see (visible_keys()), what probes make of weights that do not sum
// to 1. End it with
//   const RegisterType<AttentionSettings> registered_<name>("<name>", "what it is in one line", [] { return
//   std::make_unique<MySettings>();
//   });
// and a test; the build finds both. Estimates of memory and arithmetic take it for the softmax.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "experiments/base/fields.h"
#include "experiments/base/model_sizes.h"
#include "experiments/base/registry.h"
#include "nn/transformer_block.h"

namespace headscope::experiments {

/// The keys of [model.attention] for one type, but `type`.
class AttentionSettings {
public:
    static constexpr KindText kind{"attention", "attentions", "how queries and keys become weights: model.attention"};
    virtual ~AttentionSettings() = default;
    virtual void fields(Fields&) {}
    /// What is wrong between keys (each in range already): the rest of a sentence that begins with the key. The key
    /// "type" stands for the attention as a whole.
    virtual std::vector<KeyProblem> check(const ModelSizes&) const { return {}; }
    /// Does it add alibi to its scores when AttentionOptions::alibi says so?
    virtual bool takes_alibi() const { return false; }
    /// Chooses the attention; the sizes in `options` are settled.
    virtual void configure(nn::BlockOptions& options) const = 0;
};

}  // namespace headscope::experiments
