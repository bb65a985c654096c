#include "experiments/cli/output.h"

#include <utf8proc.h>

#include <algorithm>
#include <cerrno>

#include "experiments/base/files.h"

namespace headscope::experiments::cli {

namespace {

bool is_between(utf8proc_int32_t code, utf8proc_int32_t first, utf8proc_int32_t last) {
    return code >= first && code <= last;
}

/// Controls and marks that have no shape of their own but change how the rest is shown.
bool changes_the_rest(utf8proc_int32_t code) {
    return is_between(code, 0x7F, 0x9F) || code == 0x061C || is_between(code, 0x200E, 0x200F) ||
           is_between(code, 0x2028, 0x202E) || is_between(code, 0x2066, 0x2069);
}

}  // namespace

std::string printable(std::string_view text) {
    std::string shown;
    shown.reserve(text.size());
    while (!text.empty()) {
        const auto byte = static_cast<unsigned char>(text.front());
        utf8proc_int32_t code = byte;
        utf8proc_ssize_t size = 1;
        if (byte >= 0x80)
            size = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                    static_cast<utf8proc_ssize_t>(text.size()), &code);
        const std::size_t bytes = size > 0 ? static_cast<std::size_t>(size) : 1;
        if (size <= 0 || (byte < 0x20 && byte != '\n' && byte != '\t')) shown += fmt::format("\\x{:02x}", byte);
        else if (changes_the_rest(code)) shown += fmt::format("\\u{:04x}", code);
        else shown += text.substr(0, bytes);
        text.remove_prefix(bytes);
    }
    return shown;
}

void print_text(std::string_view text) {
    const std::string shown = printable(text);
    if (std::fwrite(shown.data(), 1, shown.size(), stdout) != shown.size())
        fail_io("standard output", "cannot be written", errno);
}

void print_note(std::string_view text) {
    const std::string shown = printable(text);
    std::fwrite(shown.data(), 1, shown.size(), stderr);
}

void print_error(std::string_view message) {
    constexpr std::size_t longest = 4000;
    while (!message.empty()) {
        const std::size_t end = std::min(message.find('\n'), message.size());
        const std::string line = printable(message.substr(0, std::min(end, longest)));
        const std::string rest = end > longest ? fmt::format("... ({} more bytes)", end - longest) : "";
        print_note("headscope: " + line + rest + "\n");
        message.remove_prefix(std::min(end + 1, message.size()));
    }
}

}  // namespace headscope::experiments::cli
