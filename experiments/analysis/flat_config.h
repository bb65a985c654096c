// The config of a run's log as a list of settings.
#pragma once

#include <string>
#include <vector>

#include "experiments/config/document.h"
#include "experiments/storage/log_reader.h"

namespace headscope::experiments {

struct Setting {
    std::string key;  ///< dotted, "optimizer.lr"
    TomlValue value;  ///< no table
};

/// All settings of the resolved config, in its order. `run` names the run in messages. Throws UsageError when it is no
/// TOML.
std::vector<Setting> flat_config(const LogReader& log, const std::string& run);

/// A value as one would type it; of lists and tables every item.
std::string spell_whole(const TomlValue& value);

}  // namespace headscope::experiments
