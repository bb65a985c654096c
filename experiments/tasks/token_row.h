// A long row of tokens in as few bytes each as their vocabulary allows.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <variant>
#include <vector>

namespace headscope::experiments {

/// Tokens of any of the widths, for those who only read them.
using TokenSpan =
    std::variant<std::span<const std::uint8_t>, std::span<const std::uint16_t>, std::span<const std::int32_t>>;

class TokenRow {
public:
    using Values = std::variant<std::vector<std::uint8_t>, std::vector<std::uint16_t>, std::vector<std::int32_t>>;

    /// Empty; for tokens in [0, vocab_size).
    explicit TokenRow(std::int64_t vocab_size) {
        if (vocab_size > 1 << 16) values_.emplace<2>();
        else if (vocab_size > 1 << 8) values_.emplace<1>();
    }

    /// To be filled through std::visit(), which costs too much for each token.
    Values& values() { return values_; }
    /// The same as they lie in memory: native integers of bytes_per_token() bytes.
    std::span<std::byte> bytes() {
        return std::visit([](auto& values) { return std::as_writable_bytes(std::span(values)); }, values_);
    }
    void resize(std::int64_t size) {
        std::visit([=](auto& values) { values.resize(static_cast<std::size_t>(size)); }, values_);
    }
    std::int64_t bytes_per_token() const {
        return std::visit([](const auto& values) { return std::int64_t{sizeof values[0]}; }, values_);
    }

    std::int64_t size() const {
        return std::visit([](const auto& values) { return std::ssize(values); }, values_);
    }

    /// The tokens [begin, end).
    TokenSpan part(std::int64_t begin, std::int64_t end) const {
        return std::visit(
            [=](const auto& values) -> TokenSpan {
                return std::span(values).subspan(static_cast<std::size_t>(begin),
                                                 static_cast<std::size_t>(end - begin));
            },
            values_);
    }

    /// Copies `count` tokens from `begin` on; returns the end of what was written.
    std::int64_t* copy(std::int64_t begin, std::int64_t count, std::int64_t* out) const {
        return std::visit([=](const auto& values) { return std::copy_n(values.data() + begin, count, out); }, values_);
    }

private:
    Values values_;
};

}  // namespace headscope::experiments
