// What a config means, for people.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace headscope::experiments::cli {

/// Checks a config with its data and prints what it means: resolved config, shapes, parameters, memory, FLOPs. With a
/// text, the shapes are those of the text on its way through tokens, ids, embedding and heads. Throws UsageError for a
/// wrong config, a text that is too long, and, after printing, a model that does not fit into memory.
void print_check(const std::string& config, const std::vector<std::string>& overrides,
                 const std::optional<std::string>& text = std::nullopt);

}  // namespace headscope::experiments::cli
