#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace headscope::experiments {

/// SHA-256 as 64 hex digits.
std::string sha256(std::span<const std::byte> bytes);
std::string sha256(std::string_view text);

}  // namespace headscope::experiments
