#include "experiments/positions/position_type.h"

#include <utility>

#include "experiments/registry.h"

namespace headscope {

namespace {

// Inside a function, so that it exists before the first static RegisterPosition, whichever file that is in.
Registry<PositionType>& registry() {
    static Registry<PositionType> types("position");
    return types;
}

}  // namespace

const std::vector<PositionType>& position_types() { return registry().all(); }

const PositionType* find_position_type(const std::string& name) { return registry().find(name); }

RegisterPosition::RegisterPosition(std::string name, std::string doc,
                                   std::function<std::unique_ptr<PositionSettings>()> settings) {
    registry().add({std::move(name), std::move(doc), std::move(settings)});
}

}  // namespace headscope
