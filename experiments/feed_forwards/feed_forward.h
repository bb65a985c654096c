// What model.ffn may be: the feed-forward half of a block. The modules are nn/<name>.h; one file each in
// experiments/feed_forwards/ names them.
//
// Adding one: write an nn::FeedForward and feed_forwards/<name>.cpp with FeedForwardSettings whose build() makes it,
// end that with
//   const RegisterType<FeedForwardSettings> registered_<name>("<name>", "what it is in one line",
//                                                      [] { return std::make_unique<MySettings>(); });
// and a test; the build finds all of them.
#pragma once

#include <memory>
#include <vector>

#include "experiments/base/fields.h"
#include "experiments/base/model_sizes.h"
#include "experiments/base/registry.h"
#include "nn/feed_forward.h"

namespace headscope::experiments {

/// The keys of [model.ffn] for one type, but `type`.
class FeedForwardSettings {
public:
    static constexpr KindText kind{"feed_forward", "feed_forwards", "the feed-forward half of a block: model.ffn"};
    virtual ~FeedForwardSettings() = default;
    virtual void fields(Fields&) {}
    /// What is wrong between keys (each in range already): the rest of a sentence that begins with the key. The key
    /// "type" stands for the feed-forward as a whole.
    virtual std::vector<KeyProblem> check(const ModelSizes&) const { return {}; }
    virtual std::unique_ptr<nn::FeedForward> build(const nn::FeedForwardOptions& options) const = 0;
};

}  // namespace headscope::experiments
