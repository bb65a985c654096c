// What model.position may be: how a model knows where a token stands. `position = "learned"` is short for a table
// [model.position] with only `type`; one with keys of its own takes them there. The built-in ones are in
// nn/transformer.cpp and autograd/ops; one file each in experiments/positions/ names them.
//
// Adding one: write positions/<name>.cpp with an nn::PositionScheme (nn/position.h) and PositionSettings whose
// configure() sets options.position to PositionEncoding::custom and options.custom_position, end it with
//   const RegisterPosition registered("<name>", "what it is in one line", [] { return std::make_unique<MySettings>();
//   });
// and a test; the build finds both. Estimates of memory count its parameters and nothing else of it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "experiments/config/fields.h"
#include "experiments/config/model_sizes.h"
#include "nn/transformer.h"

namespace headscope {

/// The keys of [model.position] for one type, but `type`.
class PositionSettings {
public:
    virtual ~PositionSettings() = default;
    virtual void fields(Fields&) {}
    /// What is wrong between keys (each in range already): the rest of a sentence that begins with the key. The key
    /// "type" stands for the position as a whole.
    virtual std::vector<KeyProblem> check(const ModelSizes&) const { return {}; }
    /// Chooses the positions; the sizes in `options`, max_len too, are settled.
    virtual void configure(nn::TransformerOptions& options) const = 0;
};

struct PositionType {
    std::string name;
    std::string doc;
    std::function<std::unique_ptr<PositionSettings>()> settings;
};

/// All registered types, sorted by name.
const std::vector<PositionType>& position_types();
/// Null when there is none of that name.
const PositionType* find_position_type(const std::string& name);

struct RegisterPosition {
    RegisterPosition(std::string name, std::string doc, std::function<std::unique_ptr<PositionSettings>()> settings);
};

}  // namespace headscope
