#include "experiments/tasks/token_row.h"

#include <gtest/gtest.h>

namespace headscope::experiments {
namespace {

TEST(TokenRow, HoldsTheLargestTokenOfEachVocabulary) {
    const std::pair<std::int64_t, std::int64_t> cases[] = {{1, 1},     {256, 1},   {257, 2},
                                                           {65536, 2}, {65537, 4}, {1114112, 4}};
    for (const auto& [vocab_size, bytes] : cases) {
        TokenRow row(vocab_size);
        EXPECT_EQ(row.bytes_per_token(), bytes) << vocab_size;
        std::visit(
            [size = vocab_size]<class Token>(std::vector<Token>& values) {
                values = {0, static_cast<Token>(size - 1), static_cast<Token>(size / 2)};
            },
            row.values());
        EXPECT_EQ(row.size(), 3);
        EXPECT_EQ(std::ssize(row.bytes()), 3 * bytes);
        std::vector<std::int64_t> copied(4, -1);
        EXPECT_EQ(row.copy(1, 2, copied.data() + 1), copied.data() + 3);
        EXPECT_EQ(copied, (std::vector<std::int64_t>{-1, vocab_size - 1, vocab_size / 2, -1}));
        const std::int64_t last = std::visit([](const auto& part) { return std::int64_t{part[0]}; }, row.part(2, 3));
        EXPECT_EQ(last, vocab_size / 2);
    }
}

}  // namespace
}  // namespace headscope::experiments
