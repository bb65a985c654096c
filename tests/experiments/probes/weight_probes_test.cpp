// The probes that compare weights of heads, on heads built by hand. (On random weights against NumPy:
// tests/oracle/test_weight_probes.py. Their nulls: weight_nulls_test.cpp.)
#include <cmath>
#include <limits>
#include <utility>

#include "tests/experiments/probes/hand_built_heads.h"

namespace headscope::experiments {
namespace {

using nn::Projection;
const double pi = std::acos(-1.0);

TEST(WeightCosine, OfHeadsBuiltByHand) {
    ProbeBench bench(shape(2, 3, 10, 4));
    // In layer 1: head 1 is -2 times head 0; head 2 shares one of head 0's two equal elements.
    for (const Projection p : nn::projections) {
        set_block(bench, 1, 0, p, {unit(10, 1), unit(10, 7)});
        set_block(bench, 1, 1, p, {unit(10, 1, -2), unit(10, 7, -2)});
        set_block(bench, 1, 2, p, {unit(10, 1, 3), unit(10, 6, 3)});
    }
    const std::vector<double> values = bench.measure("weight_cosine");
    for (std::size_t p = 0; p < 4; ++p) {
        const double* own = values.data() + (4 + p) * 9;
        const double expected[9] = {1, -1, 0.5, -1, 1, -0.5, 0.5, -0.5, 1};
        for (std::size_t i = 0; i < 9; ++i) EXPECT_NEAR(own[i], expected[i], 1e-15) << p << " " << i;
    }
}

TEST(WeightCosine, OfClonesIsExactlyOneAndOfNothingIsNotMeasured) {
    for (const DType dtype : {DType::f32, DType::f64}) {
        ProbeBench bench(shape(2, 3, 10, 4), dtype);
        for (const Projection p : nn::projections) {
            const nn::MultiHeadAttention& attention = bench.model.blocks[0]->attn;
            head_slice(attention, 2, p).assign(head_slice(attention, 0, p).values());
            head_slice(attention, 1, p).assign(Tensor::zeros(head_slice(attention, 1, p).values().shape(), dtype));
        }
        const std::vector<double> values = bench.measure("weight_cosine");
        for (std::size_t p = 0; p < 4; ++p) {
            EXPECT_EQ(values[p * 9 + 2], 1);
            EXPECT_EQ(values[p * 9 + 6], 1);
            EXPECT_TRUE(std::isnan(values[p * 9 + 1]));
            EXPECT_TRUE(std::isnan(values[p * 9 + 4]));
        }
    }
}

TEST(PrincipalAngles, AreThoseBuiltIn) {
    const std::vector<double> angles = {0.1, 0.7, 1.2, pi / 2};
    ProbeBench bench(shape(1, 3, 10, 4));
    Columns first, second;
    for (std::size_t m = 0; m < 4; ++m) {
        first.push_back(unit(10, m));
        second.push_back(unit(10, m, std::cos(angles[m])));
        second.back()[m + 4] = std::sin(angles[m]);
    }
    for (const Projection p : nn::projections) {
        set_block(bench, 0, 0, p, mixed(first, {1, 2, 3, 4}, "first"));
        set_block(bench, 0, 1, p, mixed(second, {5, 0.2, 1, 3}, "second"));
        set_block(bench, 0, 2, p, {unit(10, 1, 5), unit(10, 9), unit(10, 1)});  // two dimensions, one of them head 0's
    }
    const std::vector<double> values = bench.measure("principal_angles");
    const std::vector<double> overlaps = bench.measure("overlap");
    ASSERT_EQ(values.size(), 4u * 9u * 4u);
    for (std::size_t p = 0; p < 4; ++p) {
        const auto at = [&](std::size_t i, std::size_t j, std::size_t m) {
            return values[((p * 3 + i) * 3 + j) * 4 + m];
        };
        double squares = 0;
        for (std::size_t m = 0; m < 4; ++m) {
            EXPECT_NEAR(at(0, 1, m), angles[m], 1e-7);
            EXPECT_EQ(at(1, 0, m), at(0, 1, m));
            EXPECT_EQ(at(0, 0, m), 0);
            squares += std::pow(std::cos(angles[m]), 2) / 4;
        }
        EXPECT_NEAR(overlaps[p * 9 + 1], squares, 1e-12);
        EXPECT_NEAR(at(0, 2, 0), 0, 1e-7);
        EXPECT_NEAR(at(0, 2, 1), pi / 2, 1e-7);
        EXPECT_EQ(at(2, 2, 1), 0);
        for (const std::size_t other : {0u, 1u, 2u})
            EXPECT_TRUE(std::isnan(at(2, other, 2)) && std::isnan(at(other, 2, 3)));
        EXPECT_NEAR(overlaps[p * 9 + 2], 0.25, 1e-12);
        EXPECT_NEAR(overlaps[p * 9 + 8], 0.5, 1e-12);
    }
}

TEST(PrincipalAngles, OfHeadsWiderThanTheModelAreZero) {
    ProbeBench bench(shape(1, 2, 3, 5));
    const std::vector<double> values = bench.measure("principal_angles");
    ASSERT_EQ(values.size(), 4u * 4u * 3u);
    for (const double value : values) EXPECT_NEAR(value, 0, 1e-7);
}

TEST(OverlapTop, ComparesTheLargestDirectionsOnly) {
    ProbeBench bench(shape(1, 3, 14, 6));
    const auto directions = [](const std::vector<std::size_t>& axes) {
        Columns columns;
        for (const std::size_t axis : axes) columns.push_back(unit(14, axis));
        return columns;
    };
    for (const Projection p : nn::projections) {
        // Reflections on the right only: the lengths stay singular values.
        const auto stretched = [&](const std::vector<std::size_t>& axes, const std::vector<double>& lengths,
                                   const std::string& stream) {
            Columns columns = directions(axes);
            for (std::size_t i = 0; i < 6; ++i)
                for (double& value : columns[i]) value *= lengths[i];
            return mixed(columns, std::vector<double>(6, 1.0), stream);
        };
        set_block(bench, 0, 0, p, stretched({0, 1, 2, 3, 4, 5}, {6, 5, 4, 3, 0.5, 0.1}, "a"));
        set_block(bench, 0, 1, p, stretched({0, 1, 2, 3, 4, 5}, {1, 3, 4, 5, 6, 0.9}, "b"));  // 1 2 3 4 lead
        set_block(bench, 0, 2, p, {unit(14, 3, 2), unit(14, 13, 7)});                         // rank 2
    }
    const std::vector<double> values = bench.measure("overlap_top"), all = bench.measure("overlap");
    for (std::size_t p = 0; p < 4; ++p) {
        const double expected[9] = {1, 0.75, 0.25, 0.75, 1, 0.25, 0.25, 0.25, 0.5};
        for (std::size_t i = 0; i < 9; ++i) EXPECT_NEAR(values[p * 9 + i], expected[i], 1e-12) << p << " " << i;
        EXPECT_NEAR(all[p * 9 + 1], 1, 1e-12);
    }
}

TEST(GramOverlap, WeighsDirectionsByTheirEnergy) {
    ProbeBench bench(shape(1, 3, 10, 4));
    for (const Projection p : nn::projections) {
        set_block(bench, 0, 0, p, {unit(10, 0, 2), unit(10, 1, 1)});          // diag(4, 1, 0, ...)
        set_block(bench, 0, 1, p, {unit(10, 2, 3), {}, {}, unit(10, 0, 1)});  // diag(1, 0, 9, ...)
        set_block(bench, 0, 2, p, {});
    }
    const std::vector<double> values = bench.measure("gram_overlap");
    for (std::size_t p = 0; p < 4; ++p) {
        EXPECT_NEAR(values[p * 9 + 0], 1, 1e-15);
        EXPECT_NEAR(values[p * 9 + 1], 4 / std::sqrt(17.0 * 82.0), 1e-15);
        EXPECT_EQ(values[p * 9 + 3], values[p * 9 + 1]);
        EXPECT_TRUE(std::isnan(values[p * 9 + 8]));
        EXPECT_TRUE(std::isnan(values[p * 9 + 2]));
    }
}

TEST(CircuitCosine, KnowsCircuitsAndNotBases) {
    ProbeBench bench(shape(2, 3, 10, 4));
    const std::vector<double> diagonal = {1, 10, 100, 1000};
    std::vector<double> inverse;
    for (const double value : diagonal) inverse.push_back(1 / value);
    for (const auto& [left, right] :
         {std::pair(Projection::q, Projection::k), std::pair(Projection::v, Projection::o)}) {
        const Columns q = block_columns(bench, 1, 0, left), k = block_columns(bench, 1, 0, right);
        set_block(bench, 1, 1, left, mixed(q, diagonal, "R"));
        set_block(bench, 1, 1, right, mixed(k, inverse, "R"));
        Columns negated = q;
        for (auto& column : negated)
            for (double& value : column) value *= -3;
        set_block(bench, 1, 2, left, negated);
        set_block(bench, 1, 2, right, k);
        // Layer 0: e0 e1^T + e2 e3^T; e0 e1^T; e1 e0^T.
        set_block(bench, 0, 0, left, {unit(10, 0), unit(10, 2)});
        set_block(bench, 0, 0, right, {unit(10, 1), unit(10, 3)});
        set_block(bench, 0, 1, left, {unit(10, 0, 7)});
        set_block(bench, 0, 1, right, {unit(10, 1)});
        set_block(bench, 0, 2, left, {unit(10, 1)});
        set_block(bench, 0, 2, right, {unit(10, 0)});
    }
    const std::vector<double> values = bench.measure("circuit_cosine");
    ASSERT_EQ(values.size(), 2u * 2u * 9u);
    const double half = std::sqrt(0.5);
    const double expected[2][9] = {{1, half, 0, half, 1, 0, 0, 0, 1}, {1, 1, -1, 1, 1, -1, -1, -1, 1}};
    for (std::size_t layer = 0; layer < 2; ++layer)
        for (std::size_t c = 0; c < 2; ++c)
            for (std::size_t i = 0; i < 9; ++i)
                EXPECT_NEAR(values[(layer * 2 + c) * 9 + i], expected[layer][i], 1e-11)
                    << layer << " " << c << " " << i;
}

TEST(CircuitRanks, AreThoseOfTheSingularValues) {
    ProbeBench bench(shape(1, 3, 10, 4));
    for (const auto& [left, right] :
         {std::pair(Projection::q, Projection::k), std::pair(Projection::v, Projection::o)}) {
        set_block(bench, 0, 0, left, {unit(10, 5, 4), unit(10, 1, 1), {}, unit(10, 2, 2)});  // 8, 1, 0, 1
        set_block(bench, 0, 0, right, {unit(10, 9, 2), unit(10, 8, 1), unit(10, 7, 9), unit(10, 3, 0.5)});
        set_block(bench, 0, 1, left, {unit(10, 5, 4), unit(10, 1, 1), unit(10, 2, 1), unit(10, 3, 2)});  // all 4
        set_block(bench, 0, 1, right, {unit(10, 0, 1), unit(10, 1, 4), unit(10, 2, 4), unit(10, 3, 2)});
        set_block(bench, 0, 2, left, {});
    }
    const std::vector<double> stable = bench.measure("stable_rank"), effective = bench.measure("effective_rank");
    ASSERT_EQ(stable.size(), 6u);
    for (std::size_t c = 0; c < 2; ++c) {
        EXPECT_NEAR(stable[c], 66.0 / 64, 1e-12);
        EXPECT_NEAR(effective[c], std::exp(-0.8 * std::log(0.8) - 0.2 * std::log(0.1)), 1e-6);
        EXPECT_NEAR(stable[2 + c], 4, 1e-12);
        EXPECT_NEAR(effective[2 + c], 4, 1e-12);
        EXPECT_TRUE(std::isnan(stable[4 + c]) && std::isnan(effective[4 + c]));
    }
}

TEST(CircuitRanks, OfHeadsOneWideAreOne) {
    ProbeBench bench(shape(2, 3, 10, 1));
    for (const char* name : {"stable_rank", "effective_rank"})
        for (const double rank : bench.measure(name)) EXPECT_NEAR(rank, 1, 1e-12);
}

TEST(WeightProbes, SayNothingOfWeightsThatAreNotFinite) {
    ProbeBench bench(shape(2, 2, 10, 4));
    for (const nn::Parameter& parameter : bench.model.named_parameters())
        Tensor(parameter.tensor).fill_(std::numeric_limits<double>::quiet_NaN());
    for (const char* name :
         {"stable_rank", "effective_rank", "circuit_cosine", "composition", "gram_overlap", "weight_cosine"})
        for (const double value : bench.measure(name)) EXPECT_TRUE(std::isnan(value)) << name;
    const std::vector<double> overlaps = bench.measure("overlap"), top = bench.measure("overlap_top"),
                              angles = bench.measure("principal_angles");
    for (std::size_t i = 0; i < overlaps.size(); i += 4) {  // of heads 0 and 1
        EXPECT_TRUE(std::isnan(overlaps[i + 1]));
        EXPECT_TRUE(std::isnan(top[i + 1]));
        for (std::size_t m = 0; m < 4; ++m) EXPECT_TRUE(std::isnan(angles[(i + 1) * 4 + m]));
    }
}

TEST(Composition, OfHeadsWiredByHand) {
    ProbeBench bench(shape(3, 2, 10, 4));
    // Head 1 of layer 0 moves e0 to e5. Head 0 of layer 2 asks with e5, offers e6, moves (e5 + e6).
    set_block(bench, 0, 1, Projection::v, {{}, unit(10, 0, 3)});
    set_block(bench, 0, 1, Projection::o, {{}, unit(10, 5, 2)});
    std::vector<double> both = unit(10, 5);
    both[6] = 1;
    set_block(bench, 2, 0, Projection::q, {unit(10, 5, 2)});
    set_block(bench, 2, 0, Projection::k, {unit(10, 6, 7)});
    set_block(bench, 2, 0, Projection::v, {{}, {}, both});
    set_block(bench, 2, 0, Projection::o, {{}, {}, unit(10, 8, 7)});
    const std::vector<double> values = bench.measure("composition");
    ASSERT_EQ(values.size(), 3u * 2u * 3u * 2u * 3u);
    const auto at = [&](std::size_t layer, std::size_t head, std::size_t later, std::size_t other, std::size_t c) {
        return values[(((layer * 2 + head) * 3 + later) * 2 + other) * 3 + c];
    };
    EXPECT_NEAR(at(0, 1, 2, 0, 0), 1, 1e-12);
    EXPECT_NEAR(at(0, 1, 2, 0, 1), 0, 1e-12);
    EXPECT_NEAR(at(0, 1, 2, 0, 2), std::sqrt(0.5), 1e-12);
    for (std::size_t layer = 0; layer < 3; ++layer)
        for (std::size_t later = 0; later < 3; ++later)
            for (std::size_t heads = 0; heads < 12; ++heads) {
                const double value = at(layer, heads / 6, later, heads / 3 % 2, heads % 3);
                EXPECT_EQ(std::isnan(value), later <= layer) << layer << " " << later;
            }
}

TEST(Orthogonality, IsTheMeanOfOverlapAndItsDistanceFromTheNull) {
    ProbeBench bench(shape(2, 3, 10, 4));
    const std::vector<double> values = bench.measure("orthogonality"), overlaps = bench.measure("overlap");
    const MetricSpec pair = bench.spec("overlap"), spec = bench.spec("orthogonality");
    ASSERT_EQ(values.size(), 2u * 4u * 2u);
    EXPECT_NEAR(spec.null_std, pair.null_std / std::sqrt(3.0), 1e-15);
    for (std::size_t i = 0; i < 8; ++i) {
        const double mean = (overlaps[i * 9 + 1] + overlaps[i * 9 + 2] + overlaps[i * 9 + 5]) / 3;
        EXPECT_NEAR(values[i * 2], mean, 1e-15);
        EXPECT_NEAR(values[i * 2 + 1], (mean - 0.4) / spec.null_std, 1e-12);
    }
}

TEST(Orthogonality, WithoutOtherHeadsOrWithoutRoomIsNotMeasured) {
    ProbeBench alone(shape(1, 1, 10, 4)), wide(shape(1, 3, 4, 6));
    for (const double value : alone.measure("orthogonality")) EXPECT_TRUE(std::isnan(value));
    const std::vector<double> values = wide.measure("orthogonality");
    for (std::size_t p = 0; p < 4; ++p) {
        EXPECT_NEAR(values[p * 2], 1, 1e-12);
        EXPECT_TRUE(std::isnan(values[p * 2 + 1]));
    }
}

}  // namespace
}  // namespace headscope::experiments
