#include "experiments/analysis/head_values.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>

#include "experiments/base/errors.h"
#include "experiments/base/nearest.h"
#include "experiments/probes/probe.h"
#include "experiments/probes/roles.h"

namespace headscope::experiments {

namespace {

/// Axes that brackets do not choose from.
bool is_of_heads(const std::string& dimension) {
    return dimension == "layer" || dimension == "head" || dimension == "head_other";
}

/// The labels of an axis as one writes them; those of a long one are not all listed.
std::string choices(const Metric& metric, std::size_t axis) {
    const std::vector<std::string>& labels = metric.labels[axis];
    if (labels.empty()) return fmt::format("{} 0 to {}", metric.dimensions[axis], metric.shape[axis] - 1);
    return fmt::format("{} {}", metric.dimensions[axis], fmt::join(labels, ", "));
}

std::string label_of(const Metric& metric, std::size_t axis, std::size_t place) {
    return metric.labels[axis].empty() ? std::to_string(place) : metric.labels[axis].at(place);
}

bool has_label(const Metric& metric, std::size_t axis, const std::string& label) {
    for (std::size_t place = 0; place < static_cast<std::size_t>(metric.shape[axis]); ++place)
        if (label_of(metric, axis, place) == label) return true;
    return false;
}

/// Why a name with these labels is not one number per head; empty when it is.
std::string problem_of_labels(const Metric& metric, const ConditionName& name) {
    std::vector<std::size_t> axes;
    for (std::size_t axis = 0; axis < metric.shape.size(); ++axis)
        if (!is_of_heads(metric.dimensions[axis])) axes.push_back(axis);
    if (axes.empty())
        return name.labels.empty() ? "" : fmt::format("{} is one value for each head; write it without []", name.name);
    std::vector<std::string> offers, first;
    for (const std::size_t axis : axes) {
        offers.push_back(choices(metric, axis));
        first.push_back(metric.shape[axis] > 0 ? label_of(metric, axis, 0) : "");
    }
    if (name.labels.size() != axes.size())
        return fmt::format("{} has several numbers for each head ({}); write {}[{}]", name.name,
                           fmt::join(offers, "; "), name.name, fmt::join(first, ", "));
    for (std::size_t i = 0; i < axes.size(); ++i) {
        if (has_label(metric, axes[i], name.labels[i])) continue;
        const std::string near = nearest(name.labels[i], metric.labels[axes[i]]);
        return fmt::format("{} has no {} {}{}", name.name, metric.dimensions[axes[i]], name.labels[i],
                           near.empty() ? "; it has " + offers[i] : fmt::format("; did you mean {}?", near));
    }
    return "";
}

/// The last part of a dotted key, or the key itself.
bool ends_in(const std::string& key, const std::string& part) { return key == part || key.ends_with("." + part); }

/// What a probe is told, not what is measured: "log.probes.role" is never meant by "role".
bool is_of_probes(const std::string& key) { return key.starts_with("log.probes."); }

}  // namespace

HeadValues::HeadValues(const LogReader& log, const std::string& run, const std::vector<ConditionName>& names)
    : log_(&log), config_(flat_config(log, run)), seed_(log.seed()) {
    for (const Setting& setting : config_) {
        if (setting.key == "model.num_layers") layers_ = setting.value.integer;
        if (setting.key == "model.num_heads") heads_ = setting.value.integer;
    }
    constexpr std::int64_t most = 1'000'000;  // a config that was not checked
    if (layers_ < 0 || heads_ < 0 || layers_ > most || heads_ > most || layers_ * heads_ > most)
        throw IoError(fmt::format("its config has {} layers of {} heads", layers_, heads_));
    for (const ConditionName& name : names) names_.push_back(resolve(name));
    if (!has_problem()) find_steps();
    log_ = nullptr;
}

bool HeadValues::has_problem() const {
    return std::ranges::any_of(names_, [](const NameInRun& name) { return name.source == Source::nothing; });
}

std::vector<std::string> HeadValues::metrics() const {
    std::vector<std::string> metrics;
    for (const NameInRun& name : names_)
        if (name.metric != nullptr && std::ranges::find(metrics, name.metric->name) == metrics.end())
            metrics.push_back(name.metric->name);
    return metrics;
}

void HeadValues::take(std::size_t row, std::int64_t layer, std::int64_t head,
                      std::vector<ConditionValue>& values) const {
    values.clear();
    for (const NameInRun& name : names_) {
        switch (name.source) {
            case Source::nothing: throw Error("find: a name without a meaning has no value");
            case Source::step: values.emplace_back(static_cast<double>(steps_.at(row))); continue;
            case Source::layer: values.emplace_back(static_cast<double>(layer)); continue;
            case Source::head: values.emplace_back(static_cast<double>(head)); continue;
            case Source::constant: values.push_back(name.constant); continue;
            case Source::metric: break;
        }
        const auto place =
            static_cast<std::size_t>((static_cast<std::int64_t>(name.rows.at(row)) * layers_ + layer) * heads_ + head);
        const double value = name.values.at(place);
        const std::vector<std::string>& texts = name.metric->value_labels;
        if (texts.empty() || std::isnan(value)) values.emplace_back(value);
        else values.emplace_back(std::string_view(texts[static_cast<std::size_t>(value)]));
    }
}

HeadValues::NameInRun HeadValues::resolve(const ConditionName& name) {
    if (log_->has_metric(name.name)) return of_metric(name);
    NameInRun found;
    if (name.name == "step") found.source = Source::step;
    else if (name.name == "layer") found.source = Source::layer;
    else if (name.name == "head") found.source = Source::head;
    else if (name.name == "seed") {
        found.source = Source::constant;
        found.constant = static_cast<double>(seed_);
    } else {
        found = of_config(name.name);
    }
    if (found.source != Source::nothing && !name.labels.empty())
        return {.problem = fmt::format("{} has no labels; write it without []", name.name)};
    return found;
}

HeadValues::NameInRun HeadValues::of_config(const std::string& key) {
    std::vector<const Setting*> found;
    for (const Setting& setting : config_) {
        if (setting.key == key) {
            found = {&setting};
            break;
        }
        if (ends_in(setting.key, key) && !is_of_probes(setting.key)) found.push_back(&setting);
    }
    if (found.empty()) return {.problem = unknown(key)};
    if (found.size() > 1) {
        std::vector<std::string> keys;
        for (const Setting* setting : found) keys.push_back(setting->key);
        return {.problem = fmt::format("{} may be {}; write one of them", key, fmt::join(keys, " or "))};
    }
    const TomlValue& value = found[0]->value;
    NameInRun name{.source = Source::constant};
    if (value.kind == TomlValue::Kind::integer) {
        name.constant = static_cast<double>(value.integer);
    } else if (value.kind == TomlValue::Kind::real) {
        name.constant = value.real;
    } else if (value.kind == TomlValue::Kind::boolean) {
        name.type.kind = ConditionKind::truth;
        name.constant = value.boolean;
    } else {
        name.type.kind = ConditionKind::text;
        name.constant = std::string_view(texts_.emplace_back(spell_whole(value)));
    }
    return name;
}

HeadValues::NameInRun HeadValues::of_metric(const ConditionName& name) {
    auto known = metrics_.find(name.name);
    if (known == metrics_.end()) known = metrics_.emplace(name.name, log_->metric(name.name)).first;
    const Metric& metric = known->second;
    if (std::string problem = problem_of_labels(metric, name); !problem.empty()) return {.problem = std::move(problem)};
    NameInRun found{.source = Source::metric, .metric = &metric};
    found.values = per_head(metric, fmt::format("{}", fmt::join(name.labels, " ")));
    if (metric.value_labels.empty()) return found;
    found.type = {ConditionKind::text, metric.value_labels};
    const auto is_code = [&](double value) {
        return std::isnan(value) ||
               (value >= 0 && value < static_cast<double>(metric.value_labels.size()) && value == std::floor(value));
    };
    if (!std::ranges::all_of(found.values, is_code))
        throw IoError(fmt::format("/heads/{} holds a value that none of its labels stands for", metric.name));
    return found;
}

std::vector<double> HeadValues::per_head(const Metric& metric, const std::string& label) const {
    const std::vector<MetricPlace> places = metric.places();
    const std::size_t rows = metric.steps.size(), per_row = static_cast<std::size_t>(layers_ * heads_);
    if (metric.values.size() != rows * places.size())
        throw IoError(fmt::format("the datasets of /heads/{} differ in length; the log is damaged", metric.name));
    for (std::size_t axis = 0; axis < metric.shape.size(); ++axis) {
        const std::string& dimension = metric.dimensions[axis];
        if ((dimension == "layer" && metric.shape[axis] != layers_) ||
            (dimension == "head" && metric.shape[axis] != heads_))
            throw IoError(fmt::format("/heads/{} has {} places on the axis {}, other than the config says", metric.name,
                                      metric.shape[axis], dimension));
    }
    std::vector<double> sums(rows * per_row, 0), counts(rows * per_row, 0);
    for (std::size_t i = 0; i < places.size(); ++i) {
        const MetricPlace& place = places[i];
        if (place.own_pair || place.label != label) continue;
        const std::int64_t first_layer = place.layer < 0 ? 0 : place.layer,
                           first_head = place.head < 0 ? 0 : place.head;
        const std::int64_t end_layer = place.layer < 0 ? layers_ : place.layer + 1,
                           end_head = place.head < 0 ? heads_ : place.head + 1;
        for (std::size_t row = 0; row < rows; ++row) {
            const double value = metric.values[row * places.size() + i];
            if (std::isnan(value)) continue;
            for (std::int64_t layer = first_layer; layer < end_layer; ++layer)
                for (std::int64_t head = first_head; head < end_head; ++head) {
                    const std::size_t at = row * per_row + static_cast<std::size_t>(layer * heads_ + head);
                    sums[at] += value;
                    counts[at] += 1;
                }
        }
    }
    for (std::size_t i = 0; i < sums.size(); ++i)
        sums[i] = counts[i] > 0 ? sums[i] / counts[i] : std::numeric_limits<double>::quiet_NaN();
    return sums;
}

std::string HeadValues::unknown(const std::string& name) const {
    const std::vector<std::string> probes = probe_names(), metrics = log_->metrics();
    if (std::ranges::find(probes, name) != probes.end())
        return fmt::format("{} is not in the log; `headscope replay RUN log.probes.{}=N` computes it", name, name);
    if (std::ranges::find(role_names(), name) != role_names().end())
        return fmt::format("unknown name {}; a role is a text in quotes: role == \"{}\"", name, name);
    std::vector<std::string> known{"step", "layer", "head", "seed"};
    known.insert(known.end(), metrics.begin(), metrics.end());
    const std::size_t without_config = known.size();
    for (const Setting& setting : config_) {
        if (is_of_probes(setting.key)) continue;
        known.push_back(setting.key);
        known.push_back(setting.key.substr(setting.key.rfind('.') + 1));
    }
    for (const std::string& meant : {synonym(name), nearest(name, known)})
        if (std::ranges::find(known, meant) != known.end())
            return fmt::format("unknown name {}; did you mean {}?", name, meant);
    known.resize(without_config);
    return fmt::format("unknown name {}; known: {}, and keys of the config", name, fmt::join(known, ", "));
}

void HeadValues::find_steps() {
    for (auto metric = metrics_.begin(); metric != metrics_.end(); ++metric) {
        const std::vector<std::int64_t>& own = metric->second.steps;
        std::vector<std::int64_t> common;
        if (metric == metrics_.begin()) common = own;
        else std::ranges::set_intersection(steps_, own, std::back_inserter(common));
        steps_ = std::move(common);
    }
    for (NameInRun& name : names_) {
        if (name.metric == nullptr) continue;
        const std::vector<std::int64_t>& own = name.metric->steps;
        for (const std::int64_t step : steps_)
            name.rows.push_back(static_cast<std::size_t>(std::ranges::lower_bound(own, step) - own.begin()));
    }
}

}  // namespace headscope::experiments
