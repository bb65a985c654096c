// One value into the variable of one declared key, with everything checked that concerns that key alone.
#pragma once

#include <string>

#include "experiments/base/fields.h"
#include "experiments/config/document.h"

namespace headscope::experiments {

/// Stores `value` in the field's variable. On a wrong type, a value out of range or not among the choices, adds a
/// problem that names `path` ("model.d_model") and what is allowed, and returns false.
bool read_field(const Field& field, const std::string& path, const TomlValue& value, Problems& problems);

}  // namespace headscope::experiments
