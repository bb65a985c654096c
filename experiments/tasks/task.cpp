#include "experiments/tasks/task.h"

#include <algorithm>
#include <utility>

#include "experiments/errors.h"

namespace headscope {

namespace {

// Inside a function, so that it exists before the first static RegisterTask, whichever file that is in.
std::vector<TaskType>& registry() {
    static std::vector<TaskType> types;
    return types;
}

}  // namespace

const std::vector<TaskType>& task_types() { return registry(); }

const TaskType* find_task_type(const std::string& name) {
    const auto found = std::ranges::find(registry(), name, &TaskType::name);
    return found == registry().end() ? nullptr : &*found;
}

RegisterTask::RegisterTask(std::string name, std::string doc, std::function<std::unique_ptr<TaskSettings>()> settings) {
    const auto place = std::ranges::lower_bound(registry(), name, {}, &TaskType::name);
    if (place != registry().end() && place->name == name)
        throw Error("task: '" + name + "' is registered twice; rename one");
    registry().insert(place, {std::move(name), std::move(doc), std::move(settings)});
}

}  // namespace headscope
