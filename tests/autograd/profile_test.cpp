#include "autograd/profile.h"

#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <thread>

#include "autograd/graph.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/linear.h"
#include "autograd/ops/reduction.h"
#include "tests/autograd/helpers.h"

namespace headscope {
namespace {

using Phase = Profile::Phase;
using test::random_leaf;

Profile::Row row_of(const Profile& profile, Phase phase, const std::string& name) {
    for (const Profile::Row& row : profile.rows())
        if (row.phase == phase && row.name == name) return row;
    return {"", phase, 0, 0};
}

void wait(int milliseconds) { std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds)); }

TEST(Profile, CountsEveryOpForwardAndBackward) {
    const Tensor x = random_leaf({3, 4}, 1), w = random_leaf({5, 4}, 2);
    const Profile profile;
    const Tensor y = linear(x, w);
    backward(sum(mul(mul(y, y), y)));
    EXPECT_EQ(row_of(profile, Phase::forward, "linear").count, 1);
    EXPECT_EQ(row_of(profile, Phase::forward, "mul").count, 2);
    EXPECT_EQ(row_of(profile, Phase::backward, "linear").count, 1);
    EXPECT_EQ(row_of(profile, Phase::backward, "mul").count, 2);  // not the products that the backward of mul makes
    EXPECT_EQ(row_of(profile, Phase::backward, "leaf").count, 2);
    {
        const NoGrad no_grad;
        mul(y, y);
    }
    EXPECT_EQ(row_of(profile, Phase::forward, "mul").count, 2);
}

TEST(Profile, IsSilentWhereToldSo) {
    const Tensor x = random_leaf({3, 4}, 1);
    Profile profile;
    {
        const Profile::Silence silence;
        backward(sum(mul(x, x)));
        wait(20);
        Profile::mark(Phase::other, "unheard");
    }
    EXPECT_TRUE(profile.rows().empty());
    Profile::mark(Phase::other, "all of it");
    ASSERT_EQ(profile.rows().size(), 1U);
    EXPECT_GE(row_of(profile, Phase::other, "all of it").seconds, 0.020);
}

TEST(Profile, AllTimeLandsSomewhereAndNowhereTwice) {
    Profile profile;
    wait(30);
    Profile::mark(Phase::other, "first");
    wait(10);
    Profile::mark(Phase::other, "second");
    wait(30);
    Profile::mark(Phase::other, "first");
    const Profile::Row first = row_of(profile, Phase::other, "first"), second = row_of(profile, Phase::other, "second");
    EXPECT_EQ(first.count, 2);
    EXPECT_EQ(second.count, 1);
    EXPECT_GE(first.seconds, 0.060);
    EXPECT_GE(second.seconds, 0.010);
    ASSERT_EQ(profile.rows().size(), 2U);
    EXPECT_EQ(profile.rows()[0].name, first.seconds > second.seconds ? "first" : "second");
}

TEST(Profile, BelongsToItsThreadAndItsLifetime) {
    Profile::mark(Phase::other, "nobody listens");
    Profile outer;
    std::thread([] { Profile::mark(Phase::other, "another thread"); }).join();
    {
        const Profile inner;
        Profile::mark(Phase::other, "inside");
        EXPECT_EQ(row_of(inner, Phase::other, "inside").count, 1);
        wait(100);
    }
    Profile::mark(Phase::other, "after");
    ASSERT_EQ(outer.rows().size(), 1U);
    EXPECT_LT(row_of(outer, Phase::other, "after").seconds, 0.1);  // the time of the inner one is its own
}

}  // namespace
}  // namespace headscope
