#include "optim/schedule.h"

#include <gtest/gtest.h>

#include "autograd/tensor.h"

namespace headscope::optim {
namespace {

TEST(Schedule, WarmUpIsLinear) {
    EXPECT_EQ(warmup_factor(0, 4), 0.25);
    EXPECT_EQ(warmup_factor(1, 4), 0.5);
    EXPECT_EQ(warmup_factor(3, 4), 1);
    EXPECT_EQ(warmup_factor(4, 4), 1);
    EXPECT_EQ(warmup_factor(0, 1), 1);
    EXPECT_EQ(warmup_factor(0, 0), 1);
}

TEST(Schedule, Constant) {
    EXPECT_EQ(ConstantSchedule(0).factor(0, 100), 1);
    EXPECT_EQ(ConstantSchedule(0).factor(99, 100), 1);
    EXPECT_EQ(ConstantSchedule(8).factor(5, 100), 0.75);
}

TEST(Schedule, CosineFallsFromOneToTheFinalRatio) {
    const CosineSchedule cosine(0, 0.1);
    EXPECT_DOUBLE_EQ(cosine.factor(0, 12), 1);
    EXPECT_DOUBLE_EQ(cosine.factor(4, 12), 0.1 + 0.9 * 0.75);  // cos 60 degrees is 1/2
    EXPECT_DOUBLE_EQ(cosine.factor(6, 12), 0.55);
    EXPECT_DOUBLE_EQ(cosine.factor(8, 12), 0.1 + 0.9 * 0.25);
    EXPECT_DOUBLE_EQ(cosine.factor(12, 12), 0.1);
}

TEST(Schedule, CosineIsMultipliedByTheWarmUp) {
    EXPECT_DOUBLE_EQ(CosineSchedule(10, 0).factor(4, 12), 0.5 * 0.75);
    EXPECT_DOUBLE_EQ(CosineSchedule(0, 0).factor(0, 0), 1);  // a run without steps
}

TEST(Schedule, LinearFallsFromOneToTheFinalRatio) {
    const LinearSchedule linear(0, 0.2);
    EXPECT_DOUBLE_EQ(linear.factor(0, 12), 1);
    EXPECT_DOUBLE_EQ(linear.factor(3, 12), 0.2 + 0.8 * 0.75);
    EXPECT_DOUBLE_EQ(linear.factor(12, 12), 0.2);
    EXPECT_DOUBLE_EQ(LinearSchedule(10, 0).factor(3, 12), 0.4 * 0.75);
    EXPECT_DOUBLE_EQ(LinearSchedule(0, 0).factor(0, 0), 1);
}

TEST(Schedule, NoamRisesThenFallsAsTheRoot) {
    const NoamSchedule noam(16, 64);  // d_model^-0.5 = 1/8, w^-1.5 = 1/64
    EXPECT_DOUBLE_EQ(noam.factor(0, 100), 1.0 / 8 / 64);
    EXPECT_DOUBLE_EQ(noam.factor(7, 100), 8.0 / 8 / 64);
    EXPECT_DOUBLE_EQ(noam.factor(15, 100), 1.0 / 8 / 4);  // the top: (d_model w)^-0.5
    EXPECT_DOUBLE_EQ(noam.factor(24, 100), 1.0 / 8 / 5);
    EXPECT_DOUBLE_EQ(noam.factor(99, 7), 1.0 / 8 / 10);
    EXPECT_DOUBLE_EQ(NoamSchedule(1, 4).factor(0, 0), 0.5);
    EXPECT_THROW(NoamSchedule(0, 64), Error);
    EXPECT_THROW(NoamSchedule(16, 0), Error);
}

}  // namespace
}  // namespace headscope::optim
