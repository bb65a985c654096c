// Text for a terminal of 80 columns: one column per code point.
#pragma once

#include <cstddef>
#include <string>

namespace headscope::experiments::cli {

inline constexpr std::size_t text_columns = 80;

/// Columns that UTF-8 text takes: its code points.
std::size_t columns_of(const std::string& text);

/// `text` with spaces before (`right`) or after it, up to `width` columns.
std::string padded(const std::string& text, std::size_t width, bool right);

/// Lines of at most 80 columns, each with its line feed, broken at spaces where there are any: the first after `first`,
/// the others after `rest`. Control characters become spaces.
std::string wrapped(const std::string& text, const std::string& first, const std::string& rest);

}  // namespace headscope::experiments::cli
