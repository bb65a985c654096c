#include "experiments/attentions/attention_type.h"

#include <utility>

#include "experiments/registry.h"

namespace headscope {

namespace {

// Inside a function, so that it exists before the first static RegisterAttention, whichever file that is in.
Registry<AttentionType>& registry() {
    static Registry<AttentionType> types("attention");
    return types;
}

}  // namespace

const std::vector<AttentionType>& attention_types() { return registry().all(); }

const AttentionType* find_attention_type(const std::string& name) { return registry().find(name); }

RegisterAttention::RegisterAttention(std::string name, std::string doc,
                                     std::function<std::unique_ptr<AttentionSettings>()> settings) {
    registry().add({std::move(name), std::move(doc), std::move(settings)});
}

}  // namespace headscope
