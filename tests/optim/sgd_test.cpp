// The expected numbers are PyTorch's, from
//   p = torch.tensor([.5, -1.25, 2.], dtype=torch.float64, requires_grad=True)
//   t = torch.tensor([1., .25, -.75], dtype=torch.float64)
//   o = torch.optim.SGD([p], lr=.01, ...)
//   for _ in range(4): o.zero_grad(); ((p - t) ** 3).sum().backward(); o.step()
#include "optim/sgd.h"

#include <gtest/gtest.h>

#include <array>

#include "tests/optim/problems.h"

namespace headscope::optim {
namespace {

struct Case {
    const char* name;
    SgdOptions options;
    double weight_decay;
    std::array<double, 3> expected;
};

const Case cases[] = {
    {"plain", {}, 0, {0.46859770910372261, -1.560979440718441, 1.2778404393840168}},
    {"weight_decay", {}, 0.1, {0.46655240303596557, -1.5547279299672792, 1.2724569511540758}},
    {"momentum", {.momentum = 0.9}, 0, {0.42888665717415575, -1.9564305195856861, 0.36376240050116893}},
    {"momentum_and_decay", {.momentum = 0.9}, 0.1, {0.42425343504986157, -1.9421957582880938, 0.35156824179379687}},
    {"nesterov",
     {.momentum = 0.8, .nesterov = true},
     0.1,
     {0.40842531400080279, -2.159572604725311, 0.35784958392304206}},
};

class SgdSteps : public ::testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(All, SgdSteps, ::testing::ValuesIn(cases), [](const auto& row) { return row.param.name; });

TEST_P(SgdSteps, ArePyTorchs) {
    for (const DType dtype : {DType::f64, DType::f32}) {
        const nn::Parameter p = cubic_parameter(dtype);
        Sgd sgd({{{p}, 0.01, GetParam().weight_decay}}, GetParam().options);
        minimise_cubic(sgd, p.tensor, 4);
        for (std::int64_t i = 0; i < 3; ++i)
            EXPECT_NEAR(p.tensor.at({i}), GetParam().expected[static_cast<std::size_t>(i)],
                        dtype == DType::f64 ? 1e-14 : 1e-6);
    }
}

TEST(Sgd, KeepsStateOnlyWithMomentum) {
    const nn::Parameter p = cubic_parameter();
    EXPECT_TRUE(Sgd({{{p}}}).state().empty());
    Sgd sgd({{{p}}}, {.momentum = 0.9});
    minimise_cubic(sgd, p.tensor, 2);
    ASSERT_EQ(sgd.state().size(), 2U);
    EXPECT_EQ(sgd.state().at("p/step").item(), 2);
    EXPECT_EQ(sgd.state().at("p/momentum_buffer").shape(), (Shape{3}));
}

TEST(Sgd, RefusesWhatCannotBe) {
    const nn::Parameter p = cubic_parameter();
    EXPECT_THROW(Sgd({{{p}}}, {.momentum = 1}), Error);
    EXPECT_THROW(Sgd({{{p}}}, {.momentum = -0.1}), Error);
    EXPECT_THROW(Sgd({{{p}}}, {.nesterov = true}), Error);
}

}  // namespace
}  // namespace headscope::optim
