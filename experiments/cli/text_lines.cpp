#include "experiments/cli/text_lines.h"

#include <utf8proc.h>

#include <algorithm>

namespace headscope::experiments::cli {

namespace {

struct CodePoint {
    std::size_t bytes, columns;
};

/// The code point that begins at `byte`, which is in `text`.
CodePoint code_point_at(const std::string& text, std::size_t byte) {
    utf8proc_int32_t code = 0;
    const utf8proc_ssize_t bytes = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + byte,
                                                    static_cast<utf8proc_ssize_t>(text.size() - byte), &code);
    if (bytes <= 0) return {1, 1};
    return {static_cast<std::size_t>(bytes), static_cast<std::size_t>(std::max(utf8proc_charwidth(code), 0))};
}

/// Bytes of the longest beginning of at most `columns` columns.
std::size_t bytes_of(const std::string& text, std::size_t columns) {
    std::size_t byte = 0;
    for (std::size_t seen = 0; byte < text.size();) {
        const CodePoint next = code_point_at(text, byte);
        seen += next.columns;
        if (seen > columns) break;
        byte += next.bytes;
    }
    return byte;
}

}  // namespace

std::size_t columns_of(const std::string& text) {
    std::size_t columns = 0;
    for (std::size_t byte = 0; byte < text.size();) {
        const CodePoint next = code_point_at(text, byte);
        columns += next.columns;
        byte += next.bytes;
    }
    return columns;
}

std::string first_columns(const std::string& text, std::size_t columns) {
    return text.substr(0, bytes_of(text, columns));
}

std::string padded(const std::string& text, std::size_t width, bool right) {
    const std::size_t columns = columns_of(text);
    const std::string spaces(width > columns ? width - columns : 0, ' ');
    return right ? spaces + text : text + spaces;
}

std::string wrapped(const std::string& text, const std::string& first, const std::string& rest) {
    std::string left = text, lines;
    std::replace_if(
        left.begin(), left.end(), [](unsigned char c) { return c < 0x20 || c == 0x7F; }, ' ');
    do {
        const std::string& indent = lines.empty() ? first : rest;
        const std::size_t room = text_columns - std::min(columns_of(indent), text_columns - 1);
        std::size_t end = bytes_of(left, room);
        // A wide code point does not fit into one column, and a line takes at least one code point.
        if (end == 0 && !left.empty()) end = code_point_at(left, 0).bytes;
        std::size_t next = end;
        if (end < left.size()) {
            const std::size_t space = left.rfind(' ', end);
            if (space != std::string::npos && space > 0) {
                end = space;
                next = space + 1;
            }
        }
        lines += indent + left.substr(0, end) + "\n";
        left.erase(0, next);
    } while (!left.empty());
    return lines;
}

}  // namespace headscope::experiments::cli
