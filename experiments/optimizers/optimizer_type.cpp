#include "experiments/optimizers/optimizer_type.h"

#include <utility>

#include "experiments/registry.h"

namespace headscope {

namespace {

// Inside a function, so that it exists before the first static RegisterOptimizer, whichever file that is in.
Registry<OptimizerType>& registry() {
    static Registry<OptimizerType> types("optimizer");
    return types;
}

}  // namespace

const std::vector<OptimizerType>& optimizer_types() { return registry().all(); }

const OptimizerType* find_optimizer_type(const std::string& name) { return registry().find(name); }

RegisterOptimizer::RegisterOptimizer(std::string name, std::string doc,
                                     std::function<std::unique_ptr<OptimizerSettings>()> settings) {
    registry().add({std::move(name), std::move(doc), std::move(settings)});
}

}  // namespace headscope
