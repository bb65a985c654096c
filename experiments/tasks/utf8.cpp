#include "experiments/tasks/utf8.h"

#include <fmt/format.h>

#include <cstddef>

#include "experiments/base/errors.h"

namespace headscope::experiments {

namespace {

/// What the first byte of a sequence says about it.
struct Lead {
    std::size_t length;  ///< bytes in all; 0 = cannot begin a character
    char32_t bits;       ///< the part of the code point in the first byte
    char32_t smallest;   ///< a smaller code point has a shorter form, and must use it
};

Lead lead_of(unsigned char byte) {
    if (byte < 0x80) return {1, byte, 0};
    if (byte < 0xC0) return {0, 0, 0};
    if (byte < 0xE0) return {2, byte & 0x1FU, 0x80};
    if (byte < 0xF0) return {3, byte & 0x0FU, 0x800};
    if (byte < 0xF8) return {4, byte & 0x07U, 0x10000};
    return {0, 0, 0};
}

[[noreturn]] void fail(const std::string& name, std::size_t offset, unsigned char byte, const char* reason) {
    throw UsageError(fmt::format("{}: invalid UTF-8 at byte offset {} (byte 0x{:02X}): {}; convert it to UTF-8", name,
                                 offset, byte, reason));
}

}  // namespace

std::string_view without_byte_order_mark(std::string_view bytes) {
    const std::string_view mark = "\xEF\xBB\xBF";
    return bytes.starts_with(mark) ? bytes.substr(mark.size()) : bytes;
}

char32_t next_code_point(std::string_view bytes, std::size_t& at, const std::string& name) {
    const auto first = static_cast<unsigned char>(bytes[at]);
    const Lead lead = lead_of(first);
    if (lead.length == 0) fail(name, at, first, "no character begins with this byte");
    char32_t point = lead.bits;
    for (std::size_t i = 1; i < lead.length; ++i) {
        if (at + i == bytes.size()) fail(name, at, first, "the text ends in the middle of this character");
        const auto next = static_cast<unsigned char>(bytes[at + i]);
        if ((next & 0xC0U) != 0x80U) fail(name, at, first, "a continuation byte is missing");
        point = (point << 6U) | (next & 0x3FU);
    }
    if (point < lead.smallest) fail(name, at, first, "an overlong form");
    if (point >= 0xD800 && point <= 0xDFFF) fail(name, at, first, "a surrogate, which is no character");
    if (point > 0x10FFFF) fail(name, at, first, "a value above U+10FFFF");
    at += lead.length;
    return point;
}

std::vector<char32_t> decode_utf8(std::string_view bytes, const std::string& name) {
    std::vector<char32_t> points;
    points.reserve(bytes.size());
    for (std::size_t at = bytes.size() - without_byte_order_mark(bytes).size(); at < bytes.size();)
        points.push_back(next_code_point(bytes, at, name));
    return points;
}

std::string encode_utf8(char32_t code_point) {
    const auto tail = [&](unsigned shift) { return static_cast<char>(0x80U | ((code_point >> shift) & 0x3FU)); };
    const auto head = [&](unsigned mark, unsigned shift) { return static_cast<char>(mark | (code_point >> shift)); };
    if (code_point < 0x80) return {head(0, 0)};
    if (code_point < 0x800) return {head(0xC0, 6), tail(0)};
    if (code_point < 0x10000) return {head(0xE0, 12), tail(6), tail(0)};
    return {head(0xF0, 18), tail(12), tail(6), tail(0)};
}

}  // namespace headscope::experiments
