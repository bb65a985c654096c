// role: what each head does, by name.
//
//   role[l, h] = the first of the rules below that holds; the codes are those of enum Role
//
// Shape [L, H], units 1 (a code), range 0 .. 8. Source: the table below; the names are those of Olsson et al. 2022 and
// Voita et al. 2019. Invariance: GL (rotary positions aside), as of all metrics that it is named from. Null: none.
#include "experiments/probes/roles.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>

#include "experiments/base/errors.h"
#include "experiments/probes/capture.h"

namespace headscope::experiments {

namespace {

/// What the rules compare with their thresholds: role_metrics in their order, and what follows from the setting.
enum Quantity : std::size_t {
    previous_token,
    duplicate_token,
    prefix_matching,
    attention_entropy_normalized,
    attention_distance,
    sink,
    relative_distance,  ///< attention_distance over (T - 1) / 4, that of uniform causal weights; NaN unless causal
    layers_after,
    second_place,  ///< second largest weight of attention_places()
};
constexpr const char* derived_names[] = {"attention_distance / ((T - 1) / 4)", "number of later layers",
                                         "second largest of sink and lag_profile[lag < T/2]"};

struct Condition {
    Quantity quantity;
    enum { at_least, at_most } comparison;
    double threshold;
};

struct Rule {
    Role role;
    std::vector<Condition> conditions;  ///< all must hold
};

constexpr double mixed_part = 0.25;

// The rule, in order of precedence. What a head matches comes first, then where it looks, since a head that matches
// tokens looks somewhere too. A half, of weights that sum to 1, is most of a head's attention: of two things that
// exclude each other at most one can have it. The metrics see to that sum: they divide rows that have another by it,
// and are NaN where that makes no sense, so that no rule holds (attention_rows.h).
const std::vector<Rule>& rules() {
    static const std::vector<Rule> table{
        // Random periods, which no fixed lag can follow: that is why it is not `induction` that decides, which a head
        // with the right lag passes. Uniform weights score .15 at T = 64, trained induction heads .8 and more.
        {Role::induction, {{prefix_matching, Condition::at_least, 0.5}}},
        // A head with the fixed lag L would pass too; L = T / 2 is no lag that a task of ours asks for.
        {Role::duplicate_token, {{duplicate_token, Condition::at_least, 0.5}}},
        // The name is for a head that tells later layers what came before (Elhage et al. 2021: K-composition). After
        // the last layer nobody reads that; the head uses its neighbour itself, so it is local, also where T is too
        // short for the distance to say so. Of trained ones the best score .7 and more; uniform weights .06.
        {Role::previous_token, {{previous_token, Condition::at_least, 0.5}, {layers_after, Condition::at_least, 1}}},
        {Role::local, {{previous_token, Condition::at_least, 0.5}}},
        // exp(entropy) counts the keys in use: n^0.9 of n, 42 of 64. Before `sink`, because in a short sequence
        // uniform weights put much on position 0 too.
        {Role::uniform, {{attention_entropy_normalized, Condition::at_least, 0.9}}},
        {Role::sink, {{sink, Condition::at_least, 0.5}}},
        // Against the distance that a head has which does not choose. Far below it the head must have chosen near keys.
        // Long distance says so only of a head that uses few keys, n^0.3 of n, 3.5 of 64: a wide one is far on average
        // without looking there, and one that is half a previous-token head too (trained ones: .4 and more; those that
        // read one far lag: .1). Between a quarter and a half neither name would say much.
        {Role::local, {{relative_distance, Condition::at_most, 0.25}}},
        {Role::long_range,
         {{relative_distance, Condition::at_least, 0.5}, {attention_entropy_normalized, Condition::at_most, 0.3}}},
        // Two places with a quarter each have at least half together. Early queries of a short sequence have few keys,
        // so uniform weights put that much on near lags too: the entropy tells these apart.
        {Role::mixed,
         {{second_place, Condition::at_least, mixed_part}, {attention_entropy_normalized, Condition::at_most, 0.8}}},
    };
    return table;
}

}  // namespace

const std::vector<std::string>& role_names() {
    static const std::vector<std::string> names{"previous-token", "induction", "duplicate-token", "local", "long-range",
                                                "sink",           "uniform",   "unclear",         "mixed"};
    return names;
}

const std::string& role_of_code(double code) {
    if (!(code >= 0 && code < static_cast<double>(role_names().size())))
        throw IoError("log: /heads/role/value holds a code that stands for no role");
    return role_names()[static_cast<std::size_t>(code)];
}

namespace {

/// Mean distance of uniform weights over the visible keys: (T - 1) / 4 without a window.
double uniform_distance_of(const RoleSetting& setting) {
    const auto T = static_cast<double>(setting.seq_len), w = static_cast<double>(setting.window);
    if (setting.window == 0 || setting.window >= setting.seq_len) return (T - 1) / 4;
    // Query i sees n = min(i + 1, w) keys, (n - 1) / 2 back on average.
    return (w * (w - 1) / 4 + (T - w) * (w - 1) / 2) / T;
}

}  // namespace

std::vector<AttentionPlace> attention_places(const std::vector<double>& lag_profile, double sink) {
    std::vector<AttentionPlace> places;
    if (lag_profile.empty()) return places;
    if (!std::isnan(sink)) places.push_back({AttentionPlace::position_0, sink});
    for (std::size_t lag = 0; 2 * lag < lag_profile.size(); ++lag)
        if (!std::isnan(lag_profile[lag])) places.push_back({static_cast<std::int64_t>(lag), lag_profile[lag]});
    return places;
}

std::vector<AttentionPlace> parts_of_mixed(const std::vector<AttentionPlace>& places) {
    std::vector<AttentionPlace> parts;
    for (const AttentionPlace& place : places)
        if (place.weight >= mixed_part) parts.push_back(place);
    return parts;
}

namespace {

/// NaN when there are fewer than two.
double second_largest(std::vector<AttentionPlace> places) {
    if (places.size() < 2) return std::numeric_limits<double>::quiet_NaN();
    std::ranges::nth_element(places, places.begin() + 1, std::ranges::greater(), &AttentionPlace::weight);
    return places[1].weight;
}

}  // namespace

Role role_of(const RoleEvidence& evidence, const RoleSetting& setting, const std::vector<AttentionPlace>& places) {
    const double uniform_distance = uniform_distance_of(setting);
    // Ahead counts against back in a model that is not causal, so its mean distance names no place.
    const double relative =
        setting.causal ? evidence[attention_distance] / uniform_distance : std::numeric_limits<double>::quiet_NaN();
    const double second = second_largest(places);
    const auto holds = [&](const Condition& condition) {
        const double value = condition.quantity == relative_distance ? relative
                             : condition.quantity == layers_after    ? static_cast<double>(setting.layers_after)
                             : condition.quantity == second_place    ? second
                                                                     : evidence[condition.quantity];
        return condition.comparison == Condition::at_least ? value >= condition.threshold
                                                           : value <= condition.threshold;
    };
    for (const Rule& rule : rules())
        if (std::all_of(rule.conditions.begin(), rule.conditions.end(), holds)) return rule.role;
    return Role::unclear;
}

std::string role_rule_text() {
    std::string text = "the first that holds: ";
    for (const Rule& rule : rules()) {
        text += role_names()[static_cast<std::size_t>(rule.role)] + " where ";
        for (const Condition& condition : rule.conditions)
            text += fmt::format("{}{} {} {}", &condition == rule.conditions.data() ? "" : " and ",
                                condition.quantity < role_metrics.size()
                                    ? role_metrics[condition.quantity]
                                    : derived_names[condition.quantity - role_metrics.size()],
                                condition.comparison == Condition::at_least ? ">=" : "<=", condition.threshold);
        text += "; ";
    }
    return text + "else unclear; of rows of weights divided by their sum; a NaN meets no condition";
}

namespace {

/// Gathers the metrics that roles are named from, each by its own probe.
class Roles : public Accumulator {
public:
    explicit Roles(const ProbeContext& context)
        : layers_(context.model.num_layers()),
          heads_(context.model.options().block.num_heads),
          seq_len_(context.task.seq_len()),
          causal_(context.model.options().causal),
          window_(context.model.options().window) {
        for (const char* name : role_metrics) gather(name, context);
        gather("lag_profile", context);
    }

    void add(const Capture& capture) override {
        for (const Metric& metric : metrics_)
            if (metric.source == capture.source()) metric.sums->add(capture);
    }

    std::vector<double> values() const override {
        std::vector<RoleEvidence> evidence(static_cast<std::size_t>(layers_ * heads_));
        for (std::size_t m = 0; m < role_metrics.size(); ++m) {
            const std::vector<double> values = metrics_[m].sums->values();
            for (std::size_t i = 0; i < values.size(); ++i) evidence[i][m] = values[i];
        }
        const std::vector<double> lags = metrics_.back().sums->values();
        std::vector<double> codes;
        for (std::int64_t i = 0; i < layers_ * heads_; ++i) {
            const RoleSetting setting{seq_len_, causal_, layers_ - 1 - i / heads_, window_};
            const RoleEvidence& own = evidence[static_cast<std::size_t>(i)];
            const auto profile = lags.begin() + i * seq_len_;
            codes.push_back(
                static_cast<double>(role_of(own, setting, attention_places({profile, profile + seq_len_}, own[sink]))));
        }
        return codes;
    }

private:
    struct Metric {
        SequenceSource source;
        std::unique_ptr<Accumulator> sums;
    };

    void gather(const char* name, const ProbeContext& context) {
        probes_.push_back(make_probe(name));
        const auto& probe = dynamic_cast<const CaptureProbe&>(*probes_.back());
        metrics_.push_back({probe.sources().front(), probe.accumulate(context)});
    }

    std::int64_t layers_, heads_, seq_len_;
    bool causal_;
    std::int64_t window_;
    std::vector<std::unique_ptr<Probe>> probes_;
    std::vector<Metric> metrics_;  // by role_metrics, then lag_profile
};

class RoleProbe : public CaptureProbe {
public:
    MetricSpec spec(const ProbeSetup& setup) const override {
        return {.name = "role",
                .long_name = "what a head does",
                .units = "1",
                .formula = role_rule_text(),
                .source = "the table in experiments/probes/roles.cpp; names of Olsson et al. 2022, Voita et al. 2019",
                .invariance = "GL",
                .minimum = 0,
                .maximum = static_cast<double>(role_names().size() - 1),
                .dimensions = {{"layer", setup.layers(), {}}, {"head", setup.heads(), {}}},
                .value_labels = role_names()};
    }

    std::vector<SequenceSource> sources() const override {
        return {SequenceSource::evaluation, SequenceSource::repeated, SequenceSource::random_periods};
    }

    std::unique_ptr<Accumulator> accumulate(const ProbeContext& context) const override {
        return std::make_unique<Roles>(context);
    }
};

const RegisterProbe registered_roles("role", [] { return std::make_unique<RoleProbe>(); });

}  // namespace

}  // namespace headscope::experiments
