// Module: named parameters and child modules.
//
// Writing one:
//   class Gate : public Module {
//   public:
//       explicit Gate(std::int64_t width) : weight_(register_parameter("weight", {width}, ParameterRole::scale)) {
//           weight_.fill_(1);
//       }
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
#include <unordered_set>
#include <utility>
#include <vector>

#include "autograd/tensor.h"
#include "nn/parameter.h"
#include "nn/point.h"

namespace headscope::nn {

/// Values by dotted name.
using StateDict = std::map<std::string, Tensor>;

class Initializer;  // init.h

class Module {
public:
    Module() = default;
    virtual ~Module() = default;
    Module(const Module&) = delete;
    Module& operator=(const Module&) = delete;

    /// All parameters below this module with their dotted paths, in the order of registration (own before children's).
    std::vector<Parameter> named_parameters() const;
    /// This module (as "") and all below it, in the order of registration.
    std::vector<std::pair<std::string, Module*>> named_modules();
    /// All points below this module with their dotted paths ("blocks.0.attn.q"), in the order of registration.
    std::vector<std::pair<std::string, Point*>> named_points() const;
    /// The point of that path. Throws Error that lists the points there are when there is none.
    Point& point(const std::string& path) const;
    /// Tensors outside the parameters that guests differentiate into (EditOptions::leaves).
    std::vector<Tensor> guest_leaves() const;

    /// Training mode (the default) or evaluation mode, for this module and all below: dropout only acts in training.
    void train(bool on = true);
    void eval() { train(false); }
    bool is_training() const { return training_; }

    /// Fills the gradients with zeros; their storage stays.
    void zero_grad();
    /// Turns every parameter into `dtype` (f32 or f64). Gradients are dropped. The handles stay valid.
    void to(DType dtype);

    /// Gives this module's own parameters, not those below it, the values that they start with: called by initialize()
    /// (init.h), after the modules below. The default keeps what the constructor gave.
    virtual void initialize_own(const Initializer&) {}

    /// Copies of all parameters.
    StateDict state_dict() const;
    /// Copies values in. Strict: missing, unexpected and mis-shaped names (another dtype counts as another shape) are
    /// reported together in one Error, and nothing is changed then.
    void load_state_dict(const StateDict& state);

protected:
    /// A trainable f32 tensor, zero until initialised. Throws Error when the name is taken or has a dot.
    Tensor register_parameter(std::string name, const Shape& shape, ParameterRole role);
    /// `module` must live as long as this one (a member). The name may have dots ("blocks.0").
    /// Throws Error when it is taken.
    void register_module(std::string name, Module& module);
    /// `point` must live as long as this module (a member). Throws Error when the name is taken by another point.
    void register_point(std::string name, Point& point);

private:
    /// Throws Error when it is empty or taken.
    void take_name(const std::string& name);

    std::vector<Parameter> parameters_;
    std::vector<std::pair<std::string, Point*>> points_;
    std::vector<std::pair<std::string, Module*>> children_;
    std::unordered_set<std::string> names_;  // of parameters and children
    bool training_ = true;
};

}  // namespace headscope::nn
