// What model.position may be: how a model knows where a token stands. `position = "learned"` is short for a table
// [model.position] with only `type`; one with keys of its own takes them there. The built-in ones are in
// nn/transformer.cpp and autograd/ops; one file each in experiments/positions/ names them.
//
// Adding one: write positions/<name>.cpp with an nn::PositionScheme (nn/position.h) and PositionSettings whose
// configure() sets options.position to PositionEncoding::custom and options.custom_position, end it with
//   const RegisterType<PositionSettings> registered_<name>("<name>", "what it is in one line", [] { return
//   std::make_unique<MySettings>();
//   });
// and a test; the build finds both. Estimates of memory count its parameters and nothing else of it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "experiments/base/fields.h"
#include "experiments/base/model_sizes.h"
#include "experiments/base/registry.h"
#include "nn/transformer.h"

namespace headscope::experiments {

/// The keys of [model.position] for one type, but `type`.
class PositionSettings {
public:
    static constexpr KindText kind{"position", "positions", "how a model knows where a token stands: model.position"};
    virtual ~PositionSettings() = default;
    virtual void fields(Fields&) {}
    /// What is wrong between keys (each in range already): the rest of a sentence that begins with the key. The key
    /// "type" stands for the position as a whole.
    virtual std::vector<KeyProblem> check(const ModelSizes&) const { return {}; }
    /// Chooses the positions; the sizes in `options`, max_len too, are settled.
    virtual void configure(nn::TransformerOptions& options) const = 0;
};

}  // namespace headscope::experiments
