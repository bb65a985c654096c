// The expected numbers are PyTorch's, from
//   p = torch.tensor([.5, -1.25, 2.], dtype=torch.float64, requires_grad=True)
//   t = torch.tensor([1., .25, -.75], dtype=torch.float64)
//   o = torch.optim.RMSprop([p], lr=.05, ...)
//   for _ in range(4): o.zero_grad(); ((p - t) ** 3).sum().backward(); o.step()
#include "optim/rmsprop.h"

#include <gtest/gtest.h>

#include <array>

#include "tests/optim/problems.h"

namespace headscope::optim {
namespace {

struct Case {
    const char* name;
    RmsPropOptions options;
    double weight_decay;
    std::array<double, 3> expected;
};

const Case cases[] = {
    {"plain", {}, 0, {-1.3589989193831467, -2.9492601756604477, 0.8700907912482437}},
    {"weight_decay", {}, 0.1, {-1.3554230406843868, -2.9507585482961196, 0.8695540855297103}},
    {"unusual", {.alpha = 0.9, .eps = 1e-3}, 0.1, {-0.03805596861598874, -1.743297301087501, 1.5712573521178628}},
};

class RmsPropSteps : public ::testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(All, RmsPropSteps, ::testing::ValuesIn(cases), [](const auto& row) { return row.param.name; });

TEST_P(RmsPropSteps, ArePyTorchs) {
    for (const DType dtype : {DType::f64, DType::f32}) {
        const nn::Parameter p = cubic_parameter(dtype);
        RmsProp rmsprop({{{p}, 0.05, GetParam().weight_decay}}, GetParam().options);
        minimise_cubic(rmsprop, p.tensor, 4);
        for (std::int64_t i = 0; i < 3; ++i)
            EXPECT_NEAR(p.tensor.at({i}), GetParam().expected[static_cast<std::size_t>(i)],
                        dtype == DType::f64 ? 1e-14 : 2e-6);
    }
}

TEST(RmsProp, StateHasPyTorchsNames) {
    const nn::Parameter p = cubic_parameter();
    RmsProp rmsprop({{{p}}});
    minimise_cubic(rmsprop, p.tensor, 3);
    ASSERT_EQ(rmsprop.state().size(), 2U);
    EXPECT_EQ(rmsprop.state().at("p/step").item(), 3);
    EXPECT_EQ(rmsprop.state().at("p/square_avg").shape(), (Shape{3}));
}

TEST(RmsProp, RefusesWhatCannotBe) {
    const nn::Parameter p = cubic_parameter();
    EXPECT_THROW(RmsProp({{{p}}}, {.alpha = 1}), Error);
    EXPECT_THROW(RmsProp({{{p}}}, {.alpha = -0.1}), Error);
    EXPECT_THROW(RmsProp({{{p}}}, {.eps = -1e-8}), Error);
}

}  // namespace
}  // namespace headscope::optim
