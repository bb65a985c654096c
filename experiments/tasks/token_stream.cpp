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

/// Tokens of a stream that there is memory for.
std::int64_t most_tokens(std::int64_t vocab_size) {
    constexpr double unknown = 1LL << 36;
    return static_cast<std::int64_t>(available_memory().value_or(unknown) / 2) / TokenRow(vocab_size).bytes_per_token();
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

/// In the process that reads the file: sends the number of tokens, and then these as a TokenRow keeps them.
void send_stream(const std::string& path, const std::string& name, std::int64_t vocab_size, std::int64_t seq_len,
                 const SendBytes& send) {
    const hdf5::File file = hdf5::File::open(path);
    file.children("/");  // refuses links, which could make us read some other file
    check_stream(file, name, vocab_size, seq_len);
    const std::int64_t size = file.info("/tokens").shape[0];
    send({reinterpret_cast<const char*>(&size), sizeof size});
    std::int64_t first = 0;
    TokenRow tokens(vocab_size);
    file.read_pieces("/tokens", [&](std::span<const std::int64_t> values) {
        const auto wrong =
            std::ranges::find_if(values, [&](std::int64_t value) { return value < 0 || value >= vocab_size; });
        if (wrong != values.end())
            throw UsageError(fmt::format(
                "{}[{}] is {}, but task.vocab_size = {} allows 0 to {}; correct the value or task.vocab_size", name,
                first + (wrong - values.begin()), token_text(*wrong), vocab_size, vocab_size - 1));
        std::visit(
            [&]<class Token>(std::vector<Token>& narrow) {
                narrow.resize(values.size());
                std::ranges::transform(values, narrow.begin(),
                                       [](std::int64_t value) { return static_cast<Token>(value); });
            },
            tokens.values());
        const std::span<const std::byte> bytes = tokens.bytes();
        send({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
        first += std::ssize(values);
    });
}

bool all_below(const TokenRow& stream, std::int64_t vocab_size) {
    return std::visit(
        [=](auto tokens) {
            return std::ranges::all_of(tokens, [=](std::int64_t token) { return token >= 0 && token < vocab_size; });
        },
        stream.part(0, stream.size()));
}

}  // namespace

std::string sha256_of_stream(const TokenRow& stream) {
    Sha256 digest;
    const std::int64_t all = stream.size();
    digest.add(std::as_bytes(std::span(&all, 1)));
    std::array<std::int64_t, 4096> tokens;
    std::array<std::uint32_t, 4096> narrow;
    for (std::int64_t first = 0; first < all; first += std::ssize(tokens)) {
        const std::int64_t count = std::min(std::ssize(tokens), all - first);
        stream.copy(first, count, tokens.data());
        std::transform(tokens.data(), tokens.data() + count, narrow.data(),
                       [](std::int64_t token) { return static_cast<std::uint32_t>(token); });
        digest.add(std::as_bytes(std::span(narrow).first(static_cast<std::size_t>(count))));
    }
    return digest.hex();
}

TokenRow read_token_stream(const std::string& path, std::int64_t vocab_size, std::int64_t seq_len) {
    require_tokens_file(path, "/tokens");
    const std::string name = fmt::format("tokens: {}: /tokens", path);
    const IoError damaged(fmt::format("tokens: {} is damaged; make the file anew", path));
    std::optional<TokenRow> stream;
    std::size_t filled = 0;
    // Does not trust what it takes: a damaged file may have upset the process that reads it.
    const auto take = [&](std::string_view part) {
        if (!stream) {
            std::int64_t size = 0;
            if (part.size() != sizeof size) throw damaged;
            std::memcpy(&size, part.data(), sizeof size);
            if (size < seq_len + 1 || size > most_tokens(vocab_size)) throw damaged;
            stream.emplace(vocab_size).resize(size);
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
