// grad_norm_circuit against its derivation: with gradients that are made from one G per circuit, it must be the norm of
// G behind the projector onto what the other factor spans.
#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "tests/experiments/probes/plain_blocks.h"

namespace headscope::experiments {
namespace {

using namespace plain;

Matrix transposed(const Matrix& a) {
    Matrix result(a[0].size(), std::vector<double>(a.size()));
    for (std::size_t i = 0; i < a.size(); ++i)
        for (std::size_t j = 0; j < a[0].size(); ++j) result[j][i] = a[i][j];
    return result;
}

Matrix product(const Matrix& a, const Matrix& b) {
    Matrix result(a.size(), std::vector<double>(b[0].size(), 0.0));
    for (std::size_t i = 0; i < a.size(); ++i)
        for (std::size_t k = 0; k < b.size(); ++k)
            for (std::size_t j = 0; j < b[0].size(); ++j) result[i][j] += a[i][k] * b[k][j];
    return result;
}

double frobenius_norm(const Matrix& a) {
    double squares = 0;
    for (const auto& row : a) squares += dot(row, row);
    return std::sqrt(squares);
}

/// Orthonormal rows that span the rows of a: Gram-Schmidt, each row cleaned twice; those below `tolerance` are dropped.
Matrix basis_of(const Matrix& a, double tolerance) {
    Matrix basis;
    for (std::vector<double> row : a) {
        for (int pass = 0; pass < 2; ++pass)
            for (const auto& other : basis) {
                const double share = dot(row, other);
                for (std::size_t i = 0; i < row.size(); ++i) row[i] -= share * other[i];
            }
        const double length = norm(row);
        if (length <= tolerance) continue;
        for (double& value : row) value /= length;
        basis.push_back(row);
    }
    return basis;
}

Matrix random_matrix(std::int64_t size, const std::string& stream) {
    const RandomStream random(5, stream);
    Matrix result;
    std::uint64_t number = 0;
    for (std::int64_t i = 0; i < size; ++i) {
        result.emplace_back();
        for (std::int64_t j = 0; j < size; ++j) result.back().push_back(random.normal(number++));
    }
    return result;
}

constexpr int partner[] = {1, 0, 3, 2};

std::string name_of_circuit(std::int64_t layer, std::int64_t head, int projection) {
    return std::to_string(layer) + "." + std::to_string(head) + (projection < 2 ? ".QK" : ".OV");
}

/// Gives the weights the gradients that they have when dL/dQK and dL/dOV are random: G W_k, G^T W_q, G W_o^T, W_v^T G.
void set_gradients(nn::Transformer& model) {
    for (std::int64_t layer = 0; layer < layers; ++layer)
        for (int projection = 0; projection < 4; ++projection) {
            const Tensor weight = weight_of(model, layer, projection);
            Tensor gradient = Tensor::empty(weight.shape(), DType::f64);
            for (std::int64_t head = 0; head < heads; ++head) {
                Matrix G = random_matrix(model.options().block.d_model, name_of_circuit(layer, head, projection));
                if (projection == 1 || projection == 3) G = transposed(G);
                const Matrix own =
                    product(G, matrix_of(weight_of(model, layer, partner[projection]), partner[projection], head));
                for (std::size_t d = 0; d < own.size(); ++d)
                    for (std::size_t k = 0; k < own[0].size(); ++k)
                        gradient.data<double>()[place(weight, projection, head, static_cast<std::int64_t>(d),
                                                      static_cast<std::int64_t>(k))] = own[d][k];
            }
            weight_of(model, layer, projection).set_grad(gradient.to(weight.dtype()));
        }
}

/// Expects ||G P||, P the projector onto the columns of the partner's block.
void expect_projected(nn::Transformer& model, double tolerance) {
    set_gradients(model);
    const RandomTask task(7, 6);
    const std::vector<Batch> batches;
    const std::vector<double> norms =
        make_probe("grad_norm_circuit")
            ->measure({.model = model, .step = 0, .seed = 5, .task = task, .eval_batches = batches});
    ASSERT_EQ(norms.size(), 24u);
    std::size_t index = 0;
    for (std::int64_t layer = 0; layer < layers; ++layer)
        for (std::int64_t head = 0; head < heads; ++head)
            for (int projection = 0; projection < 4; ++projection, ++index) {
                Matrix G = random_matrix(model.options().block.d_model, name_of_circuit(layer, head, projection));
                if (projection == 1 || projection == 3) G = transposed(G);
                const int other = partner[projection];
                const Matrix basis = basis_of(transposed(matrix_of(weight_of(model, layer, other), other, head)), 1e-9);
                const double expected = basis.empty() ? 0 : frobenius_norm(product(G, transposed(basis)));
                EXPECT_NEAR(norms[index], expected, tolerance * (1 + expected))
                    << "layer " << layer << " head " << head << " projection " << projection;
            }
}

std::unique_ptr<nn::Transformer> random_model(std::int64_t d_model, std::int64_t head_dim, DType dtype) {
    auto model = std::make_unique<nn::Transformer>(small_model(d_model, head_dim));
    model->to(dtype);
    fill_parameters(*model, "weights.");
    return model;
}

TEST(GradNormCircuit, IsTheGradientOfTheCircuitWithinReachOfTheFactor) {
    expect_projected(*random_model(10, 4, DType::f64), 1e-10);
    expect_projected(*random_model(6, 6, DType::f64), 1e-6);  // square matrices may be near to singular
    expect_projected(*random_model(10, 4, DType::f32), 1e-5);
}

TEST(GradNormCircuit, OfHeadsWiderThanTheModelIsTheWholeGradient) {
    expect_projected(*random_model(5, 7, DType::f64), 1e-10);
}

TEST(GradNormCircuit, HandlesFactorsOfLessThanFullRank) {
    for (const DType dtype : {DType::f64, DType::f32}) {
        const auto model = random_model(10, 4, dtype);
        const auto set = [&](int projection, std::int64_t head, std::int64_t to, std::int64_t from, double factor) {
            Tensor weight = weight_of(*model, 1, projection);
            for (std::int64_t d = 0; d < 10; ++d) {
                const std::int64_t i = place(weight, projection, head, d, to),
                                   j = place(weight, projection, head, d, from);
                if (dtype == DType::f64) weight.data<double>()[i] = factor * weight.data<double>()[j];
                else weight.data<float>()[i] = static_cast<float>(factor) * weight.data<float>()[j];
            }
        };
        for (int projection = 0; projection < 4; ++projection) {
            set(projection, 0, 2, 1, 1);  // head 0: columns 1 and 2 alike
            set(projection, 1, 3, 0, 0);  // head 1: columns 3 and 0 nothing
            set(projection, 1, 0, 0, 0);
            for (std::int64_t k = 0; k < 4; ++k) set(projection, 2, k, k, projection == 2 ? 0 : 1);  // a W_v^2 of zeros
        }
        expect_projected(*model, dtype == DType::f64 ? 1e-10 : 1e-5);
    }
}

// A gradient of a full-rank head that no G gives: sqrt of the trace of M (W^T W)^-1 M^T, here for d_k = 2.
TEST(GradNormCircuit, IsThePseudoInverseOfTheFactor) {
    const auto model = random_model(10, 2, DType::f64);
    for (const nn::Parameter& parameter : model->named_parameters()) {
        Tensor gradient = parameter.tensor.clone();
        fill_normal(gradient, "gradient." + parameter.name);
        Tensor(parameter.tensor).set_grad(gradient);
    }
    const RandomTask task(7, 6);
    const std::vector<Batch> batches;
    const std::vector<double> norms =
        make_probe("grad_norm_circuit")
            ->measure({.model = *model, .step = 0, .seed = 5, .task = task, .eval_batches = batches});
    std::size_t index = 0;
    for (std::int64_t layer = 0; layer < layers; ++layer)
        for (std::int64_t head = 0; head < heads; ++head)
            for (int projection = 0; projection < 4; ++projection, ++index) {
                const int other = partner[projection];
                const Matrix W = matrix_of(weight_of(*model, layer, other), other, head);
                const Matrix M = matrix_of(weight_of(*model, layer, projection).grad(), projection, head);
                const Matrix gram = product(transposed(W), W), square = product(transposed(M), M);
                const double determinant = gram[0][0] * gram[1][1] - gram[0][1] * gram[1][0];
                const double trace =
                    gram[1][1] * square[0][0] - 2 * gram[0][1] * square[0][1] + gram[0][0] * square[1][1];
                EXPECT_NEAR(norms[index], std::sqrt(trace / determinant), 1e-10 * norms[index]);
            }
}

// Below the tolerance a direction is rounding, above it counts.
TEST(GradNormCircuit, CountsWhatIsAboveTheRoundingOfTheWeights) {
    const RandomTask task(7, 6);
    const std::vector<Batch> batches;
    for (const double size : {1e-8, 1e-3}) {
        const auto model = random_model(10, 2, DType::f32);
        Tensor W_k = weight_of(*model, 0, 1);  // head 0: columns e_0 and size * e_1
        std::fill_n(W_k.data<float>(), 20, 0.0f);
        W_k.data<float>()[0] = 1;
        W_k.data<float>()[11] = static_cast<float>(size);
        Tensor gradient = Tensor::zeros(W_k.shape());
        gradient.data<float>()[3] = 2;  // of W_q: 2 e_3 and size * 5 e_4
        gradient.data<float>()[14] = static_cast<float>(5 * size);
        weight_of(*model, 0, 0).set_grad(gradient);
        const std::vector<double> norms =
            make_probe("grad_norm_circuit")
                ->measure({.model = *model, .step = 0, .seed = 5, .task = task, .eval_batches = batches});
        EXPECT_NEAR(norms[0], size < 1e-6 ? 2 : std::sqrt(29.0), 1e-6);
        EXPECT_EQ(norms[1], 0);  // no gradient
    }
}

}  // namespace
}  // namespace headscope::experiments
