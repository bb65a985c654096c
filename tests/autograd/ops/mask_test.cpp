// The named factories of Mask and their combination.
#include <gtest/gtest.h>

#include "autograd/ops/attention.h"
#include "tests/autograd/helpers.h"

namespace headscope {
namespace {

using test::same_bits;

TEST(Mask, Factories) {
    EXPECT_FALSE(Mask::none().is_causal());
    EXPECT_FALSE(Mask::none().tensor().defined());
    EXPECT_TRUE(Mask::causal().is_causal());
    EXPECT_FALSE(Mask::causal().tensor().defined());
    const Tensor valid = Tensor::from({2, 3}, {1, 1, 0, 1, 0, 0}, DType::boolean);
    EXPECT_FALSE(Mask::padding(valid).is_causal());
    EXPECT_TRUE(
        same_bits(Mask::padding(valid).tensor(), Tensor::from({2, 1, 1, 3}, {1, 1, 0, 1, 0, 0}, DType::boolean)));
    const Tensor visible = Tensor::from({1, 2, 1, 2}, {1, 0, 0, 1}, DType::boolean);
    EXPECT_TRUE(same_bits(Mask::visible(visible).tensor(), visible));
}

TEST(Mask, CombinationAllowsWhatBothAllow) {
    const Mask padding = Mask::padding(Tensor::from({2, 2}, {1, 1, 1, 0}, DType::boolean));
    const Mask visible = Mask::visible(Tensor::from({1, 1, 3, 2}, {1, 0, 0, 1, 1, 1}, DType::boolean));
    const Tensor expected = Tensor::from({2, 1, 3, 2}, {1, 0, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0}, DType::boolean);
    EXPECT_TRUE(same_bits((padding & visible).tensor(), expected));
    EXPECT_TRUE(same_bits((visible & padding).tensor(), expected));
    EXPECT_FALSE((padding & visible).is_causal());
    for (const Mask& mask : {Mask::causal() & padding, padding & Mask::causal()}) {
        EXPECT_TRUE(mask.is_causal());
        EXPECT_TRUE(same_bits(mask.tensor(), padding.tensor()));
    }
    EXPECT_TRUE((Mask::causal() & Mask::causal()).is_causal());
    EXPECT_FALSE((Mask::none() & Mask::none()).tensor().defined());
}

}  // namespace
}  // namespace headscope
