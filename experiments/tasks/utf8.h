// UTF-8 (RFC 3629): text to code points and back.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace headscope::experiments {

/// The code points of `bytes`; a leading byte order mark (U+FEFF) is dropped. Throws UsageError naming `name` and the
/// offset of the first byte of the first bad sequence: a stray or missing continuation byte, an overlong form, a
/// surrogate (U+D800..U+DFFF), a value above U+10FFFF, or an end in the middle of a character.
std::vector<char32_t> decode_utf8(std::string_view bytes, const std::string& name);

/// `bytes` without a leading byte order mark.
std::string_view without_byte_order_mark(std::string_view bytes);

/// The code point that begins at byte `at` of `bytes`, which moves on behind it. Throws as decode_utf8() does.
char32_t next_code_point(std::string_view bytes, std::size_t& at, const std::string& name);

/// The one to four bytes of a code point.
std::string encode_utf8(char32_t code_point);

}  // namespace headscope::experiments
