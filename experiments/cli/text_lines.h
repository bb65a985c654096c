// Text for a terminal of 80 columns. A code point takes as many columns as utf8proc_charwidth says: 2 for wide ones
// (Chinese), 0 for combining marks, else 1. A byte that is no valid UTF-8 takes one.
#pragma once

#include <cstddef>
#include <string>

namespace headscope::experiments::cli {

inline constexpr std::size_t text_columns = 80;

/// Columns that UTF-8 text takes.
std::size_t columns_of(const std::string& text);

/// The longest beginning of `text`, in whole code points, that takes at most `columns` columns.
std::string first_columns(const std::string& text, std::size_t columns);

/// `text` with spaces before (`right`) or after it, up to `width` columns.
std::string padded(const std::string& text, std::size_t width, bool right);

/// Lines of at most 80 columns, each with its line feed, broken at spaces where there are any: the first after `first`,
/// the others after `rest`. Control characters become spaces.
std::string wrapped(const std::string& text, const std::string& first, const std::string& rest);

}  // namespace headscope::experiments::cli
