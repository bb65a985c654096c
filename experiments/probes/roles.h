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
enum class Role { previous_token, induction, duplicate_token, local, long_range, sink, uniform, unclear };
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

Role role_of(const RoleEvidence& evidence, const RoleSetting& setting);
/// The table in words, the first rule first.
std::string role_rule_text();

}  // namespace headscope::experiments
