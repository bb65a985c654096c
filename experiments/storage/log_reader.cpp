#include "experiments/storage/log_reader.h"

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
constexpr const char* resolved_path = "/config/resolved";
constexpr const char* history_path = "/config/history";

std::string group_of(const std::string& series) { return "/" + series.substr(0, series.rfind('/')); }

/// "a, b" -> {"a", "b"}
std::vector<std::string> split_at_commas(const std::string& list) {
    std::vector<std::string> items;
    for (std::size_t begin = 0; begin <= list.size();) {
        const std::size_t end = std::min(list.find(", ", begin), list.size());
        items.push_back(list.substr(begin, end - begin));
        begin = end + 2;
    }
    return items;
}

}  // namespace

std::size_t Metric::row_size() const {
    std::int64_t size = 1;
    for (const std::int64_t axis : shape) size *= axis;
    return static_cast<std::size_t>(size);
}

std::vector<MetricPlace> Metric::places() const {
    std::vector<MetricPlace> all(row_size());
    for (std::size_t i = 0; i < all.size(); ++i) {
        MetricPlace& place = all[i];
        std::size_t rest = i;
        std::int64_t other = -1;
        for (std::size_t axis = shape.size(); axis-- > 0;) {  // the last axis is the one that changes fastest
            const std::size_t at = rest % static_cast<std::size_t>(shape[axis]);
            rest /= static_cast<std::size_t>(shape[axis]);
            const std::string& dimension = dimensions[axis];
            const auto number = static_cast<std::int64_t>(at);
            if (dimension == "layer") place.layer = number;
            else if (dimension == "head") place.head = number;
            else if (dimension == "head_other") other = number;
            else {
                const std::string own = labels[axis].empty() ? std::to_string(at) : labels[axis][at];
                place.label = own + (place.label.empty() ? "" : " " + place.label);
            }
        }
        place.own_pair = other >= 0 && other == place.head;
    }
    return all;
}

std::vector<double> Metric::last_row() const {
    if (values.empty()) return {};
    return {values.end() - static_cast<std::ptrdiff_t>(row_size()), values.end()};
}

LogReader::LogReader(const std::string& path) : LogReader(open_log(path), path) {}

LogReader LogReader::of_run(const std::string& run, const std::string& verb) {
    const RunPaths paths(run);
    if (!std::filesystem::is_directory(run)) throw UsageError(verb + ": there is no run folder " + run);
    if (!path_exists(paths.log)) throw UsageError(verb + ": " + run + " has no log.h5 (yet); name the folder of a run");
    return LogReader(paths.log);
}

// --- the run ---

std::string LogReader::root_text(const std::string& name) const {
    return file_.has_attribute("/", name) ? file_.text_attribute("/", name) : "";
}

std::string LogReader::state() const { return file_.text_attribute("/", "state"); }
std::string LogReader::run_id() const { return file_.text_attribute("/", "run_id"); }
std::int64_t LogReader::seed() const { return file_.integer_attribute("/", "seed"); }
std::string LogReader::config_sha256() const { return file_.text_attribute("/", "config_sha256"); }
std::optional<std::string> LogReader::data_sha256() const {
    if (!file_.has_attribute("/", "data_sha256")) return std::nullopt;
    return file_.text_attribute("/", "data_sha256");
}
std::optional<std::int64_t> LogReader::complete_until() const {
    if (!file_.has_attribute("/", "complete_until")) return std::nullopt;
    return file_.integer_attribute("/", "complete_until");
}
std::string LogReader::folder() const { return root_text("folder"); }
std::string LogReader::config_identity_1_0() const { return root_text("config_identity_1_0"); }
std::string LogReader::resolved_config() const { return file_.read_text(resolved_path); }
std::string LogReader::resolved_config_place() const { return path_ + ":" + resolved_path; }

std::string LogReader::config_history() const {
    return file_.has_dataset(history_path) ? file_.read_text(history_path) : "";
}
std::string LogReader::config_history_place() const { return path_ + ":" + history_path; }

std::optional<Lineage> LogReader::lineage() const {
    const std::string kind = root_text("lineage");
    if (kind.empty()) return std::nullopt;
    return Lineage{kind,
                   root_text("parent"),
                   root_text("parent_run_id"),
                   root_text("parent_config"),
                   file_.has_attribute("/", "parent_step") ? file_.integer_attribute("/", "parent_step") : -1,
                   root_text("changes")};
}

std::vector<std::string> LogReader::differences_to_this_program() const {
    const std::pair<const char*, std::string> now[] = {{"software_version", software_version()},
                                                       {"git_commit", git_commit()},
                                                       {"compiler", compiler()},
                                                       {"isa", instruction_set()},
                                                       {"cpu", cpu_model()}};
    std::vector<std::string> differences;
    for (const auto& [name, value] : now) {
        const std::string then = file_.has_attribute("/", name) ? file_.text_attribute("/", name) : "unknown";
        if (then != value)
            differences.push_back(
                fmt::format("{} was {} when the run was trained and is {} now{}", name, then, value, bits_may_differ));
    }
    return differences;
}

std::vector<std::string> LogReader::differences_noted() const {
    std::vector<std::string> differences;
    for (const std::string& message : file_.read_texts("/events/message"))
        if (message.ends_with(bits_may_differ)) differences.push_back(message);
    return differences;
}

// --- scalar series ---

std::vector<std::string> LogReader::columns(const std::string& group) const {
    if (!file_.has_group("/" + group)) return {};
    std::vector<std::string> names = file_.children("/" + group);
    std::erase(names, "step");
    return names;
}

bool LogReader::has_series(const std::string& name) const { return file_.has_dataset("/" + name); }

Series LogReader::series(const std::string& name) const {
    const std::string path = "/" + name;
    Series series;
    series.units = file_.text_attribute(path, "units");
    series.long_name = file_.text_attribute(path, "long_name");
    series.steps = file_.read<std::int64_t>(group_of(name) + "/step");
    if (file_.info(path).type == hdf5::Type::i64) {
        const std::vector<std::int64_t> integers = file_.read<std::int64_t>(path);
        series.values.assign(integers.begin(), integers.end());
    } else {
        series.values = file_.read<double>(path);
    }
    if (series.values.size() != series.steps.size())
        throw IoError(path_ + ": the datasets of " + group_of(name) + " differ in length; the log is damaged");
    return series;
}

double LogReader::last_value(const std::string& name) const {
    if (!has_series(name)) return std::numeric_limits<double>::quiet_NaN();
    const std::vector<double> values = file_.read<double>("/" + name);
    return values.empty() ? std::numeric_limits<double>::quiet_NaN() : values.back();
}

std::vector<std::int64_t> LogReader::steps(const std::string& group) const {
    const std::string path = "/" + group + "/step";
    return file_.has_dataset(path) ? file_.read<std::int64_t>(path) : std::vector<std::int64_t>{};
}

std::int64_t LogReader::last_step(const std::string& group) const {
    const std::vector<std::int64_t> all = steps(group);
    return all.empty() ? -1 : all.back();
}

// --- what else there is ---

std::vector<std::string> LogReader::metrics() const {
    return file_.has_group("/heads") ? file_.children("/heads") : std::vector<std::string>{};
}

bool LogReader::has_metric(const std::string& name) const { return file_.has_dataset("/heads/" + name + "/value"); }

Metric LogReader::metric(const std::string& name) const {
    const std::string group = "/heads/" + name, path = group + "/value";
    Metric metric;
    metric.name = name;
    metric.units = file_.text_attribute(path, "units");
    metric.long_name = file_.text_attribute(path, "long_name");
    metric.steps = file_.read<std::int64_t>(group + "/step");
    metric.dimensions = file_.scale_names(path);
    metric.shape = file_.info(path).shape;
    if (metric.shape.empty() || metric.dimensions.size() != metric.shape.size())
        throw IoError(path_ + ": " + path + " is no metric of heads; the log is damaged");
    metric.shape.erase(metric.shape.begin());
    metric.dimensions.erase(metric.dimensions.begin());
    metric.values = file_.read<double>(path);
    for (const std::string& dimension : metric.dimensions) {
        const std::string scale = group + "/" + dimension;
        const bool named = file_.has_dataset(scale) && file_.info(scale).type == hdf5::Type::text;
        metric.labels.push_back(named ? file_.read_texts(scale) : std::vector<std::string>{});
    }
    if (file_.has_attribute(path, "value_labels"))
        metric.value_labels = split_at_commas(file_.text_attribute(path, "value_labels"));
    metric.minimum = file_.number_attribute(path, "minimum");
    metric.maximum = file_.number_attribute(path, "maximum");
    metric.null_mean = file_.number_attribute(path, "null_mean");
    metric.null_std = file_.number_attribute(path, "null_std");
    return metric;
}

std::vector<std::string> LogReader::parameter_names() const { return file_.read_texts("/parameters/name"); }

std::vector<LoggedEvent> LogReader::events() const {
    if (!file_.has_dataset("/events/step")) return {};
    const std::vector<std::int64_t> steps = file_.read<std::int64_t>("/events/step"),
                                    times = file_.read<std::int64_t>("/events/time");
    const std::vector<std::string> kinds = file_.read_texts("/events/kind"),
                                   messages = file_.read_texts("/events/message");
    if (times.size() != steps.size() || kinds.size() != steps.size() || messages.size() != steps.size())
        throw IoError(path_ + ": the datasets of /events differ in length; the log is damaged");
    std::vector<LoggedEvent> events;
    for (std::size_t i = 0; i < steps.size(); ++i) events.push_back({steps[i], times[i], kinds[i], messages[i]});
    return events;
}

std::vector<NamedNumber> LogReader::losses(const std::string& group, const std::string& own,
                                           const std::string& kind) const {
    std::vector<NamedNumber> all;
    if (!file_.has_group(group)) return all;
    for (const std::string& name : file_.children(group)) {
        const std::string path = group + "/" + name;
        if ((file_.has_attribute(path, "kind") ? file_.text_attribute(path, "kind") : own) != kind) continue;
        const std::vector<double> values = file_.read<double>(path);
        if (values.size() != 1) throw IoError(path_ + ": " + path + " is not a single number");
        all.push_back({name, values[0]});
    }
    return all;
}

std::vector<NamedNumber> LogReader::floors() const { return losses("/task/floors", "floor", "floor"); }

std::vector<NamedNumber> LogReader::references() const {
    std::vector<NamedNumber> all = losses("/task/floors", "floor", "reference");
    for (NamedNumber& one : losses("/task/references", "reference", "reference")) all.push_back(std::move(one));
    return all;
}

std::int64_t steps_done(const std::string& run, const LogReader& log) {
    const std::vector<std::int64_t> checkpoints = list_checkpoints(RunPaths(run).checkpoints);
    const std::int64_t saved = checkpoints.empty() ? 0 : checkpoints.back();
    return std::max({saved, log.last_step("train"), log.last_step("eval")});
}

}  // namespace headscope::experiments
