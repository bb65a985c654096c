#include "nn/parameter.h"

#include "nn/transformer.h"
#include "tests/nn/random_tensors.h"

namespace headscope::nn {
namespace {

/// Every parameter of a model with everything in it has the role that its name tells a person.
TEST(ParameterRole, OfEveryParameter) {
    TransformerOptions options{.vocab_size = 5, .max_len = 6, .num_layers = 1, .block = {.d_model = 6, .num_heads = 2}};
    const Transformer model(options);
    for (const Parameter& parameter : model.named_parameters()) {
        const std::string& name = parameter.name;
        const ParameterRole expected = name == "embedding.weight" || name == "position.weight"
                                           ? ParameterRole::embedding
                                       : name == "head.weight"                  ? ParameterRole::head
                                       : name.ends_with("bias")                 ? ParameterRole::bias
                                       : name.find("norm") != std::string::npos ? ParameterRole::scale
                                                                                : ParameterRole::matrix;
        EXPECT_EQ(parameter.role, expected) << name << " is " << name_of(parameter.role);
    }
}

}  // namespace
}  // namespace headscope::nn
