// Module: named parameters and child modules.
//
// Writing one:
//   class Gate : public Module {
//   public:
//       explicit Gate(std::int64_t width) : weight_(register_parameter("weight", {width})) { weight_.fill_(1); }
//       Tensor forward(const Tensor& x) { return x * weight_; }
//   private:
//       Tensor weight_;
//   };
// Child modules are plain members, registered in the constructor; names join with dots: "blocks.0.attn.W_q.weight".
// A module stays where it was made: it cannot be copied or moved.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "autograd/tensor.h"

namespace headscope::nn {

/// Values by dotted name.
using StateDict = std::map<std::string, Tensor>;

class Module {
public:
    Module() = default;
    virtual ~Module() = default;
    Module(const Module&) = delete;
    Module& operator=(const Module&) = delete;

    /// All parameters below this module with their dotted paths, in the order of registration (own before children's).
    std::vector<NamedTensor> named_parameters() const;
    /// This module (as "") and all below it, in the order of registration.
    std::vector<std::pair<std::string, Module*>> named_modules();

    /// Training mode (the default) or evaluation mode, for this module and all below: dropout only acts in training.
    void train(bool on = true);
    void eval() { train(false); }
    bool is_training() const { return training_; }

    /// Fills the gradients with zeros; their storage stays.
    void zero_grad();
    /// Turns every parameter into `dtype` (f32 or f64). Gradients are dropped. The handles stay valid.
    void to(DType dtype);

    /// Copies of all parameters.
    StateDict state_dict() const;
    /// Copies values in. Strict: missing, unexpected and mis-shaped names (another dtype counts as another shape) are
    /// reported together in one Error, and nothing is changed then.
    void load_state_dict(const StateDict& state);

protected:
    /// A trainable f32 tensor, zero until initialised. Throws Error when the name is taken or has a dot.
    Tensor register_parameter(std::string name, const Shape& shape);
    /// `module` must live as long as this one (a member). The name may have dots ("blocks.0").
    /// Throws Error when it is taken.
    void register_module(std::string name, Module& module);

private:
    void check_name(const std::string& name) const;

    std::vector<NamedTensor> parameters_;
    std::vector<std::pair<std::string, Module*>> children_;
    bool training_ = true;
};

}  // namespace headscope::nn
