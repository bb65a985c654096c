#include "experiments/tasks/token_stream.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>

#include "experiments/base/available_memory.h"
#include "experiments/base/errors.h"
#include "experiments/base/sha256.h"
#include "experiments/storage/child_process.h"
#include "experiments/storage/hdf5.h"
#include "experiments/tasks/token_values.h"

namespace headscope::experiments {

namespace {

/// Calls act(a zero of the unsigned type of so many bytes).
template <class Act>
void with_token_type(std::int64_t width, Act&& act) {
    if (width == 1) act(std::uint8_t{});
    else if (width == 2) act(std::uint16_t{});
    else act(std::uint32_t{});
}

/// Tokens of a stream that there is memory for.
std::int64_t most_tokens(std::int64_t vocab_size) {
    constexpr double unknown = 1LL << 36;
    return static_cast<std::int64_t>(available_memory().value_or(unknown) / 2) /
           TokenStream::bytes_per_token(vocab_size);
}

/// What a file of a stream must be. `name` is "tokens: FILE: /tokens".
void check_stream(const hdf5::File& file, const std::string& name, std::int64_t vocab_size, std::int64_t seq_len) {
    if (!file.has_dataset("/tokens"))
        throw UsageError(name + (file.has_dataset("/inputs")
                                     ? " is missing; for the batches in /inputs and /targets leave task.stream out"
                                     : " is missing; the file of a stream must hold /tokens, integers [n]"));
    const hdf5::DatasetInfo info = file.info("/tokens");
    if (!info.integers) throw UsageError(name + " is not of integers; write it as int64, or integers of another size");
    if (info.shape.size() != 1)
        throw UsageError(fmt::format("{} is [{}], of rank {}; write it as one row, [n]", name,
                                     fmt::join(info.shape, ", "), info.shape.size()));
    const std::int64_t size = info.shape[0];
    if (size < seq_len + 1)
        throw UsageError(fmt::format(
            "{} has {} tokens, and task.seq_len = {} needs {}: a window and the target of its last token; use a longer "
            "stream or a smaller task.seq_len",
            name, size, seq_len, seq_len + 1));
    if (size > most_tokens(vocab_size))
        throw UsageError(fmt::format("{} has {} tokens, more than there is memory for; split the file", name, size));
}

/// In the process that reads the file: sends the number of tokens, and then these as a TokenStream keeps them.
void send_stream(const std::string& path, const std::string& name, std::int64_t vocab_size, std::int64_t seq_len,
                 const SendBytes& send) {
    const hdf5::File file = hdf5::File::open(path);
    file.children("/");  // refuses links, which could make us read some other file
    check_stream(file, name, vocab_size, seq_len);
    const std::int64_t size = file.info("/tokens").shape[0];
    send({reinterpret_cast<const char*>(&size), sizeof size});
    std::int64_t first = 0;
    with_token_type(TokenStream::bytes_per_token(vocab_size), [&](auto zero) {
        using Token = decltype(zero);
        std::vector<Token> tokens;
        file.read_pieces("/tokens", [&](std::span<const std::int64_t> values) {
            const auto wrong =
                std::ranges::find_if(values, [&](std::int64_t value) { return value < 0 || value >= vocab_size; });
            if (wrong != values.end())
                throw UsageError(fmt::format(
                    "{}[{}] is {}, but task.vocab_size = {} allows 0 to {}; correct the value "
                    "or task.vocab_size",
                    name, first + (wrong - values.begin()), token_text(*wrong), vocab_size, vocab_size - 1));
            tokens.resize(values.size());
            std::ranges::transform(values, tokens.begin(),
                                   [](std::int64_t value) { return static_cast<Token>(value); });
            send({reinterpret_cast<const char*>(tokens.data()), tokens.size() * sizeof(Token)});
            first += std::ssize(values);
        });
    });
}

bool all_below(const TokenStream& stream, std::int64_t vocab_size) {
    std::array<std::int64_t, 4096> tokens;
    for (std::int64_t first = 0; first < stream.size(); first += std::ssize(tokens)) {
        const std::int64_t count = std::min(std::ssize(tokens), stream.size() - first);
        stream.copy(first, count, tokens.data());
        if (std::any_of(tokens.data(), tokens.data() + count, [&](std::int64_t token) { return token >= vocab_size; }))
            return false;
    }
    return true;
}

}  // namespace

TokenStream::TokenStream(std::int64_t size, std::int64_t vocab_size)
    : width_(bytes_per_token(vocab_size)), bytes_(static_cast<std::size_t>(size * width_)) {}

std::int64_t TokenStream::bytes_per_token(std::int64_t vocab_size) {
    return vocab_size <= 1 << 8 ? 1 : vocab_size <= 1 << 16 ? 2 : 4;
}

void TokenStream::copy(std::int64_t first, std::int64_t count, std::int64_t* out) const {
    with_token_type(width_, [&](auto token) {
        const std::byte* at = bytes_.data() + first * width_;
        for (std::int64_t i = 0; i < count; ++i, at += sizeof token) {
            std::memcpy(&token, at, sizeof token);
            out[i] = static_cast<std::int64_t>(token);
        }
    });
}

std::string TokenStream::sha256() const {
    Sha256 digest;
    const std::int64_t all = size();
    digest.add(std::as_bytes(std::span(&all, 1)));
    std::array<std::int64_t, 4096> tokens;
    std::array<std::uint32_t, 4096> narrow;
    for (std::int64_t first = 0; first < all; first += std::ssize(tokens)) {
        const std::int64_t count = std::min(std::ssize(tokens), all - first);
        copy(first, count, tokens.data());
        std::transform(tokens.data(), tokens.data() + count, narrow.data(),
                       [](std::int64_t token) { return static_cast<std::uint32_t>(token); });
        digest.add(std::as_bytes(std::span(narrow).first(static_cast<std::size_t>(count))));
    }
    return digest.hex();
}

TokenStream read_token_stream(const std::string& path, std::int64_t vocab_size, std::int64_t seq_len) {
    require_tokens_file(path, "/tokens");
    const std::string name = fmt::format("tokens: {}: /tokens", path);
    const IoError damaged(fmt::format("tokens: {} is damaged; make the file anew", path));
    std::optional<TokenStream> stream;
    std::size_t filled = 0;
    // Does not trust what it takes: a damaged file may have upset the process that reads it.
    const auto take = [&](std::string_view part) {
        if (!stream) {
            std::int64_t size = 0;
            if (part.size() != sizeof size) throw damaged;
            std::memcpy(&size, part.data(), sizeof size);
            if (size < seq_len + 1 || size > most_tokens(vocab_size)) throw damaged;
            stream.emplace(size, vocab_size);
            return;
        }
        const std::span<std::byte> room = stream->bytes().subspan(filled);
        if (part.size() > room.size()) throw damaged;
        std::memcpy(room.data(), part.data(), part.size());
        filled += part.size();
    };
    read_in_child(
        path, [&](const SendBytes& send) { send_stream(path, name, vocab_size, seq_len, send); }, take);
    if (!stream || filled != stream->bytes().size() || !all_below(*stream, vocab_size)) throw damaged;
    return std::move(*stream);
}

}  // namespace headscope::experiments
