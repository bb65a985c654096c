#include "experiments/storage/log_reading.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <string_view>
#include <utility>

#include "experiments/base/environment.h"
#include "experiments/base/errors.h"
#include "experiments/base/files.h"
#include "experiments/storage/checkpoint.h"
#include "experiments/storage/log_seal.h"
#include "experiments/storage/run_folder.h"

namespace headscope::experiments {

namespace {

constexpr std::string_view bits_may_differ = "; bits may differ";

}  // namespace

hdf5::File open_run_log(const std::string& run, const std::string& verb) {
    const RunPaths paths(run);
    if (!std::filesystem::is_directory(run)) throw UsageError(verb + ": there is no run folder " + run);
    if (!path_exists(paths.log)) throw UsageError(verb + ": " + run + " has no log.h5 (yet); name the folder of a run");
    return open_log(paths.log);
}

double last_number(const hdf5::File& log, const std::string& path) {
    const std::vector<double> values = log.has_dataset(path) ? log.read<double>(path) : std::vector<double>{};
    return values.empty() ? std::numeric_limits<double>::quiet_NaN() : values.back();
}

std::int64_t last_step(const hdf5::File& log, const std::string& path) {
    if (!log.has_dataset(path)) return -1;
    const std::vector<std::int64_t> values = log.read<std::int64_t>(path);
    return values.empty() ? -1 : values.back();
}

std::int64_t steps_done(const std::string& run, const hdf5::File& log) {
    const std::vector<std::int64_t> checkpoints = list_checkpoints(RunPaths(run).checkpoints);
    const std::int64_t saved = checkpoints.empty() ? 0 : checkpoints.back();
    return std::max({saved, last_step(log, "/train/step"), last_step(log, "/eval/step")});
}

std::string root_text(const hdf5::File& log, const std::string& name) {
    return log.has_attribute("/", name) ? log.text_attribute("/", name) : "";
}

std::vector<std::string> differences_to_this_program(const hdf5::File& log) {
    const std::pair<const char*, std::string> now[] = {{"software_version", software_version()},
                                                       {"git_commit", git_commit()},
                                                       {"compiler", compiler()},
                                                       {"isa", instruction_set()},
                                                       {"cpu", cpu_model()}};
    std::vector<std::string> differences;
    for (const auto& [name, value] : now) {
        const std::string then = log.has_attribute("/", name) ? log.text_attribute("/", name) : "unknown";
        if (then != value)
            differences.push_back(
                fmt::format("{} was {} when the run was trained and is {} now{}", name, then, value, bits_may_differ));
    }
    return differences;
}

std::vector<std::string> differences_noted_in(const hdf5::File& log) {
    std::vector<std::string> differences;
    for (const std::string& message : log.read_texts("/events/message"))
        if (message.ends_with(bits_may_differ)) differences.push_back(message);
    return differences;
}

std::optional<Lineage> read_lineage(const hdf5::File& log) {
    const std::string kind = root_text(log, "lineage");
    if (kind.empty()) return std::nullopt;
    return Lineage{kind,
                   root_text(log, "parent"),
                   root_text(log, "parent_run_id"),
                   root_text(log, "parent_config"),
                   log.has_attribute("/", "parent_step") ? log.integer_attribute("/", "parent_step") : -1,
                   root_text(log, "changes")};
}

}  // namespace headscope::experiments
