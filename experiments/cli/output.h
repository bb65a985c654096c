// All that is printed. Texts of others (keys of a config, names of files, attributes of a log, tokens of a task) may
// hold what a terminal obeys: escape sequences, controls of eight bits, marks that turn the direction of writing. None
// of it leaves the program: no other file writes to a standard stream.
#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <string>
#include <string_view>
#include <utility>

namespace headscope::experiments::cli {

/// `text` with everything spelt out that is not to be shown as it is:
///   \x1b     control characters below 0x20, but for line feed and tab, and bytes that are no UTF-8
///   \u009b   controls from 0x7f to 0x9f, line and paragraph separators, marks and overrides of direction
/// The second form means the same in JSON and in TOML, which write the characters of the first in their own way.
std::string printable(std::string_view text);

/// Prints to standard output, made printable. Throws IoError when that cannot be written.
void print_text(std::string_view text);

template <class... Values>
void print_out(fmt::format_string<Values...> format, Values&&... values) {
    print_text(fmt::format(format, std::forward<Values>(values)...));
}

/// The same to standard error, where what cannot be written is lost.
void print_note(std::string_view text);

/// A message of an error on standard error, each of its lines after "headscope: ". Of a very long line the beginning.
void print_error(std::string_view message);

}  // namespace headscope::experiments::cli
