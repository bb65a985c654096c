// What a comparison takes from one run's log.
#include <fmt/format.h>

#include <algorithm>

#include "experiments/analysis/comparison.h"
#include "experiments/base/errors.h"
#include "experiments/config/document.h"
#include "experiments/probes/roles.h"
#include "experiments/storage/log_reader.h"

namespace headscope::experiments {

namespace {

/// As one would type it; of lists and tables every item.
std::string whole(const TomlValue& value) {
    if (value.kind != TomlValue::Kind::list && value.kind != TomlValue::Kind::table) return spell(value);
    const bool list = value.kind == TomlValue::Kind::list;
    std::string text;
    for (const TomlValue& item : value.items)
        text += (text.empty() ? "" : ", ") + (list ? whole(item) : item.key + " = " + whole(item));
    return list ? "[" + text + "]" : "{" + text + "}";
}

ConfigValue config_value(const TomlValue& value) {
    if (value.kind == TomlValue::Kind::integer) return {whole(value), static_cast<double>(value.integer)};
    if (value.kind == TomlValue::Kind::real) return {whole(value), value.real};
    const std::string text = whole(value);
    return {text.empty() ? "\"\"" : text, std::nullopt};
}

void flatten(const TomlValue& table, const std::string& prefix, ComparedRun& run) {
    for (const TomlValue& item : table.items) {
        const std::string key = prefix + item.key;
        if (item.kind == TomlValue::Kind::table) {
            flatten(item, key + ".", run);
        } else if (key != "name" && key != "seed") {
            run.keys.push_back(key);
            run.config[key] = config_value(item);
        }
    }
}

void read_config(const LogReader& log, ComparedRun& run) {
    Problems problems;
    const TomlValue root = parse_document(log.resolved_config(), run.folder + ": /config/resolved", problems);
    problems.raise();
    flatten(root, "", run);
}

void add_quantity(const LogReader& log, const std::string& name, ComparedRun& run) {
    const Series series = log.series(name);
    run.logged.push_back({name, series.long_name, series.units});
    run.values[name] = log.last_value(name);
}

void read_quantities(const LogReader& log, ComparedRun& run) {
    std::vector<std::string> columns = log.columns("eval");
    std::stable_partition(columns.begin(), columns.end(), [](const std::string& name) { return name == "loss"; });
    for (const std::string& column : columns) add_quantity(log, "eval/" + column, run);
    if (log.has_series("train/loss")) add_quantity(log, "train/loss", run);

    if (!log.has_metric("role")) return;
    const Metric roles = log.metric("role");  // [L, H]
    if (roles.shape.size() != 2) throw IoError("/heads/role/value has another rank than this version writes");
    if (roles.values.empty()) return;
    for (const std::string& role : role_names()) run.values["role/" + role] = 0;
    for (const double code : roles.last_row()) ++run.values["role/" + role_of_code(code)];
}

}  // namespace

ComparedRun read_compared_run(const std::string& folder) {
    const LogReader log = LogReader::of_run(folder, "compare");
    try {
        ComparedRun run;
        run.folder = folder;
        run.state = log.state();
        run.seed = log.seed();
        run.step = steps_done(folder, log);
        read_config(log, run);
        if (const auto lineage = log.lineage()) {
            if (lineage->kind == "replay")
                throw UsageError(fmt::format("compare: {} is a replay, not a run of its own", folder));
            // By the parent's config rather than by the parent, so that forks of several seeds are one group.
            run.keys.push_back(lineage->kind);
            run.config[lineage->kind] = {
                fmt::format("{}@{}", lineage->parent_config.substr(0, 8), lineage->parent_step), std::nullopt};
        }
        read_quantities(log, run);
        return run;
    } catch (const IoError& error) {
        throw IoError(fmt::format("compare: the log of {} cannot be used: {}", folder, error.what()));
    }
}

}  // namespace headscope::experiments
