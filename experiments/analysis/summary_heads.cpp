// The metrics of the heads, out of a log.
#include <algorithm>
#include <cmath>
#include <set>

#include "experiments/analysis/summary_parts.h"
#include "experiments/base/errors.h"
#include "experiments/config/document.h"
#include "experiments/probes/roles.h"

namespace headscope::experiments {

namespace {

void require(bool right_shape, const std::string& metric) {
    if (!right_shape) throw IoError("inspect: /heads/" + metric + "/value has another shape than this version writes");
}

/// A metric whose rows have `rank` axes; without values when the log does not have it, or has no row of it.
Metric metric_of(const LogReader& log, const std::string& name, std::size_t rank) {
    if (!log.has_metric(name)) return {};
    Metric metric = log.metric(name);
    require(metric.shape.size() == rank, name);
    return metric;
}

void read_grad_norms(const LogReader& log, RunSummary& summary) {
    const Metric rows = metric_of(log, "grad_norm", 3);  // [L, H, 4]
    if (rows.values.empty()) return;
    require(rows.shape[2] == 4, "grad_norm");
    make_rows(summary, rows.shape[0], rows.shape[1]);
    summary.grad_norm_steps = rows.steps;
    for (std::size_t i = 0; i < rows.values.size(); i += 4) {  // the last row stays
        HeadRow& head = summary.heads[i / 4 % summary.heads.size()];
        std::copy_n(rows.values.begin() + static_cast<std::ptrdiff_t>(i), 4, head.grad_norm.begin());
        const auto& [q, k, v, o] = head.grad_norm;
        head.grad_norm_total = std::hypot(std::hypot(q, k), std::hypot(v, o));
        head.grad_norm_history.push_back(head.grad_norm_total);
    }
}

/// A metric of one number per head, its newest row.
void read_numbers(const LogReader& log, const std::string& name, double HeadRow::*member, RunSummary& summary) {
    const Metric metric = metric_of(log, name, 2);  // [L, H]
    const std::vector<double> row = metric.last_row();
    if (row.empty()) return;
    make_rows(summary, metric.shape[0], metric.shape[1]);
    for (std::size_t i = 0; i < row.size(); ++i) summary.heads[i].*member = row[i];
}

/// What is measured of each head that tells its role. Returns true when that is all of it, at one and the same step.
bool read_evidence(const LogReader& log, RunSummary& summary) {
    std::set<std::int64_t> steps;
    for (std::size_t m = 0; m < role_metrics.size(); ++m) {
        const Metric metric = metric_of(log, role_metrics[m], 2);  // [L, H]
        const std::vector<double> row = metric.last_row();
        steps.insert(row.empty() ? -1 : metric.steps.back());
        if (row.empty()) continue;
        make_rows(summary, metric.shape[0], metric.shape[1]);
        for (std::size_t i = 0; i < row.size(); ++i) summary.heads[i].evidence[m] = row[i];
    }
    return steps.size() == 1 && *steps.begin() >= 0;
}

/// model.window of the run; 0 where the config has no such key.
std::int64_t window_of(const LogReader& log) {
    Problems problems;
    const TomlValue config = parse_document(log.resolved_config(), log.resolved_config_place(), problems);
    problems.raise();
    const TomlValue* model = config.find("model");
    const TomlValue* window = model == nullptr ? nullptr : model->find("window");
    return window == nullptr ? 0 : window->integer;
}

/// Each head's places at that step; none where lag_profile has its newest row at another.
std::vector<std::vector<AttentionPlace>> read_places(const LogReader& log, std::int64_t step, RunSummary& summary) {
    std::vector<std::vector<AttentionPlace>> places(summary.heads.size());
    const Metric lags = metric_of(log, "lag_profile", 3), sinks = metric_of(log, "sink", 2);  // [L, H, T], [L, H]
    const std::vector<double> profiles = lags.last_row(), sink = sinks.last_row();
    if (profiles.empty() || lags.steps.back() != step) return places;
    make_rows(summary, lags.shape[0], lags.shape[1]);
    const bool has_sink = !sink.empty() && sinks.steps.back() == step;
    const std::int64_t T = lags.shape[2];
    for (std::size_t i = 0; i < places.size(); ++i) {
        const auto profile = profiles.begin() + static_cast<std::int64_t>(i) * T;
        places[i] = attention_places({profile, profile + T}, has_sink ? sink.at(i) : not_measured);
    }
    return places;
}

void read_roles(const LogReader& log, RunSummary& summary) {
    const bool complete = read_evidence(log, summary);
    const Metric roles = metric_of(log, "role", 2);  // [L, H]
    const std::string mixed = role_names()[static_cast<std::size_t>(Role::mixed)];
    if (const std::vector<double> row = roles.last_row(); !row.empty()) {
        make_rows(summary, roles.shape[0], roles.shape[1]);
        const auto places = read_places(log, roles.steps.back(), summary);
        for (std::size_t i = 0; i < row.size(); ++i) {
            summary.heads[i].role = role_of_code(row[i]);
            if (summary.heads[i].role == mixed) summary.heads[i].mixed_of = parts_of_mixed(places[i]);
        }
        return;
    }
    if (!complete) return;
    const Metric distance = log.metric("attention_distance");  // from 0, or -(T - 1), to T - 1
    const auto places = read_places(log, distance.steps.back(), summary);
    const auto seq_len = static_cast<std::int64_t>(distance.maximum) + 1;
    const bool causal = distance.minimum >= 0;
    const std::int64_t window = window_of(log);
    const std::int64_t last_layer = summary.heads.back().layer;
    for (std::size_t i = 0; i < summary.heads.size(); ++i) {
        HeadRow& head = summary.heads[i];
        const Role role = role_of(head.evidence, {seq_len, causal, last_layer - head.layer, window}, places[i]);
        head.role = role_names()[static_cast<std::size_t>(role)];
        if (role == Role::mixed) head.mixed_of = parts_of_mixed(places[i]);
    }
}

/// Means over the other heads. z is in standard deviations of one pair, so that models of few and of many heads
/// compare.
void read_overlaps(const LogReader& log, RunSummary& summary) {
    const Metric metric = metric_of(log, "overlap", 4);  // [L, 4, H, H]
    const std::vector<double> row = metric.last_row();
    if (row.empty()) return;
    const std::int64_t layers = metric.shape[0], heads = metric.shape[2];
    require(metric.shape[1] == 4 && metric.shape[3] == heads, "overlap");
    make_rows(summary, layers, heads);
    const double null_mean = summary.overlap_null_mean = metric.null_mean;
    const double null_std = summary.overlap_null_std = metric.null_std;
    if (heads < 2) return;
    std::size_t index = 0;
    for (std::int64_t layer = 0; layer < layers; ++layer)
        for (std::size_t projection = 0; projection < 4; ++projection)
            for (std::int64_t i = 0; i < heads; ++i) {
                double sum = 0;
                for (std::int64_t j = 0; j < heads; ++j, ++index) {
                    const double overlap = row[index];
                    if (i == j) continue;
                    sum += overlap;
                    if (i < j && (summary.top_pair.empty() || overlap > summary.top_pair[0].overlap))
                        summary.top_pair = {{layer, i, j, projection, overlap, (overlap - null_mean) / null_std}};
                }
                const double others = static_cast<double>(heads - 1);
                HeadRow& head = summary.heads[static_cast<std::size_t>(layer * heads + i)];
                head.overlap[projection] = sum / others;
                head.overlap_z[projection] = (sum / others - null_mean) / null_std;
            }
}

}  // namespace

void make_rows(RunSummary& summary, std::int64_t layers, std::int64_t heads) {
    if (!summary.heads.empty()) {
        if (summary.heads.back().layer + 1 != layers || summary.heads.back().head + 1 != heads)
            throw IoError("inspect: the metrics under /heads are not of the same heads; the log is damaged");
        return;
    }
    std::array<double, 4> unknown;
    unknown.fill(not_measured);
    for (std::int64_t layer = 0; layer < layers; ++layer)
        for (std::int64_t head = 0; head < heads; ++head)
            summary.heads.push_back({layer, head, unknown, unknown, unknown, not_measured});
}

void read_heads(const LogReader& log, RunSummary& summary) {
    for (const std::string& name : log.metrics()) {
        Metric metric = log.metric(name);
        if (metric.values.empty() || metric.steps.empty()) continue;
        metric.values = metric.last_row();
        metric.steps = {metric.steps.back()};
        summary.metrics.push_back(std::move(metric));
    }
    read_grad_norms(log, summary);
    read_numbers(log, "attention_entropy", &HeadRow::entropy, summary);
    read_numbers(log, "attention_distance", &HeadRow::distance, summary);
    read_numbers(log, "importance", &HeadRow::importance, summary);
    read_roles(log, summary);
    read_overlaps(log, summary);
}

}  // namespace headscope::experiments
