#include "experiments/tasks/byte_pair.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <functional>
#include <queue>

#include "experiments/base/errors.h"
#include "experiments/tasks/utf8.h"

namespace headscope::experiments {

namespace {

using Token = std::int32_t;

std::uint64_t pair_of(Token a, Token b) {
    return (static_cast<std::uint64_t>(a) << 32U) | static_cast<std::uint64_t>(b);
}
Token first_of(std::uint64_t pair) { return static_cast<Token>(pair >> 32U); }
Token second_of(std::uint64_t pair) { return static_cast<Token>(pair & 0xFFFFFFFFU); }

/// Length of the piece that `text` begins with.
std::size_t piece_length(std::string_view text) {
    if (text.front() == '\n') return 1;
    return std::min(text.find_first_of(" \n", 1), text.size());
}

template <class Use>
void for_each_piece(std::string_view text, Use&& use) {
    while (!text.empty()) {
        const std::size_t length = piece_length(text);
        use(text.substr(0, length));
        text.remove_prefix(length);
    }
}

/// Rows of tokens in which neighbours are joined in place: a token that was joined to the one before it is skipped by
/// the links. A place is the index of a token's first byte.
struct Chain {
    static constexpr std::int32_t none = -1;
    std::vector<Token> token;
    std::vector<std::int32_t> before, after;  ///< none at the ends of a row

    void add_row(std::string_view bytes, const std::vector<Token>& token_of_byte) {
        const auto first = static_cast<std::int32_t>(token.size());
        const auto last = first + static_cast<std::int32_t>(bytes.size()) - 1;
        for (std::int32_t i = first; i <= last; ++i) {
            token.push_back(token_of_byte[static_cast<unsigned char>(bytes[static_cast<std::size_t>(i - first)])]);
            before.push_back(i == first ? none : i - 1);
            after.push_back(i == last ? none : i + 1);
        }
    }

    Token at(std::int32_t place) const { return token[static_cast<std::size_t>(place)]; }
    std::int32_t previous(std::int32_t place) const { return before[static_cast<std::size_t>(place)]; }
    std::int32_t next(std::int32_t place) const { return after[static_cast<std::size_t>(place)]; }

    /// Does `pair` begin here? Never true of a place that was joined to the one before it.
    bool holds(std::int32_t place, std::uint64_t pair) const {
        return at(place) == first_of(pair) && next(place) != none && at(next(place)) == second_of(pair);
    }

    void join(std::int32_t place, Token made) {
        const std::int32_t gone = next(place);
        const std::int32_t rest = next(gone);
        token[static_cast<std::size_t>(place)] = made;
        token[static_cast<std::size_t>(gone)] = none;
        after[static_cast<std::size_t>(place)] = rest;
        if (rest != none) before[static_cast<std::size_t>(rest)] = place;
    }
};

}  // namespace

BytePairs::BytePairs(std::string_view training, std::string_view alphabet, std::int64_t vocab_size)
    : token_of_byte_(256, -1) {
    std::array<bool, 256> occurs{};
    for (const std::string_view text : {training, alphabet})
        for (const char byte : text) occurs[static_cast<unsigned char>(byte)] = true;
    for (std::size_t byte = 0; byte < occurs.size(); ++byte) {
        if (!occurs[byte]) continue;
        token_of_byte_[byte] = static_cast<Token>(bytes_.size());
        bytes_.emplace_back(1, static_cast<char>(byte));
    }
    singles_ = size();
    learn(training, vocab_size);
}

// Counts are kept up to date instead of counted anew for each token: a join touches only the pairs on either side of
// it, and equal pieces are held once with the number of times they occur.
void BytePairs::learn(std::string_view training, std::int64_t vocab_size) {
    std::unordered_map<std::string_view, std::size_t> row_of;
    std::vector<std::pair<std::string_view, std::int64_t>> rows;  // in order of first occurrence
    for_each_piece(training, [&](std::string_view piece) {
        const auto [found, is_new] = row_of.emplace(piece, rows.size());
        if (is_new) rows.emplace_back(piece, 0);
        ++rows[found->second].second;
    });

    struct Occurrences {
        std::int64_t count = 0;
        std::vector<std::int32_t> places;  // where the pair began once; it may be gone from there
    };
    std::unordered_map<std::uint64_t, Occurrences> pairs;
    // Most frequent first, then the smaller pair. An entry may be out of date: it is checked when it comes up.
    using Candidate = std::pair<std::int64_t, std::uint64_t>;
    const auto comes_later = [](const Candidate& a, const Candidate& b) {
        return a.first != b.first ? a.first < b.first : a.second > b.second;
    };
    std::priority_queue<Candidate, std::vector<Candidate>, decltype(comes_later)> candidates(comes_later);

    Chain chain;
    std::vector<std::int64_t> weight;  // of each place: how often its piece occurs
    for (const auto& [piece, count] : rows) {
        chain.add_row(piece, token_of_byte_);
        weight.resize(chain.token.size(), count);
    }
    const auto add = [&](std::int32_t place) {
        Occurrences& found = pairs[pair_of(chain.at(place), chain.at(chain.next(place)))];
        found.count += weight[static_cast<std::size_t>(place)];
        found.places.push_back(place);
    };
    const auto take_away = [&](std::int32_t place) {
        pairs[pair_of(chain.at(place), chain.at(chain.next(place)))].count -= weight[static_cast<std::size_t>(place)];
    };
    for (std::int32_t place = 0; place < std::ssize(chain.token); ++place)
        if (chain.next(place) != Chain::none) add(place);
    for (const auto& [pair, found] : pairs) candidates.emplace(found.count, pair);

    while (size() < vocab_size && !candidates.empty()) {
        const auto [count, pair] = candidates.top();
        candidates.pop();
        const std::int64_t now = pairs[pair].count;
        if (count != now) {
            if (now > 0) candidates.emplace(now, pair);
            continue;
        }
        if (count < 2) return;
        const auto made = static_cast<Token>(size());
        bytes_.push_back(bytes_[static_cast<std::size_t>(first_of(pair))] +
                         bytes_[static_cast<std::size_t>(second_of(pair))]);
        joined_[pair] = made;

        // From left to right: all of a pair's places were added in one pass, that which made the later of its tokens.
        const std::vector<std::int32_t> places = std::move(pairs[pair].places);
        std::vector<std::uint64_t> grown;
        for (const std::int32_t place : places) {
            if (!chain.holds(place, pair)) continue;
            const std::int32_t previous = chain.previous(place);
            const std::int32_t gone = chain.next(place);
            if (previous != Chain::none) take_away(previous);
            take_away(place);
            if (chain.next(gone) != Chain::none) take_away(gone);
            chain.join(place, made);
            if (previous != Chain::none) {
                add(previous);
                grown.push_back(pair_of(chain.at(previous), made));
            }
            if (chain.next(place) != Chain::none) {
                add(place);
                grown.push_back(pair_of(made, chain.at(chain.next(place))));
            }
        }
        std::ranges::sort(grown);
        grown.erase(std::unique(grown.begin(), grown.end()), grown.end());
        for (const std::uint64_t other : grown) candidates.emplace(pairs[other].count, other);
    }
}

std::vector<std::int32_t> BytePairs::encode_piece(std::string_view piece) const {
    Chain chain;
    chain.add_row(piece, token_of_byte_);
    // The token that was learnt first, and of equal ones the leftmost place.
    using Join = std::pair<Token, std::int32_t>;
    std::priority_queue<Join, std::vector<Join>, std::greater<>> joins;
    const auto look = [&](std::int32_t place) {
        if (place == Chain::none || chain.next(place) == Chain::none) return;
        const auto found = joined_.find(pair_of(chain.at(place), chain.at(chain.next(place))));
        if (found != joined_.end()) joins.emplace(found->second, place);
    };
    for (std::int32_t place = 0; place < std::ssize(chain.token); ++place) look(place);
    while (!joins.empty()) {
        const auto [made, place] = joins.top();
        joins.pop();
        // The pair may be gone from there.
        if (chain.at(place) == Chain::none || chain.next(place) == Chain::none) continue;
        const auto found = joined_.find(pair_of(chain.at(place), chain.at(chain.next(place))));
        if (found == joined_.end() || found->second != made) continue;
        chain.join(place, made);
        look(chain.previous(place));
        look(place);
    }
    std::vector<std::int32_t> tokens;
    for (const Token token : chain.token)
        if (token != Chain::none) tokens.push_back(token);
    return tokens;
}

std::vector<std::int32_t> BytePairs::encode(std::string_view text) const {
    std::vector<std::int32_t> tokens;
    encode(text, [&](std::span<const std::int32_t> piece) { tokens.insert(tokens.end(), piece.begin(), piece.end()); });
    return tokens;
}

void BytePairs::encode(std::string_view text,
                       const std::function<void(std::span<const std::int32_t> tokens)>& use) const {
    std::unordered_map<std::string_view, std::vector<std::int32_t>> known;
    for_each_piece(text, [&](std::string_view piece) {
        const auto [found, is_new] = known.try_emplace(piece);
        if (is_new) found->second = encode_piece(piece);
        use(found->second);
    });
}

std::string BytePairs::decode(const std::vector<std::int32_t>& tokens) const {
    std::string text;
    for (const Token token : tokens) text += bytes_[static_cast<std::size_t>(token)];
    return text;
}

std::size_t BytePairs::first_unknown(std::string_view text) const {
    for (std::size_t i = 0; i < text.size(); ++i)
        if (token_of_byte_[static_cast<unsigned char>(text[i])] < 0) return i;
    return std::string_view::npos;
}

std::string readable(std::string_view bytes) {
    std::string text;
    while (!bytes.empty()) {
        std::size_t length = std::min<std::size_t>(4, bytes.size());
        for (; length > 0; --length) {
            try {
                if (decode_utf8(bytes.substr(0, length), "token").size() <= 1) break;
            } catch (const UsageError&) {  // not a whole character: try a shorter one
            }
        }
        if (length == 0) text += fmt::format("<{:02X}>", static_cast<unsigned char>(bytes.front()));
        text += bytes.substr(0, length);
        bytes.remove_prefix(std::max<std::size_t>(1, length));
    }
    return text;
}

}  // namespace headscope::experiments
