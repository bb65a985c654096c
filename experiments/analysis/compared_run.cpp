// What a comparison takes from one run's log.
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <string_view>

#include "experiments/analysis/comparison.h"
#include "experiments/analysis/flat_config.h"
#include "experiments/analysis/quantity_curve.h"
#include "experiments/base/errors.h"
#include "experiments/base/nearest.h"
#include "experiments/config/config.h"
#include "experiments/probes/roles.h"
#include "experiments/storage/log_reader.h"

namespace headscope::experiments {

namespace {

ConfigValue config_value(const TomlValue& value) {
    if (value.kind == TomlValue::Kind::integer) return {spell(value), static_cast<double>(value.integer)};
    if (value.kind == TomlValue::Kind::real) return {spell(value), value.real};
    const std::string text = spell_whole(value);
    return {text.empty() ? "\"\"" : text, std::nullopt};
}

/// Where data were is one thing, however the path was given.
void name_data(ComparedRun& run) {
    constexpr std::string_view noted = "task.absolute_";
    const auto is_noted = [&](const std::string& key) { return key.starts_with(noted) && is_data_path(key); };
    for (const std::string& key : run.keys)
        if (is_noted(key)) run.config["task." + key.substr(noted.size())] = run.config[key];
    std::erase_if(run.keys, is_noted);
    std::erase_if(run.config, [&](const auto& value) { return is_noted(value.first); });
}

void read_config(const LogReader& log, ComparedRun& run) {
    for (const Setting& setting : flat_config(log, run.folder)) {
        if (setting.key == "name" || setting.key == "seed") continue;
        run.keys.push_back(setting.key);
        run.config[setting.key] = config_value(setting.value);
    }
    name_data(run);
    if (const std::optional<std::string> digest = log.data_sha256()) {
        run.keys.emplace_back("data");
        run.config["data"] = {digest->empty() ? "drawn" : digest->substr(0, 12), std::nullopt};
    }
}

/// "induction/max" -> "induction", "max"; "induction[0.1]" -> "induction", "[0.1]"; without either: the name, "".
std::pair<std::string, std::string> name_and_reduction(const std::string& quantity) {
    const std::size_t end = quantity.find_first_of("/[");
    if (end == std::string::npos) return {quantity, ""};
    return {quantity.substr(0, end), quantity.substr(quantity[end] == '/' ? end + 1 : end)};
}

class QuantityReader {
public:
    QuantityReader(const LogReader& log, const CompareOptions& options, ComparedRun& run)
        : log_(log), options_(options), run_(run) {}

    void read_all() {
        if (!options_.quantities.empty()) {
            for (const std::string& name : options_.quantities) read(name);
            return;
        }
        std::vector<std::string> columns = log_.columns("eval");
        std::stable_partition(columns.begin(), columns.end(), [](const std::string& name) { return name == "loss"; });
        for (const std::string& column : columns) read("eval/" + column);
        read("train/loss");
        read_roles();
    }

private:
    void read(const std::string& name) {
        if (log_.has_series(name)) {
            add(name, curve_of_series(name, log_.series(name)));
            return;
        }
        const auto [metric, reduction] = name_and_reduction(name);
        if (metric == "role") return read_roles(name, reduction);
        if (!log_.has_metric(metric)) return;
        const Metric logged = log_.metric(metric);
        const std::vector<std::string> reductions =
            reduction.empty() ? std::vector<std::string>{"mean", "max", "min"} : std::vector<std::string>{reduction};
        for (const std::string& one : reductions)
            add(one.starts_with('[') ? metric + one : metric + "/" + one, curve_of_metric(logged, one));
    }

    void add(const std::string& name, const QuantityCurve& curve) {
        const std::optional<std::size_t> row = row_at(curve.steps, options_.step);
        const double value = row ? curve.values.at(*row) : std::numeric_limits<double>::quiet_NaN();
        add_number({name, curve.title, curve.units, curve.minimum, curve.maximum, curve.is_count}, value);
        if (options_.area) add_area(name, curve);
        const auto first = [&](const char* relation, double limit, auto&& is_so) {
            double step = std::numeric_limits<double>::quiet_NaN();
            for (std::size_t i = curve.values.size(); i-- > 0;)
                if (is_so(curve.values[i])) step = static_cast<double>(curve.steps[i]);
            add_number({fmt::format("{} first {} {}", name, relation, limit),
                        fmt::format("first step at which {} is {} {}", name, relation, limit), "step", 0},
                       step);
        };
        if (options_.above) first(">=", *options_.above, [&](double x) { return x >= *options_.above; });
        if (options_.below) first("<=", *options_.below, [&](double x) { return x <= *options_.below; });
    }

    void add_number(const Quantity& quantity, double value) {
        run_.logged.push_back(quantity);
        run_.values[quantity.name] = value;
    }

    void add_area(const std::string& name, const QuantityCurve& curve) {
        const CurveArea area = area_of(curve, options_.from, options_.to);
        const auto end = [](const char* word, const std::optional<std::int64_t>& step) {
            return step ? fmt::format(" {} {}", word, *step) : std::string();
        };
        const std::string title = fmt::format("mean of {} over its steps{}{}: the area under it divided by their range",
                                              name, end("from", options_.from), end("to", options_.to));
        add_number({name + " area", title, curve.units, curve.minimum, curve.maximum}, area.mean);
        if (area.last > area.first) run_.windows[name + " area"] = {area.first, area.last};
    }

    /// What was asked for: "role" (all roles), "role/induction".
    void read_roles(const std::string& asked, const std::string& role) {
        if (!role.empty() && std::ranges::find(role_names(), role) == role_names().end())
            throw UsageError(
                fmt::format("compare: \"{}\": unknown role {}{}", asked, role, suggestion(role, role_names())));
        if (!log_.has_metric("role")) return;
        const Metric roles = log_.metric("role");
        for (const std::string& one : role.empty() ? role_names() : std::vector<std::string>{role})
            add("role/" + one, curve_of_role(roles, one));
    }

    /// Their numbers alone: a role that no head of any run has is not shown.
    void read_roles() {
        if (!log_.has_metric("role")) return;
        const Metric roles = log_.metric("role");
        const std::optional<std::size_t> row = row_at(roles.steps, options_.step);
        if (!row) return;
        for (const std::string& role : role_names())
            run_.values["role/" + role] = curve_of_role(roles, role).values.at(*row);
    }

    const LogReader& log_;
    const CompareOptions& options_;
    ComparedRun& run_;
};

}  // namespace

ComparedRun read_compared_run(const std::string& folder, const CompareOptions& options) {
    const LogReader log = LogReader::of_run(folder, "compare");
    try {
        ComparedRun run;
        run.folder = folder;
        run.state = read_run_state(folder, log);
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
        QuantityReader(log, options, run).read_all();
        return run;
    } catch (const IoError& error) {
        throw IoError(fmt::format("compare: the log of {} cannot be used: {}", folder, error.what()));
    }
}

}  // namespace headscope::experiments
