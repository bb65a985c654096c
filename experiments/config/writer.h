#pragma once

#include <functional>
#include <string>

#include "experiments/config/config.h"

namespace headscope {

/// The config as TOML, section by section in a fixed order, restricted to the keys whose path `wanted` says yes to.
std::string write_config(const Config& config, const std::function<bool(const std::string& path)>& wanted);

}  // namespace headscope
