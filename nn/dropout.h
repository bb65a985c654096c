#pragma once

#include <string>

#include "nn/module.h"

namespace headscope::nn {

/// Inverted dropout in training mode, nothing in evaluation mode. Its numbers come from the RandomScope around the
/// forward pass, stream "dropout.<name>"; so each Dropout of a model needs a name of its own.
class Dropout : public Module {
public:
    /// Throws Error unless 0 <= probability < 1.
    Dropout(double probability, std::string name);
    Tensor forward(const Tensor& x) const;

    double probability() const { return probability_; }
    /// Does forward change anything now?
    bool is_active() const { return is_training() && probability_ > 0; }

private:
    double probability_;
    std::string stream_;
};

}  // namespace headscope::nn
