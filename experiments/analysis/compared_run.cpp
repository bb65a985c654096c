// What a comparison takes from one run's log.
#include <fmt/format.h>

#include <algorithm>
#include <cinttypes>
#include <cmath>
#include <cstdio>
#include <limits>
#include <string_view>

#include "experiments/analysis/comparison.h"
#include "experiments/base/errors.h"
#include "experiments/config/config.h"
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
    Problems problems;
    const TomlValue root = parse_document(log.resolved_config(), run.folder + ": /config/resolved", problems);
    problems.raise();
    flatten(root, "", run);
    name_data(run);
    if (const std::optional<std::string> digest = log.data_sha256()) {
        run.keys.emplace_back("data");
        run.config["data"] = {digest->empty() ? "drawn" : digest->substr(0, 12), std::nullopt};
    }
}

/// A quantity over the steps.
struct Curve {
    std::string title, units;
    std::vector<std::int64_t> steps;
    std::vector<double> values;
    double minimum, maximum;  ///< of what the values can be
};

constexpr double infinity = std::numeric_limits<double>::infinity();

/// Of a series "eval/loss", which the log does not give a range.
Curve curve_of(const std::string& name, Series series) {
    const std::string last = name.substr(name.rfind('/') + 1);
    const bool share = last == "accuracy";
    const bool positive = share || last.starts_with("loss") || last == "lr" || last == "grad_norm";
    return {std::move(series.long_name), std::move(series.units),  std::move(series.steps),
            std::move(series.values),    positive ? 0 : -infinity, share ? 1 : infinity};
}

/// "induction/max" -> "induction", "max"; "induction[0.1]" -> "induction", "[0.1]"; without either: the name, "".
std::pair<std::string, std::string> name_and_reduction(const std::string& quantity) {
    const std::size_t end = quantity.find_first_of("/[");
    if (end == std::string::npos) return {quantity, ""};
    return {quantity.substr(0, end), quantity.substr(quantity[end] == '/' ? end + 1 : end)};
}

/// The mean, max or min of each row, or with "[1.0]" the mean over head 0 of layer 1.
Curve reduced(const Metric& metric, const std::string& reduction) {
    const std::vector<MetricPlace> places = metric.places();
    std::int64_t layer = -1, head = -1;
    int read = 0;
    if (reduction.starts_with('[') &&
        (std::sscanf(reduction.c_str(), "[%" SCNd64 ".%" SCNd64 "]%n", &layer, &head, &read) != 2 ||
         static_cast<std::size_t>(read) != reduction.size()))
        throw UsageError(fmt::format("compare: \"{}{}\": a head is written [layer.head], for example [0.1]",
                                     metric.name, reduction));
    const auto is_asked = [&](const MetricPlace& place) {
        return !place.own_pair && (layer < 0 || (place.layer == layer && place.head == head));
    };
    if (layer >= 0 && std::ranges::none_of(places, is_asked))
        throw UsageError(fmt::format("compare: {} has no head {}.{}", metric.name, layer, head));
    Curve curve{metric.long_name, metric.units, metric.steps, {}, metric.minimum, metric.maximum};
    curve.title += reduction.starts_with('[') ? fmt::format(", of head {}.{}", layer, head)
                   : reduction == "max"       ? ", the highest of any head"
                   : reduction == "min"       ? ", the lowest of any head"
                                              : ", mean over heads";
    for (std::size_t row = 0; row < metric.steps.size(); ++row) {
        double sum = 0, low = std::numeric_limits<double>::infinity(), high = -low;
        std::int64_t count = 0;
        for (std::size_t i = 0; i < places.size(); ++i) {
            const double value = metric.values[row * places.size() + i];
            if (!std::isfinite(value) || !is_asked(places[i])) continue;
            sum += value;
            low = std::min(low, value);
            high = std::max(high, value);
            ++count;
        }
        curve.values.push_back(count == 0           ? std::numeric_limits<double>::quiet_NaN()
                               : reduction == "max" ? high
                               : reduction == "min" ? low
                                                    : sum / static_cast<double>(count));
    }
    return curve;
}

/// The row to take of a series: the newest, or the newest up to `step`; nothing before its first row.
std::optional<std::size_t> row_at(const std::vector<std::int64_t>& steps, std::optional<std::int64_t> step) {
    const auto end = step ? std::ranges::upper_bound(steps, *step) : steps.end();
    if (end == steps.begin()) return std::nullopt;
    return static_cast<std::size_t>(end - steps.begin() - 1);
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
            add(name, curve_of(name, log_.series(name)));
            return;
        }
        const auto [metric, reduction] = name_and_reduction(name);
        if (!log_.has_metric(metric)) return;
        if (!reduction.empty() && !reduction.starts_with('[') && reduction != "mean" && reduction != "max" &&
            reduction != "min")
            throw UsageError(
                fmt::format("compare: \"{}\": a metric of the heads is followed by /mean, /max, /min or "
                            "[layer.head]",
                            name));
        const Metric logged = log_.metric(metric);
        const std::vector<std::string> reductions =
            reduction.empty() ? std::vector<std::string>{"mean", "max", "min"} : std::vector<std::string>{reduction};
        for (const std::string& one : reductions)
            add(one.starts_with('[') ? metric + one : metric + "/" + one, reduced(logged, one));
    }

    void add(const std::string& name, const Curve& curve) {
        const std::optional<std::size_t> row = row_at(curve.steps, options_.step);
        const double value = row ? curve.values.at(*row) : std::numeric_limits<double>::quiet_NaN();
        add_number({name, curve.title, curve.units, curve.minimum, curve.maximum}, value);
        const auto first = [&](const char* relation, double limit, auto&& is_so) {
            double step = std::numeric_limits<double>::quiet_NaN();
            for (std::size_t i = curve.values.size(); i-- > 0;)
                if (is_so(curve.values[i])) step = static_cast<double>(curve.steps[i]);
            add_number({fmt::format("{} first {} {}", name, relation, limit),
                        fmt::format("first step at which {} is {} {}", name, relation, limit), "step", 0, infinity},
                       step);
        };
        if (options_.above) first(">=", *options_.above, [&](double x) { return x >= *options_.above; });
        if (options_.below) first("<=", *options_.below, [&](double x) { return x <= *options_.below; });
    }

    void add_number(const Quantity& quantity, double value) {
        run_.logged.push_back(quantity);
        run_.values[quantity.name] = value;
    }

    void read_roles() {
        if (!log_.has_metric("role")) return;
        const Metric roles = log_.metric("role");  // [L, H]
        if (roles.shape.size() != 2) throw IoError("/heads/role/value has another rank than this version writes");
        const std::optional<std::size_t> row = row_at(roles.steps, options_.step);
        if (!row) return;
        for (const std::string& role : role_names()) run_.values["role/" + role] = 0;
        for (std::size_t i = 0; i < roles.row_size(); ++i)
            ++run_.values["role/" + role_of_code(roles.values.at(*row * roles.row_size() + i))];
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
