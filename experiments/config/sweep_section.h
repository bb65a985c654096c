// Values that `headscope sweep` goes through, as a config or a command line gives them:
//
//   [sweep]                                  headscope sweep c.toml model.num_heads=2,8 seed=0..4
//   model.num_heads = [2, 8]
//   seed = "0..4"                            0 to 4, both included; "0..100..20" in steps of 20
//   zip = true                               the n-th values go together (--zip), instead of each with each
//
// A value alone is a list of one. `run` and `check` leave the table out.
#pragma once

#include <string>
#include <vector>

#include "experiments/config/document.h"

namespace headscope::experiments {

/// A key and the values that it goes through, each as one would type it after "key=".
struct SweepAxis {
    std::string key;
    std::vector<std::string> values;
    bool operator==(const SweepAxis&) const = default;
};

struct SweepSection {
    std::vector<SweepAxis> axes;
    bool zip = false;
};

/// Takes the table [sweep] out of a config.
SweepSection take_sweep_section(TomlValue& root, Problems& problems);

/// The values of "1,2,8", "0..4" or one value, as typed; commas in brackets and quotes separate nothing. Throws
/// UsageError for a range that is none, or has more than 100,000 values.
std::vector<std::string> sweep_values(const std::string& text);
/// Does the text name several values, or a range?
bool is_sweep_of_values(const std::string& text);

}  // namespace headscope::experiments
