// Declared keys in words, for messages, the resolved config and `headscope describe`.
#pragma once

#include <string>
#include <vector>

#include "experiments/base/fields.h"

namespace headscope::experiments {

/// "at least 0 and below 1", "from 1 to 1000"; empty when there is no limit.
std::string range_of(const IntegerRange& range);
std::string range_of(const RealRange& range);
/// Of a field of any kind: also "one of ..." and "any of ...".
std::string range_of(const Field& field);

/// "integer", "number", "true or false", "string", "path", "list of strings", "table of integers".
std::string type_of(const Field& field);

/// The present value of the field's variable as TOML; empty for a table, which has no line of its own.
std::string value_of(const Field& field);

/// A TOML basic string. Bytes from 0x80 up are UTF-8 and stay.
std::string quoted(const std::string& text);
/// The same words, each quoted, with commas between.
std::string quoted_list(const std::vector<std::string>& words);

/// The shortest digits that read back as the same double, and never an integer to TOML.
std::string spell_number(double number);

}  // namespace headscope::experiments
