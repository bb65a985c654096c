#include "experiments/tasks/task.h"

#include <utility>

#include "experiments/registry.h"

namespace headscope {

namespace {

// Inside a function, so that it exists before the first static RegisterTask, whichever file that is in.
Registry<TaskType>& registry() {
    static Registry<TaskType> types("task");
    return types;
}

}  // namespace

const std::vector<TaskType>& task_types() { return registry().all(); }

const TaskType* find_task_type(const std::string& name) { return registry().find(name); }

RegisterTask::RegisterTask(std::string name, std::string doc, std::function<std::unique_ptr<TaskSettings>()> settings) {
    registry().add({std::move(name), std::move(doc), std::move(settings)});
}

}  // namespace headscope
