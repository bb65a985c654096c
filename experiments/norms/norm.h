// What model.norm_type may be: how values are normalised where model.norm places a norm. The modules are nn/<name>.h;
// one file each in experiments/norms/ names them.
//
// Adding one: write an nn::Norm and norms/<name>.cpp with NormSettings whose build() makes it, end that with
//   const RegisterType<NormSettings> registered_<name>("<name>", "what it is in one line",
//                                               [] { return std::make_unique<MySettings>(); });
// and a test; the build finds all of them.
#pragma once

#include <memory>
#include <vector>

#include "experiments/base/fields.h"
#include "experiments/base/model_sizes.h"
#include "experiments/base/registry.h"
#include "nn/norm.h"

namespace headscope::experiments {

/// The keys of [model.norm_type] for one type, but `type`.
class NormSettings {
public:
    static constexpr KindText kind{"norm", "norms", "how values are normalised: model.norm_type"};
    virtual ~NormSettings() = default;
    virtual void fields(Fields&) {}
    /// What is wrong between keys (each in range already): the rest of a sentence that begins with the key. The key
    /// "type" stands for the norm as a whole.
    virtual std::vector<KeyProblem> check(const ModelSizes&) const { return {}; }
    virtual std::unique_ptr<nn::Norm> build(std::int64_t width) const = 0;
};

}  // namespace headscope::experiments
