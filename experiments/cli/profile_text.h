// Where a run's time went, for the end of `run --profile`.
#pragma once

#include <string>
#include <vector>

#include "autograd/profile.h"

namespace headscope::experiments::cli {

/// A line per name and phase with its count, total time and share of all time; lines of at most 80 columns.
std::string to_text(const std::vector<Profile::Row>& rows);
/// `json`, an object, with one member more: "profile", an array of {name, phase, count, seconds, share}.
std::string add_profile(const std::string& json, const std::vector<Profile::Row>& rows);

}  // namespace headscope::experiments::cli
