// The rule that names heads: thresholds, precedence, and what it does without a metric.
#include "experiments/probes/roles.h"

#include <gtest/gtest.h>

#include <limits>

#include "experiments/probes/probe.h"

namespace headscope::experiments {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr RoleSetting first_of_two{41, true, 1}, last_layer{41, true, 0}, not_causal{41, false, 1};  // uniform: 10 back

/// Nothing in particular, but for what a test changes.
struct Evidence {
    double previous_token = 0.1, duplicate_token = 0.1, prefix_matching = 0.1, entropy = 0.7, distance = 9, sink = 0.1;
    RoleEvidence values() const { return {previous_token, duplicate_token, prefix_matching, entropy, distance, sink}; }
};

TEST(Roles, HaveANameForEachCode) {
    EXPECT_EQ(role_names().size(), static_cast<std::size_t>(Role::mixed) + 1);
    EXPECT_EQ(role_names()[static_cast<std::size_t>(Role::duplicate_token)], "duplicate-token");
    EXPECT_EQ(role_names()[static_cast<std::size_t>(Role::long_range)], "long-range");
    EXPECT_EQ(role_names()[static_cast<std::size_t>(Role::unclear)], "unclear");
    EXPECT_EQ(role_names().back(), "mixed");  // the codes of earlier logs keep their meaning
}

TEST(Roles, AreNamedByTheirThresholds) {
    struct Case {
        Evidence evidence;
        RoleSetting setting;
        Role role;
    };
    const Case cases[] = {
        {{}, first_of_two, Role::unclear},
        {{.prefix_matching = 0.5}, first_of_two, Role::induction},
        {{.prefix_matching = 0.499}, first_of_two, Role::unclear},
        {{.duplicate_token = 0.5}, first_of_two, Role::duplicate_token},
        {{.duplicate_token = 0.499}, first_of_two, Role::unclear},
        {{.previous_token = 0.5}, first_of_two, Role::previous_token},
        {{.previous_token = 0.5}, last_layer, Role::local},
        {{.previous_token = 0.499}, last_layer, Role::unclear},
        {{.entropy = 0.9}, first_of_two, Role::uniform},
        {{.entropy = 0.899}, first_of_two, Role::unclear},
        {{.sink = 0.5}, first_of_two, Role::sink},
        {{.sink = 0.499}, first_of_two, Role::unclear},
        {{.distance = 2.5}, first_of_two, Role::local},
        {{.distance = 2.51}, first_of_two, Role::unclear},
        {{.entropy = 0.3, .distance = 5}, first_of_two, Role::long_range},
        {{.entropy = 0.301, .distance = 5}, first_of_two, Role::unclear},
        {{.entropy = 0.3, .distance = 4.99}, first_of_two, Role::unclear},
        // Ahead and back cancel.
        {{.distance = 0}, not_causal, Role::unclear},
        {{.entropy = 0.1, .distance = 9}, not_causal, Role::unclear},
        {{.prefix_matching = 0.6}, not_causal, Role::induction},
    };
    for (const Case& each : cases)
        EXPECT_EQ(role_of(each.evidence.values(), each.setting), each.role)
            << testing::PrintToString(each.evidence.values());
}

/// A profile of 41 lags, .01 each but for those given.
std::vector<double> profile(const std::vector<std::pair<std::size_t, double>>& weights) {
    std::vector<double> all(41, 0.01);
    for (const auto& [lag, weight] : weights) all[lag] = weight;
    return all;
}

TEST(Roles, AreMixedOfTwoPlacesWithAQuarterEach) {
    struct Case {
        std::vector<std::pair<std::size_t, double>> lags;
        Evidence evidence;
        Role role;
    };
    const Case cases[] = {
        {{{1, 0.38}, {12, 0.46}}, {}, Role::mixed},
        {{{1, 0.25}, {12, 0.25}}, {}, Role::mixed},
        {{{1, 0.249}, {12, 0.6}}, {}, Role::unclear},
        {{{0, 0.4}, {20, 0.4}}, {}, Role::mixed},
        {{{1, 0.4}, {21, 0.4}}, {}, Role::unclear},  // which only a minority of the queries has
        {{{1, 0.4}}, {.sink = 0.3}, Role::mixed},
        {{{1, 0.4}}, {.sink = 0.249}, Role::unclear},
        {{{1, 0.3}, {2, 0.3}}, {.entropy = 0.801}, Role::unclear},
        // Any other name comes first.
        {{{1, 0.3}, {12, 0.3}}, {.sink = 0.5}, Role::sink},
        {{{1, 0.3}, {2, 0.3}}, {.distance = 2}, Role::local},
    };
    for (const Case& each : cases)
        EXPECT_EQ(
            role_of(each.evidence.values(), first_of_two, attention_places(profile(each.lags), each.evidence.sink)),
            each.role)
            << testing::PrintToString(each.lags);
    EXPECT_EQ(role_of(Evidence{}.values(), first_of_two, attention_places(std::vector<double>(41, nan), nan)),
              Role::unclear);
    EXPECT_TRUE(attention_places({}, 0.9).empty());

    const auto parts = parts_of_mixed(attention_places(profile({{12, 0.46}, {1, 0.28}}), 0.26));
    ASSERT_EQ(parts.size(), 3u);
    EXPECT_EQ(parts[0].lag, AttentionPlace::position_0);
    EXPECT_EQ(parts[0].weight, 0.26);
    EXPECT_EQ(parts[1].lag, 1);
    EXPECT_EQ(parts[2].lag, 12);
    EXPECT_EQ(parts[2].weight, 0.46);
}

TEST(Roles, TheFirstRuleThatHoldsWins) {
    Evidence evidence{
        .previous_token = 1, .duplicate_token = 1, .prefix_matching = 1, .entropy = 1, .distance = 0, .sink = 1};
    const auto expect = [&](Role role) { EXPECT_EQ(role_of(evidence.values(), first_of_two), role); };
    expect(Role::induction);
    evidence.prefix_matching = 0;
    expect(Role::duplicate_token);
    evidence.duplicate_token = 0;
    expect(Role::previous_token);
    evidence.previous_token = 0;
    expect(Role::uniform);
    evidence.entropy = 0;
    expect(Role::sink);
    evidence.sink = 0;
    expect(Role::local);
    evidence.distance = 20;
    expect(Role::long_range);
}

TEST(Roles, NoRuleHoldsForWhatWasNotMeasured) {
    RoleEvidence nothing;
    nothing.fill(nan);
    EXPECT_EQ(role_of(nothing, first_of_two), Role::unclear);
    nothing[0] = 0.9;
    EXPECT_EQ(role_of(nothing, first_of_two), Role::previous_token);
}

TEST(Roles, TheProbeSaysWhatItsCodesMean) {
    const nn::TransformerOptions model;
    const MetricSpec spec = make_probe("role")->spec({model, 12, {}});
    EXPECT_EQ(spec.value_labels, role_names());
    EXPECT_NE(spec.formula.find("previous-token where previous_token >= 0.5 and number of later layers >= 1;"),
              std::string::npos)
        << spec.formula;
    EXPECT_NE(spec.formula.find("mixed where second largest of sink and lag_profile[lag < T/2] >= 0.25 and "
                                "attention_entropy_normalized <= 0.8; else unclear"),
              std::string::npos)
        << spec.formula;
}

}  // namespace
}  // namespace headscope::experiments
