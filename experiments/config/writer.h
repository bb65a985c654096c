#pragma once

#include <functional>
#include <map>
#include <string>

#include "experiments/config/config.h"

namespace headscope::experiments {

/// The config as TOML, section by section in a fixed order, restricted to the keys whose path `wanted` says yes to.
std::string write_config(const Config& config, const std::function<bool(const std::string& path)>& wanted);

/// Every key's value, as the resolved config spells it, by path ("model.d_model"); but those of is_data_path().
std::map<std::string, std::string> config_values(const Config& config);

}  // namespace headscope::experiments
