#include "experiments/cli/text_lines.h"

#include <algorithm>

namespace headscope::experiments::cli {

namespace {

bool begins_code_point(char byte) { return (static_cast<unsigned char>(byte) & 0xC0U) != 0x80U; }

/// Bytes of the first `columns` code points.
std::size_t bytes_of(const std::string& text, std::size_t columns) {
    std::size_t byte = 0;
    for (std::size_t seen = 0; byte < text.size(); ++byte)
        if (begins_code_point(text[byte]) && seen++ == columns) break;
    return byte;
}

}  // namespace

std::size_t columns_of(const std::string& text) {
    return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), begins_code_point));
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
        std::size_t end = bytes_of(left, room), next = end;
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
