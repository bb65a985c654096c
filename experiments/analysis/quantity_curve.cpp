#include "experiments/analysis/quantity_curve.h"

#include <fmt/format.h>

#include <algorithm>
#include <cinttypes>
#include <cmath>
#include <cstdio>
#include <limits>
#include <utility>

#include "experiments/base/errors.h"
#include "experiments/probes/roles.h"

namespace headscope::experiments {

QuantityCurve curve_of_series(const std::string& name, Series series) {  // a log does not tell the range of a series
    constexpr double infinity = std::numeric_limits<double>::infinity();
    const std::string last = name.substr(name.rfind('/') + 1);
    const bool share = last == "accuracy";
    const bool positive = share || last.starts_with("loss") || last == "lr" || last == "grad_norm";
    return {std::move(series.long_name), std::move(series.units),  std::move(series.steps),
            std::move(series.values),    positive ? 0 : -infinity, share ? 1 : infinity};
}

QuantityCurve curve_of_metric(const Metric& metric, const std::string& reduction) {
    const std::vector<MetricPlace> places = metric.places();
    std::int64_t layer = -1, head = -1;
    int read = 0;
    if (!reduction.starts_with('[') && reduction != "mean" && reduction != "max" && reduction != "min")
        throw UsageError(
            fmt::format("compare: \"{}/{}\": a metric of the heads is followed by /mean, /max, /min or [layer.head]",
                        metric.name, reduction));
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
    QuantityCurve curve{metric.long_name, metric.units, metric.steps, {}, metric.minimum, metric.maximum};
    curve.title += reduction.starts_with('[') ? fmt::format(", of head {}.{}", layer, head)
                   : reduction == "max"       ? ", the highest of any head"
                   : reduction == "min"       ? ", the lowest of any head"
                                              : ", mean over heads";
    for (std::size_t row = 0; row < metric.steps.size(); ++row) {
        double sum = 0, low = std::numeric_limits<double>::infinity(), high = -low;
        std::int64_t count = 0;
        for (std::size_t i = 0; i < places.size(); ++i) {
            const double value = metric.values.at(row * places.size() + i);
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

QuantityCurve curve_of_role(const Metric& roles, const std::string& role) {
    if (roles.shape.size() != 2) throw IoError("/heads/role/value has another rank than this version writes");
    const std::size_t heads = roles.row_size();
    QuantityCurve curve{.title = "heads with role " + role,
                        .units = "1",
                        .steps = roles.steps,
                        .values = {},
                        .minimum = 0,
                        .maximum = static_cast<double>(heads),
                        .is_count = true};
    for (std::size_t row = 0; row < roles.steps.size(); ++row) {
        double count = 0;
        for (std::size_t i = 0; i < heads; ++i) count += role_of_code(roles.values.at(row * heads + i)) == role ? 1 : 0;
        curve.values.push_back(count);
    }
    return curve;
}

std::optional<std::size_t> row_at(const std::vector<std::int64_t>& steps, std::optional<std::int64_t> step) {
    const auto end = step ? std::ranges::upper_bound(steps, *step) : steps.end();
    if (end == steps.begin()) return std::nullopt;
    return static_cast<std::size_t>(end - steps.begin() - 1);
}

CurveArea area_of(const QuantityCurve& curve, std::optional<std::int64_t> from, std::optional<std::int64_t> to) {
    CurveArea area{std::numeric_limits<double>::quiet_NaN(), -1, -1};
    double sum = 0, before = 0;
    std::size_t rows = 0;
    for (std::size_t i = 0; i < curve.steps.size(); ++i) {
        const std::int64_t step = curve.steps[i];
        const double value = curve.values.at(i);
        if ((from && step < *from) || (to && step > *to) || !std::isfinite(value)) continue;
        if (rows++ == 0) area.first = step;
        else sum += (before + value) / 2 * static_cast<double>(step - area.last);
        before = value;
        area.last = step;
    }
    if (area.last > area.first) area.mean = sum / static_cast<double>(area.last - area.first);
    return area;
}

}  // namespace headscope::experiments
