// The expected numbers are numpy's, from a few lines that follow the formulas of optim/muon.h:
//   def ns(G):
//       X = G.T if G.shape[0] > G.shape[1] else G
//       X = X / (np.linalg.norm(X) + 1e-7)
//       for _ in range(5): A = X @ X.T; X = 3.4445 * X + (-4.7750 * A + 2.0315 * A @ A) @ X
//       return X.T if G.shape[0] > G.shape[1] else X
//   p = np.array([.5, -1.25, 2., .25, -.75, 1.5]).reshape(shape); t = np.array([1., .25, -.75, .5, -1., 0.])...
//   for _ in range(4):
//       g = 3 * (p - t) ** 2; b = .95 * b + g; u = g + .95 * b
//       p = p * (1 - .05 * .1) - .05 * np.sqrt(max(1, shape[0] / shape[1])) * ns(u)
#include "optim/muon.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "tests/optim/problems.h"

namespace headscope::optim {
namespace {

constexpr std::array<double, 6> begin{0.5, -1.25, 2.0, 0.25, -0.75, 1.5}, target{1.0, 0.25, -0.75, 0.5, -1.0, 0.0};

struct Case {
    const char* name;
    Shape shape;
    std::array<double, 6> expected;
};

const Case cases[] = {
    {"wide",
     {2, 3},
     {0.48505261707320607, -1.3191128338910076, 1.8484293332460104, 0.2462218557868077, -0.5385224846617751,
      1.3746325354505475}},
    {"tall",
     {3, 2},
     {0.48804513186945614, -1.4220694332747519, 1.7886339512642655, 0.2518798202961899, -0.7331717242135574,
      1.2957032171805447}},
};

class MuonSteps : public ::testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(All, MuonSteps, ::testing::ValuesIn(cases), [](const auto& row) { return row.param.name; });

TEST_P(MuonSteps, AreNumpys) {
    for (const DType dtype : {DType::f64, DType::f32}) {
        Tensor p = Tensor::from<double>(GetParam().shape, begin).to(dtype);
        p.set_requires_grad();
        Muon muon({{{{"blocks.0.W", p}}, 0.05, 0.1}});
        for (int step = 0; step < 4; ++step) {
            const Tensor now = p.to(DType::f64);
            Tensor gradient = Tensor::empty(GetParam().shape, DType::f64);
            for (std::size_t i = 0; i < 6; ++i) {
                const double distance = now.values<double>()[i] - target[i];
                gradient.data<double>()[i] = 3 * distance * distance;
            }
            p.set_grad(gradient.to(dtype));
            muon.step();
        }
        const Tensor result = p.to(DType::f64);
        for (std::size_t i = 0; i < 6; ++i)
            EXPECT_NEAR(result.values<double>()[i], GetParam().expected[i], dtype == DType::f64 ? 1e-13 : 1e-5);
    }
}

TEST(Muon, UpdatesWhatIsNoBlockMatrixAsAdamW) {
    const AdamOptions options{.beta1 = 0.8, .beta2 = 0.95, .eps = 1e-4, .decoupled = true};
    std::vector<nn::Parameter> ours = random_parameters(), theirs = random_parameters();
    Muon muon({{ours, 1, 0.1}}, {.momentum = 0.9, .elsewhere = options});
    Adam adam({{{theirs[0], theirs[2]}, 0.02, 0.1}}, options);
    muon.set_lr(0.02);
    for (int step = 0; step < 3; ++step) {
        set_random_gradients(ours, step);
        set_random_gradients(theirs, step);
        muon.step();
        adam.step();
    }
    EXPECT_EQ(all_values({ours[0], ours[2]}), all_values({theirs[0], theirs[2]}));
    EXPECT_EQ(muon.state().size(), 7U);
    EXPECT_EQ(muon.state().at("blocks.0.weight/momentum_buffer").shape(), (Shape{211, 173}));
    EXPECT_EQ(muon.state().at("b.bias/step").item(), 3);
}

TEST(Muon, BringsSingularValuesNearOne) {
    const Tensor matrix = Tensor::from({2, 3}, {3, 0, 0, 0, 0.5, 0}, DType::f64);  // singular values 3 and .5
    const Tensor result = orthogonalise(matrix);
    EXPECT_NEAR(result.at({0, 0}), 1, 0.35);
    EXPECT_NEAR(result.at({1, 1}), 1, 0.35);
    for (const auto& [i, j] : {std::pair{0, 1}, {0, 2}, {1, 0}, {1, 2}}) EXPECT_EQ(result.at({i, j}), 0);
    const Tensor none = orthogonalise(Tensor::zeros({3, 2}));
    for (const float value : none.values<float>()) EXPECT_EQ(value, 0);
}

/// Rows 0 to 4 and 5 to 9 equal, as in the projections of cloned heads, and the same for columns.
TEST(Muon, CopiesStayCopies) {
    for (const bool rows : {true, false}) {
        for (const std::int64_t width : {7, 13}) {
            const std::int64_t copied = 5;
            const Shape shape = rows ? Shape{2 * copied, width} : Shape{width, 2 * copied};
            const RandomStream random(5, "copies");
            Tensor matrix = Tensor::empty(shape);
            for (std::int64_t i = 0; i < shape[0]; ++i) {
                for (std::int64_t j = 0; j < shape[1]; ++j) {
                    const std::int64_t source = rows ? i % copied * width + j : i * copied + j % copied;
                    matrix.data<float>()[i * shape[1] + j] =
                        static_cast<float>(random.normal(static_cast<std::uint64_t>(source)));
                }
            }
            const Tensor result = orthogonalise(matrix);
            for (std::int64_t i = 0; i < copied; ++i) {
                for (std::int64_t j = 0; j < width; ++j) {
                    if (rows) EXPECT_EQ(result.at({i, j}), result.at({i + copied, j}));
                    else EXPECT_EQ(result.at({j, i}), result.at({j, i + copied}));
                }
            }
        }
    }
}

TEST(Muon, RefusesWhatCannotBe) {
    const nn::Parameter p = cubic_parameter();
    EXPECT_THROW(Muon({{{p}}}, {.momentum = 1}), Error);
    EXPECT_THROW(Muon({{{p}}}, {.momentum = -0.1}), Error);
    EXPECT_THROW(Muon({{{p}}}, {.elsewhere = {.beta1 = 1}}), Error);
    EXPECT_THROW(orthogonalise(p.tensor), Error);
}

}  // namespace
}  // namespace headscope::optim
