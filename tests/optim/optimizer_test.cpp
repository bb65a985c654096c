#include "optim/optimizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "autograd/graph.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/reduction.h"
#include "optim/adam.h"
#include "optim/clip.h"
#include "optim/muon.h"
#include "optim/rmsprop.h"
#include "optim/sgd.h"
#include "tests/autograd/helpers.h"
#include "tests/optim/problems.h"

namespace headscope::optim {
namespace {

struct Case {
    const char* name;
    std::function<std::unique_ptr<Optimizer>(std::vector<ParameterGroup>)> make;
};

const Case cases[] = {
    {"sgd", [](auto groups) { return std::make_unique<Sgd>(groups, SgdOptions{}); }},
    {"momentum",
     [](auto groups) {
         return std::make_unique<Sgd>(groups, SgdOptions{0.9, true});
     }},
    {"adam", [](auto groups) { return std::make_unique<Adam>(groups, AdamOptions{}); }},
    {"adamw", [](auto groups) { return std::make_unique<Adam>(groups, AdamOptions{.decoupled = true}); }},
    {"rmsprop", [](auto groups) { return std::make_unique<RmsProp>(groups, RmsPropOptions{}); }},
    {"muon", [](auto groups) { return std::make_unique<Muon>(groups, MuonOptions{}); }},
};

class AnyOptimizer : public ::testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(All, AnyOptimizer, ::testing::ValuesIn(cases), [](const auto& row) { return row.param.name; });

TEST_P(AnyOptimizer, SameBitsForAnyNumberOfThreads) {
    std::vector<float> expected;
    for (const int threads : {1, 2, 3, 5}) {
        const test::Threads limit(threads);
        std::vector<nn::Parameter> parameters = random_parameters();
        const auto optimizer = GetParam().make({{parameters, 0.02, 0.1}});
        for (int step = 0; step < 4; ++step) {
            set_random_gradients(parameters, step);
            optimizer->step();
        }
        const std::vector<float> got = all_values(parameters);
        if (threads == 1) expected = got;
        EXPECT_EQ(got, expected) << threads << " threads";
    }
}

TEST_P(AnyOptimizer, GoesOnFromSavedStateBitForBit) {
    std::vector<nn::Parameter> whole = random_parameters();
    const auto uninterrupted = GetParam().make({{whole, 0.02, 0.1}});
    std::vector<nn::Parameter> first = random_parameters();
    const auto stopped = GetParam().make({{first, 0.02, 0.1}});
    for (int step = 0; step < 7; ++step) {
        set_random_gradients(whole, step);
        uninterrupted->step();
        if (step >= 3) continue;
        set_random_gradients(first, step);
        stopped->step();
    }

    OptimizerState saved;
    for (const auto& [name, tensor] : stopped->state()) saved[name] = tensor.clone();
    std::vector<nn::Parameter> second = random_parameters();
    for (std::size_t i = 0; i < second.size(); ++i) second[i].tensor.copy_(first[i].tensor);
    const auto resumed = GetParam().make({{second, 0.02, 0.1}});
    resumed->load_state(saved);
    for (int step = 3; step < 7; ++step) {
        set_random_gradients(second, step);
        resumed->step();
    }
    EXPECT_EQ(all_values(second), all_values(whole));
}

TEST_P(AnyOptimizer, LeavesAloneWhatHasNoGradient) {
    std::vector<nn::Parameter> parameters = random_parameters();
    const std::vector<float> before = all_values(parameters);
    const auto optimizer = GetParam().make({{parameters, 0.02, 0.1}});
    set_random_gradients(parameters, 0);
    parameters[1].tensor.set_grad({});
    optimizer->step();
    const std::vector<float> after = all_values(parameters);
    const std::size_t begin = 13 * 5;
    const std::size_t end = begin + 211 * 173;
    for (std::size_t i = 0; i < after.size(); ++i) EXPECT_EQ(after[i] == before[i], i >= begin && i < end) << i;
}

TEST_P(AnyOptimizer, GroupsHaveTheirOwnSettings) {
    std::vector<nn::Parameter> together = random_parameters();
    std::vector<nn::Parameter> apart = random_parameters();
    const auto one = GetParam().make({{{together[0]}, 0.02, 0.1}, {{together[1], together[2]}, 0.5, 0}});
    const auto first = GetParam().make({{{apart[0]}, 0.02, 0.1}});
    const auto second = GetParam().make({{{apart[1], apart[2]}, 0.5, 0}});
    for (int step = 0; step < 3; ++step) {
        set_random_gradients(together, step);
        set_random_gradients(apart, step);
        one->step();
        first->step();
        second->step();
    }
    EXPECT_EQ(all_values(together), all_values(apart));
}

// Clipping within the update is clipping first and updating then, to the last bit.
TEST_P(AnyOptimizer, TakesTheScaleOfGradientsInTheSamePass) {
    std::vector<nn::Parameter> fused = random_parameters();
    std::vector<nn::Parameter> unfused = random_parameters();
    const auto one = GetParam().make({{fused, 0.02, 0.1}});
    const auto other = GetParam().make({{unfused, 0.02, 0.1}});
    for (int step = 0; step < 4; ++step) {
        set_random_gradients(fused, step);
        set_random_gradients(unfused, step);
        const double scale = 0.3 + 0.1 * step;
        one->step(scale);
        scale_gradients(unfused, scale);
        other->step();
        EXPECT_NE(fused[1].tensor.grad().at({0, 0}), unfused[1].tensor.grad().at({0, 0}));  // gradients stay
    }
    EXPECT_EQ(all_values(fused), all_values(unfused));
}

TEST(Optimizer, DropsGradientsSoThatTheFirstToArriveIsTakenOver) {
    Tensor p = Tensor::from({3}, {1, 2, 3});
    p.set_requires_grad();
    Sgd sgd({{{{"p", p}}}});
    backward(sum(mul(p, p)));
    backward(sum(mul(p, p)));
    EXPECT_EQ(p.grad().at({2}), 12);
    sgd.zero_grad();
    EXPECT_FALSE(p.grad().defined());
    backward(sum(mul(p, p)));
    EXPECT_EQ(p.grad().at({2}), 6);
}

TEST(Optimizer, SetsTheRateOfEveryGroupAndZeroesGradients) {
    std::vector<nn::Parameter> parameters = random_parameters();
    Sgd sgd({{{parameters[0]}, 0.1, 0}, {{parameters[1], parameters[2]}, 0.2, 0}});
    sgd.set_lr(0);
    set_random_gradients(parameters, 0);
    const std::vector<float> before = all_values(parameters);
    sgd.step();
    EXPECT_EQ(all_values(parameters), before);
    sgd.zero_grad(false);
    for (const nn::Parameter& parameter : parameters) {
        for (const float g : parameter.tensor.grad().values<float>()) EXPECT_EQ(g, 0);
    }
}

TEST(Optimizer, LoadStateIsStrictAndAllOrNothing) {
    std::vector<nn::Parameter> parameters = random_parameters();
    Adam adam({{{parameters[0], parameters[2]}}});
    set_random_gradients(parameters, 0);
    adam.step();
    const Tensor before = adam.state().at("a.weight/exp_avg").clone();

    OptimizerState state;
    for (const auto& [name, tensor] : adam.state()) state[name] = Tensor::full(tensor.shape(), 9, tensor.dtype());
    state.erase("b.bias/exp_avg");
    state["b.bias/momentum_buffer"] = Tensor::zeros({7});
    state["a.weight/exp_avg_sq"] = Tensor::zeros({5, 13});
    state["b.bias/step"] = Tensor::zeros({});
    try {
        adam.load_state(state);
        FAIL() << "accepted a state that does not fit";
    } catch (const Error& error) {
        EXPECT_STREQ(
            error.what(),
            "load_state: the state does not fit, nothing was loaded; missing: b.bias/exp_avg float32 [7]; "
            "unexpected: b.bias/momentum_buffer float32 [7]; mis-shaped: a.weight/exp_avg_sq is float32 [5, 13], "
            "the optimizer has float32 [13, 5], b.bias/step is float32 [], the optimizer has float64 []");
    }
    const auto now = adam.state().at("a.weight/exp_avg").values<float>();
    EXPECT_TRUE(std::equal(now.begin(), now.end(), before.values<float>().begin()));
}

TEST(Optimizer, RefusesWhatCannotBeOptimized) {
    const nn::Parameter p = cubic_parameter();
    EXPECT_THROW(Sgd(std::vector<ParameterGroup>{}), Error);
    EXPECT_THROW(Sgd(std::vector<ParameterGroup>(1)), Error);
    EXPECT_THROW(Sgd({{{p}}, {{p}}}), Error);
    EXPECT_THROW(Sgd({{{{"tokens", Tensor::zeros({3}, DType::i64)}}}}), Error);
}

}  // namespace
}  // namespace headscope::optim
