// Names what a head does, from its metrics. The rule is one table in roles.cpp, applied alike by the probe `role` while
// a run goes on and by whoever reads its log.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace headscope::experiments {

/// A code in the log is a role's place here.
enum class Role { previous_token, induction, duplicate_token, local, long_range, sink, uniform, unclear, mixed };
/// "previous-token", "induction", ..., by code.
const std::vector<std::string>& role_names();
/// The role that a value of the metric `role` stands for. Throws IoError when it is no code of a role.
const std::string& role_of_code(double code);

/// The metrics [L, H] that a role is named from.
inline constexpr std::array role_metrics{"previous_token",     "duplicate_token",
                                         "prefix_matching",    "attention_entropy_normalized",
                                         "attention_distance", "sink"};
/// One head's, in that order; NaN = not measured, and no rule that asks for it holds.
using RoleEvidence = std::array<double, role_metrics.size()>;
inline constexpr RoleEvidence no_evidence = [] {
    RoleEvidence evidence{};
    evidence.fill(std::numeric_limits<double>::quiet_NaN());
    return evidence;
}();

/// What the rule must know of the model besides.
struct RoleSetting {
    std::int64_t seq_len;
    bool causal;
    std::int64_t layers_after;  ///< of the model, after the head's own
    std::int64_t window = 0;    ///< of the model; 0: all
};

/// Where a head's attention goes, one place of several.
struct AttentionPlace {
    std::int64_t lag;  ///< position_0: none, but the sequence's first position
    double weight;     ///< mean attention weight, a share of 1
    static constexpr std::int64_t position_0 = -1;
};
/// The places that a head may be mixed of: position 0, and the lags that half of the queries have; of `lag_profile` [T]
/// and `sink`. Empty without a profile. NaN is left out.
std::vector<AttentionPlace> attention_places(const std::vector<double>& lag_profile, double sink);
/// Those of a mixed head: enough weight for the rule, in the order of their lags.
std::vector<AttentionPlace> parts_of_mixed(const std::vector<AttentionPlace>& places);

/// Without `places` no head is mixed.
Role role_of(const RoleEvidence& evidence, const RoleSetting& setting, const std::vector<AttentionPlace>& places = {});
/// The table in words, the first rule first.
std::string role_rule_text();

}  // namespace headscope::experiments
