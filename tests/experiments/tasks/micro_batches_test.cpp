#include "experiments/tasks/micro_batches.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace headscope::experiments {
namespace {

/// 6 sequences of 3 tokens; sequence 0 has one scored target, 1 two, 2 and 3 none, 4 three, 5 none.
Batch example() {
    Batch batch{Tensor::empty({6, 3}, DType::i64), Tensor::full({6, 3}, -1, DType::i64), {}, {}};
    for (std::int64_t i = 0; i < 18; ++i) batch.inputs.data<std::int64_t>()[i] = 100 + i;
    for (const std::int64_t i : {1, 3, 5, 12, 13, 14}) batch.targets.data<std::int64_t>()[i] = i;
    return batch;
}

std::vector<std::int64_t> values(const Tensor& tensor) {
    const auto all = tensor.values<std::int64_t>();
    return {all.begin(), all.end()};
}

TEST(MicroBatches, AreTheRowsInOrder) {
    const Batch batch = example();
    const std::vector<MicroBatch> parts = split_batch(batch, 3);
    ASSERT_EQ(parts.size(), 3U);
    EXPECT_EQ(parts[1].inputs.shape(), (Shape{2, 3}));
    EXPECT_EQ(values(parts[1].inputs), (std::vector<std::int64_t>{106, 107, 108, 109, 110, 111}));
    EXPECT_EQ(values(parts[2].targets), (std::vector<std::int64_t>{12, 13, 14, -1, -1, -1}));
}

TEST(MicroBatches, WeighByScoredTargets) {
    const Batch batch = example();
    const std::vector<MicroBatch> parts = split_batch(batch, 3);
    EXPECT_EQ(parts[0].weight, 0.5);
    EXPECT_EQ(parts[1].weight, 0);
    EXPECT_EQ(parts[2].weight, 0.5);
    EXPECT_EQ(split_batch(batch, 6)[1].weight, 2.0 / 6);
    EXPECT_EQ(split_batch(batch, 1)[0].weight, 1);

    Batch unscored = example();
    std::fill_n(unscored.targets.data<std::int64_t>(), 18, -1);
    EXPECT_EQ(split_batch(unscored, 2)[1].weight, 0.5);
}

TEST(MicroBatches, OnePartIsTheBatchItself) {
    const Batch batch = example();
    const std::vector<MicroBatch> parts = split_batch(batch, 1);
    EXPECT_EQ(parts[0].inputs.data<std::int64_t>(), batch.inputs.data<std::int64_t>());
}

TEST(MicroBatches, RefusesWhatDoesNotDivide) {
    EXPECT_THROW(split_batch(example(), 4), Error);
    EXPECT_THROW(split_batch(example(), 0), Error);
}

}  // namespace
}  // namespace headscope::experiments
