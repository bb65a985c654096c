#include "experiments/tasks/token_row.h"

#include <gtest/gtest.h>

namespace headscope::experiments {
namespace {

/// Bytes that a token takes.
std::size_t width(TokenRow& row) {
    return std::visit([](const auto& values) { return sizeof(values[0]); }, row.values());
}

TEST(TokenRow, HoldsTheLargestTokenOfEachVocabulary) {
    const std::pair<std::int64_t, std::size_t> cases[] = {{1, 1},     {256, 1},   {257, 2},
                                                          {65536, 2}, {65537, 4}, {1114112, 4}};
    for (const auto& [vocab_size, bytes] : cases) {
        TokenRow row(vocab_size);
        EXPECT_EQ(width(row), bytes) << vocab_size;
        std::visit(
            [size = vocab_size]<class Token>(std::vector<Token>& values) {
                values = {0, static_cast<Token>(size - 1), static_cast<Token>(size / 2)};
            },
            row.values());
        EXPECT_EQ(row.size(), 3);
        std::vector<std::int64_t> copied(4, -1);
        EXPECT_EQ(row.copy(1, 2, copied.data() + 1), copied.data() + 3);
        EXPECT_EQ(copied, (std::vector<std::int64_t>{-1, vocab_size - 1, vocab_size / 2, -1}));
        const std::int64_t last = std::visit([](const auto& part) { return std::int64_t{part[0]}; }, row.part(2, 3));
        EXPECT_EQ(last, vocab_size / 2);
    }
}

}  // namespace
}  // namespace headscope::experiments
