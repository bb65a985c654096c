// The expected numbers are PyTorch's, from
//   p = torch.tensor([.5, -1.25, 2.], dtype=torch.float64, requires_grad=True)
//   t = torch.tensor([1., .25, -.75], dtype=torch.float64)
//   o = torch.optim.Adam([p], lr=.05, ...)      # or AdamW
//   for _ in range(4): o.zero_grad(); ((p - t) ** 3).sum().backward(); o.step()
#include "optim/adam.h"

#include <gtest/gtest.h>

#include <array>

#include "tests/optim/problems.h"

namespace headscope::optim {
namespace {

struct Case {
    const char* name;
    AdamOptions options;
    double weight_decay;
    std::array<double, 3> expected;
};

constexpr AdamOptions unusual{.beta1 = 0.8, .beta2 = 0.95, .eps = 1e-3, .decoupled = false};
constexpr AdamOptions unusual_decoupled{.beta1 = 0.8, .beta2 = 0.95, .eps = 1e-3, .decoupled = true};

const Case cases[] = {
    {"plain", {}, 0, {0.29969491048701441, -1.4504996166041295, 1.8004932435341201}},
    {"coupled_decay", unusual, 0.1, {0.29866948060662335, -1.4509283293446884, 1.8007631018496588}},
    {"adamw", unusual_decoupled, 0.1, {0.29025986168881623, -1.4245196099753941, 1.7627266654424252}},
};

class AdamSteps : public ::testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(All, AdamSteps, ::testing::ValuesIn(cases), [](const auto& row) { return row.param.name; });

TEST_P(AdamSteps, ArePyTorchs) {
    for (const DType dtype : {DType::f64, DType::f32}) {
        const nn::Parameter p = cubic_parameter(dtype);
        Adam adam({{{p}, 0.05, GetParam().weight_decay}}, GetParam().options);
        minimise_cubic(adam, p.tensor, 4);
        for (std::int64_t i = 0; i < 3; ++i)
            EXPECT_NEAR(p.tensor.at({i}), GetParam().expected[static_cast<std::size_t>(i)],
                        dtype == DType::f64 ? 1e-14 : 1e-6);
    }
}

TEST(Adam, StateHasPyTorchsNames) {
    const nn::Parameter p = cubic_parameter();
    Adam adam({{{p}}});
    minimise_cubic(adam, p.tensor, 3);
    ASSERT_EQ(adam.state().size(), 3U);
    EXPECT_EQ(adam.state().at("p/step").item(), 3);
    EXPECT_EQ(adam.state().at("p/exp_avg").dtype(), DType::f64);
    EXPECT_EQ(adam.state().at("p/exp_avg_sq").shape(), (Shape{3}));
}

TEST(Adam, RefusesWhatCannotBe) {
    const nn::Parameter p = cubic_parameter();
    EXPECT_THROW(Adam({{{p}}}, {.beta1 = 1}), Error);
    EXPECT_THROW(Adam({{{p}}}, {.beta2 = -0.1}), Error);
    EXPECT_THROW(Adam({{{p}}}, {.eps = -1e-8}), Error);
}

}  // namespace
}  // namespace headscope::optim
