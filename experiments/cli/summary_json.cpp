// A run's summary as JSON.
#include <nlohmann/json.hpp>

#include "experiments/cli/summary_parts.h"

namespace headscope::experiments::cli {

namespace {

using Json = nlohmann::ordered_json;  // NaN becomes null

template <std::size_t count>
Json by_name(const std::array<const char*, count>& names, const std::array<double, count>& values) {
    Json object;
    for (std::size_t i = 0; i < count; ++i) object[names[i]] = values[i];
    return object;
}

Json by_name(const std::vector<Floor>& lines) {
    Json object = Json::object();
    for (const Floor& line : lines) object[line.name] = line.loss;
    return object;
}

Json lineage_of(const RunSummary& summary) {
    if (!summary.lineage) return nullptr;
    const Lineage& lineage = *summary.lineage;
    Json object{{"kind", lineage.kind},
                {"parent", lineage.parent},
                {"parent_run_id", lineage.parent_run_id},
                {"parent_step", nullptr},
                {"changes", lineage.changes}};
    if (lineage.parent_step >= 0) object["parent_step"] = lineage.parent_step;
    return object;
}

Json head_of(const RunSummary& summary, const HeadRow& row) {
    Json head{{"layer", row.layer},
              {"head", row.head},
              {"role", nullptr},
              {"mixed_of", nullptr},
              {"grad_norm", by_name(projection_names, row.grad_norm)},
              {"grad_norm_total", row.grad_norm_total},
              {"grad_norm_history", {{"step", Json::array()}, {"value", row.grad_norm_history}}},
              {"overlap", by_name(projection_names, row.overlap)},
              {"overlap_z", by_name(projection_names, row.overlap_z)},
              {"attention_entropy", row.entropy}};
    if (!row.role.empty()) head["role"] = row.role;
    if (!row.mixed_of.empty()) {
        head["mixed_of"] = Json::array();
        for (const AttentionPlace& place : row.mixed_of) {
            const bool first = place.lag == AttentionPlace::position_0;
            head["mixed_of"].push_back({{first ? "position" : "lag", first ? 0 : place.lag}, {"weight", place.weight}});
        }
    }
    if (!row.grad_norm_history.empty()) head["grad_norm_history"]["step"] = summary.grad_norm_steps;
    for (std::size_t m = 0; m < role_metrics.size(); ++m) head[role_metrics[m]] = row.evidence[m];
    head["importance"] = row.importance;
    head["ablation"] = nullptr;
    if (summary.ablation_step >= 0) {
        head["ablation"] = {{"step", summary.ablation_step}};
        head["ablation"].update(by_name(ablation_names, row.ablation));
    }
    return head;
}

/// The values of a metric's axes from `axis` on, as nested arrays; `at` goes on through the values.
Json nested(const Metric& metric, std::size_t axis, std::size_t& at) {
    if (axis == metric.shape.size()) {
        const double value = metric.values[at++];
        const bool coded = value >= 0 && value < static_cast<double>(metric.value_labels.size());
        return coded ? Json(metric.value_labels[static_cast<std::size_t>(value)]) : Json(value);
    }
    Json list = Json::array();
    for (std::int64_t i = 0; i < metric.shape[axis]; ++i) list.push_back(nested(metric, axis + 1, at));
    return list;
}

Json metric_of(const Metric& metric) {
    Json dimensions = Json::array();
    for (std::size_t axis = 0; axis < metric.shape.size(); ++axis) {
        Json dimension{{"name", metric.dimensions[axis]}, {"size", metric.shape[axis]}};
        if (!metric.labels[axis].empty()) dimension["labels"] = metric.labels[axis];
        dimensions.push_back(std::move(dimension));
    }
    std::size_t at = 0;
    return {{"step", metric.steps.back()},    {"long_name", metric.long_name}, {"units", metric.units},
            {"null_mean", metric.null_mean},  {"null_std", metric.null_std},   {"dimensions", std::move(dimensions)},
            {"values", nested(metric, 0, at)}};
}

}  // namespace

std::string to_json(const RunSummary& summary) {
    Json json;
    json["run"] = summary.run;
    json["state"] = summary.state.logged;
    json["alive"] = nullptr;
    if (summary.state.alive) json["alive"] = *summary.state.alive;
    json["seed"] = summary.seed;
    json["step"] = summary.step;
    json["lineage"] = lineage_of(summary);
    json["elapsed"] = summary.elapsed;
    if (summary.train_step >= 0) json["train"] = {{"step", summary.train_step}, {"loss", summary.train_loss}};
    if (summary.eval_step >= 0)
        json["eval"] = {{"step", summary.eval_step}, {"loss", summary.eval_loss}, {"accuracy", summary.eval_accuracy}};
    json["floors"] = by_name(summary.floors);
    json["references"] = by_name(summary.references);
    json["overlap_null"] = {{"mean", summary.overlap_null_mean}, {"std", summary.overlap_null_std}};
    json["heads"] = Json::array();
    for (const HeadRow& row : summary.heads) json["heads"].push_back(head_of(summary, row));
    json["metrics"] = Json::object();
    for (const Metric& metric : summary.metrics) json["metrics"][metric.name] = metric_of(metric);
    json["sentences"] = sentences(summary);
    json["events"] = Json::array();
    for (const LoggedEvent& event : summary.events)
        json["events"].push_back(
            {{"step", event.step}, {"time", event.time}, {"kind", event.kind}, {"message", event.message}});
    return json.dump(2, ' ', false, Json::error_handler_t::replace);
}

}  // namespace headscope::experiments::cli
