#include "experiments/tasks/byte_pair.h"

#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <set>

#include "autograd/random.h"
#include "experiments/tasks/utf8.h"

namespace headscope::experiments {
namespace {

using Tokens = std::vector<std::int32_t>;

/// The definition, without any of the bookkeeping: pieces as rows, every pair counted anew for each token.
struct Naive {
    std::vector<std::string> bytes;
    std::vector<std::pair<std::int32_t, std::int32_t>> joins;
    std::int32_t singles = 0;

    static std::vector<std::string> pieces(const std::string& text) {
        std::vector<std::string> found;
        for (std::size_t i = 0; i < text.size(); ++i) {
            const bool alone = text[i] == '\n' || (i > 0 && text[i - 1] == '\n');
            if (i == 0 || alone || text[i] == ' ') found.emplace_back();
            found.back() += text[i];
        }
        return found;
    }

    static Tokens join(const Tokens& row, std::pair<std::int32_t, std::int32_t> pair, std::int32_t made) {
        Tokens out;
        for (std::size_t i = 0; i < row.size(); ++i) {
            const bool here = i + 1 < row.size() && row[i] == pair.first && row[i + 1] == pair.second;
            out.push_back(here ? made : row[i]);
            if (here) ++i;
        }
        return out;
    }

    Tokens singles_of(const std::string& piece) const {
        Tokens row;
        for (const char byte : piece)
            for (std::int32_t t = 0; t < singles; ++t)
                if (bytes[static_cast<std::size_t>(t)] == std::string(1, byte)) row.push_back(t);
        return row;
    }

    Naive(const std::string& text, std::size_t vocab_size) {
        std::set<unsigned char> alphabet(text.begin(), text.end());
        for (const unsigned char byte : alphabet) bytes.emplace_back(1, static_cast<char>(byte));
        singles = static_cast<std::int32_t>(bytes.size());
        std::vector<Tokens> rows;
        for (const std::string& piece : pieces(text)) rows.push_back(singles_of(piece));
        while (bytes.size() < vocab_size) {
            std::map<std::pair<std::int32_t, std::int32_t>, int> counts;
            for (const Tokens& row : rows)
                for (std::size_t i = 0; i + 1 < row.size(); ++i) ++counts[{row[i], row[i + 1]}];
            std::pair<std::int32_t, std::int32_t> best{};
            int most = 1;
            for (const auto& [pair, count] : counts) {  // in order of pairs: the first of equals stays
                if (count > most) {
                    best = pair;
                    most = count;
                }
            }
            if (most < 2) return;
            const auto made = static_cast<std::int32_t>(bytes.size());
            bytes.push_back(bytes[static_cast<std::size_t>(best.first)] + bytes[static_cast<std::size_t>(best.second)]);
            joins.push_back(best);
            for (Tokens& row : rows) row = join(row, best, made);
        }
    }

    Tokens encode(const std::string& text) const {
        Tokens all;
        for (const std::string& piece : pieces(text)) {
            Tokens row = singles_of(piece);
            for (std::size_t i = 0; i < joins.size(); ++i)
                row = join(row, joins[i], singles + static_cast<std::int32_t>(i));
            all.insert(all.end(), row.begin(), row.end());
        }
        return all;
    }
};

std::string random_text(std::int64_t size, const std::vector<std::string>& alphabet, std::uint64_t seed) {
    const RandomStream random(seed, "text");
    std::string text;
    for (std::int64_t i = 0; i < size; ++i)
        text += alphabet[random.below(alphabet.size(), static_cast<std::uint64_t>(i))];
    return text;
}

TEST(BytePairs, TokensByHand) {
    // Pieces "low" 1, " low" 2, " lower" 1: lo 4 times and ow 4 times; l < o, so lo first, then low.
    const BytePairs pairs("low low low lower", "", 9);
    EXPECT_EQ(pairs.single_bytes(), 6);
    EXPECT_EQ(pairs.bytes(), (std::vector<std::string>{" ", "e", "l", "o", "r", "w", "lo", "low", " low"}));
    EXPECT_EQ(pairs.first_unknown("slow low"), 0U);
    EXPECT_EQ(pairs.encode("lower low"), (Tokens{7, 1, 4, 8}));
}

TEST(BytePairs, AreThoseOfTheDefinition) {
    const std::vector<std::vector<std::string>> alphabets = {{"a", "b", " "},
                                                             {"a", "a", "a", "b"},
                                                             {"a", "b", "c", "d", "e", " ", "\n"},
                                                             {"秦", "始", "皇", "\n", "是"},
                                                             {"x"}};
    std::uint64_t seed = 0;
    for (const auto& alphabet : alphabets) {
        for (const std::int64_t size : {1, 37, 400}) {
            const std::string text = random_text(size, alphabet, ++seed), other = random_text(200, alphabet, ++seed);
            const Naive naive(text, 40);
            const BytePairs pairs(text, "", 40);
            EXPECT_EQ(pairs.bytes(), naive.bytes) << text;
            EXPECT_EQ(pairs.encode(text), naive.encode(text));
            if (pairs.first_unknown(other) == std::string::npos) {
                EXPECT_EQ(pairs.encode(other), naive.encode(other));
            }
        }
    }
}

TEST(BytePairs, DecodingGivesTheTextBack) {
    for (const std::string text :
         {"", " ", "\n", "a", "  two  spaces \n\n lines\n", "\t tab", "我是秦始皇 我是\n秦始皇"}) {
        for (const std::int64_t vocab_size : {1, 30, 60}) {
            const BytePairs pairs(text + " " + text, text, vocab_size);
            EXPECT_EQ(pairs.decode(pairs.encode(text)), text);
        }
    }
}

TEST(BytePairs, NoTokenCrossesASpaceOrALine) {
    const BytePairs pairs(random_text(3000, {"a", "b", " ", "\n"}, 5), "", 40);
    EXPECT_EQ(pairs.size(), 40);
    for (const std::string& bytes : pairs.bytes()) {
        EXPECT_EQ(bytes.find_first_of(" \n", 1), std::string::npos) << bytes;
        EXPECT_TRUE(bytes.front() != '\n' || bytes.size() == 1);
    }
}

TEST(BytePairs, HeldOutBytesAreTokensButTeachNothing) {
    const BytePairs pairs("abab", "zzzz", 50);
    EXPECT_EQ(pairs.bytes(), (std::vector<std::string>{"a", "b", "z", "ab"}));
    EXPECT_EQ(pairs.encode("zabz"), (Tokens{2, 3, 2}));
    EXPECT_EQ(pairs.first_unknown("abzqab"), 3U);
    EXPECT_EQ(pairs.first_unknown("abz"), std::string::npos);
}

TEST(BytePairs, ReadableIsAlwaysUtf8) {
    EXPECT_EQ(readable("秦"), "秦");
    EXPECT_EQ(readable("\xE7\xA7"), "<E7><A7>");
    EXPECT_EQ(readable("\xA6始\xE7"), "<A6>始<E7>");
    EXPECT_EQ(readable(" the\n"), " the\n");
    EXPECT_EQ(readable(""), "");
}

TEST(BytePairs, AreLearntFastAlsoFromOneLongPiece) {
    const auto start = std::chrono::steady_clock::now();
    std::vector<std::string> alphabet;
    for (char32_t i = 0; i < 300; ++i) alphabet.push_back(encode_utf8(0x4E00 + i));
    const std::string text = random_text(300000, alphabet, 9);  // no space: 900000 bytes in one piece
    const BytePairs pairs(text, "", 900);
    EXPECT_EQ(pairs.size(), 900);
    EXPECT_EQ(pairs.decode(pairs.encode(text)), text);
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(30));
}

}  // namespace
}  // namespace headscope::experiments
