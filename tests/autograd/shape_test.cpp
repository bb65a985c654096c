#include "autograd/shape.h"

#include <gtest/gtest.h>

#include "tests/autograd/helpers.h"

namespace headscope {
namespace {

using test::error_of;

TEST(Shape, CountsAndIndexes) {
    const Shape shape{2, 10, 512};
    EXPECT_EQ(shape.rank(), 3);
    EXPECT_EQ(shape.numel(), 2 * 10 * 512);
    EXPECT_EQ(shape[1], 10);
    EXPECT_EQ(shape.size(0), 2);
    EXPECT_EQ(shape.size(-1), 512);
    EXPECT_EQ(shape.size(-3), 2);
    EXPECT_EQ(shape.axis(-2, "op"), 1);
    EXPECT_EQ(shape.str(), "[2, 10, 512]");
}

TEST(Shape, ScalarAndEmpty) {
    EXPECT_EQ(Shape{}.rank(), 0);
    EXPECT_EQ(Shape{}.numel(), 1);
    EXPECT_EQ(Shape{}.str(), "[]");
    EXPECT_EQ((Shape{3, 0, 2}).numel(), 0);
}

TEST(Shape, Equality) {
    EXPECT_TRUE((Shape{2, 3}) == (Shape{2, 3}));
    EXPECT_FALSE((Shape{2, 3}) == (Shape{3, 2}));
    EXPECT_FALSE((Shape{2, 3}) == (Shape{2, 3, 1}));
    EXPECT_FALSE(Shape{} == Shape{1});
}

TEST(Shape, RefusesWhatCannotBe) {
    EXPECT_EQ(error_of([] { Shape({1, 2, 3, 4, 5, 6, 7}); }), "shape: has 7 axes; a tensor has at most six");
    EXPECT_EQ(error_of([] { Shape({2, -3}); }), "shape: a size is negative; the shape is [2, -3]");
    EXPECT_EQ(error_of([] {
                  Shape({1L << 40, 1L << 40});
              }),
              "shape: has more elements than 64 bits count; the shape is [1099511627776, 1099511627776]");
    const Shape shape{2, 5};
    EXPECT_EQ(error_of([&] { shape.size(2); }), "size: there is no axis 2; the shape is [2, 5]");
    EXPECT_EQ(error_of([&] { shape.axis(-3, "sum"); }), "sum: there is no axis -3; the shape is [2, 5]");
}

TEST(Shape, Broadcasts) {
    EXPECT_EQ(broadcast_shapes({2, 1, 5}, {3, 1}, "op").str(), "[2, 3, 5]");
    EXPECT_EQ(broadcast_shapes({3, 1}, {2, 1, 5}, "op").str(), "[2, 3, 5]");
    EXPECT_EQ(broadcast_shapes({}, {4, 2}, "op").str(), "[4, 2]");
    EXPECT_EQ(broadcast_shapes({1}, {0}, "op").str(), "[0]");
    EXPECT_EQ(
        error_of([] {
            broadcast_shapes({2, 3}, {4, 3}, "mul");
        }),
        "mul: the shapes do not broadcast; a is [2, 3], b is [4, 3]; sizes of an axis, counted from the end, must "
        "be equal or 1");
    EXPECT_EQ(
        error_of([] {
            broadcast_shapes({3}, {2, 4}, "add");
        }),
        "add: the shapes do not broadcast; a is [3], b is [2, 4]; sizes of an axis, counted from the end, must be "
        "equal or 1");
}

TEST(Shape, BroadcastsTo) {
    EXPECT_TRUE(broadcasts_to({3, 1}, {2, 3, 5}));
    EXPECT_TRUE(broadcasts_to({}, {2}));
    EXPECT_TRUE(broadcasts_to({2, 3}, {2, 3}));
    EXPECT_FALSE(broadcasts_to({2, 3, 5}, {3, 5}));
    EXPECT_FALSE(broadcasts_to({2, 3}, {2, 1}));
    EXPECT_FALSE(broadcasts_to({4}, {2}));
}

}  // namespace
}  // namespace headscope
