// Taking heads out of small models with random weights, against the same done by hand.
#include "experiments/analysis/ablation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "autograd/ops.h"
#include "autograd/parallel.h"
#include "experiments/analysis/rank_correlation.h"
#include "experiments/training/evaluation.h"
#include "tests/experiments/probes/probe_helpers.h"

namespace headscope::experiments {
namespace {

constexpr std::int64_t L = 2, H = 3;

AblationResult ablate(ProbeBench& bench, std::int64_t draws = 2) {
    return ablate_heads(bench.model, bench.task, bench.eval_batches, {.seed = ProbeBench::seed, .draws = draws});
}

Evaluation evaluate(ProbeBench& bench) { return evaluate(bench.model, bench.task, bench.eval_batches); }

void fill_block(ProbeBench& bench, std::int64_t layer, std::int64_t head, nn::Projection projection, double value) {
    const nn::HeadSlice block = head_slice(bench.model.blocks[static_cast<std::size_t>(layer)]->attn, head, projection);
    block.assign(Tensor::full({block.rows, block.cols}, value, block.weight.dtype()));
}

/// What a model has and a measurement may not change.
std::vector<std::byte> everything(ProbeBench& bench) {
    std::vector<std::byte> bytes;
    for (const nn::Parameter& parameter : bench.model.named_parameters())
        for (const Tensor& tensor : {parameter.tensor, parameter.tensor.grad()})
            bytes.insert(bytes.end(), tensor.bytes(),
                         tensor.bytes() + static_cast<std::size_t>(tensor.numel()) * size_of(tensor.dtype()));
    bytes.push_back(std::byte{bench.model.is_training()});
    const Tensor logits = bench.model.forward(bench.batch.inputs);
    bytes.insert(bytes.end(), logits.bytes(),
                 logits.bytes() + static_cast<std::size_t>(logits.numel()) * size_of(logits.dtype()));
    return bytes;
}

TEST(AblateHeads, BaselineIsTheEvaluation) {
    ProbeBench bench(small_model());
    const AblationResult result = ablate(bench);
    const Evaluation plain = evaluate(bench);
    EXPECT_NEAR(result.baseline.loss, plain.loss, 1e-12);
    ASSERT_EQ(result.baseline.class_loss.size(), 2u);
    for (const std::size_t c : {0U, 1U}) EXPECT_NEAR(result.baseline.class_loss[c], plain.class_loss[c], 1e-12);
    EXPECT_EQ(result.classes, (std::vector<std::string>{"a", "b"}));
    EXPECT_EQ(result.ablated.size(), 2u * 3 * 3);
    EXPECT_EQ(result.directions.size(), 2u * 3 * 2);
}

TEST(AblateHeads, ZeroIsABlockOfZerosInTheOutputProjection) {
    ProbeBench bench(small_model());
    const AblationResult result = ablate(bench);
    for (std::int64_t layer = 0; layer < L; ++layer)
        for (std::int64_t head = 0; head < H; ++head) {
            ProbeBench without(small_model());
            fill_block(without, layer, head, nn::Projection::o, 0);
            const Evaluation expected = evaluate(without);
            const Losses& losses = result.of(layer, head, Ablation::zero);
            EXPECT_NEAR(losses.loss, expected.loss, 1e-12);
            EXPECT_NEAR(losses.class_loss[1], expected.class_loss[1], 1e-12);
            EXPECT_NEAR(result.delta(layer, head, Ablation::zero), expected.loss - result.baseline.loss, 1e-12);
            EXPECT_GT(std::abs(result.delta(layer, head, Ablation::zero)), 1e-4);
        }
}

TEST(AblateHeads, AHeadThatNobodyHearsIsNotMissed) {
    ProbeBench bench(small_model());
    fill_block(bench, 1, 2, nn::Projection::o, 0);
    const AblationResult result = ablate(bench);
    for (const Ablation ablation : ablations) {
        EXPECT_EQ(result.delta(1, 2, ablation), 0) << name_of(ablation);
        EXPECT_NE(result.delta(1, 1, ablation), 0) << name_of(ablation);
    }
    EXPECT_NEAR(result.direction_delta(1, 2, 1), 0, 1e-12);
    EXPECT_GT(std::abs(result.direction_delta(1, 1, 1)), 1e-6);
}

TEST(AblateHeads, AConstantOutputHasItselfAsMean) {
    ProbeBench bench(small_model());
    fill_block(bench, 0, 1, nn::Projection::v, 0);  // what is left is the bias, at every position
    const AblationResult result = ablate(bench);
    EXPECT_NEAR(result.delta(0, 1, Ablation::mean), 0, 1e-12);
    EXPECT_NEAR(result.delta(0, 1, Ablation::resample), 0, 1e-12);
    EXPECT_GT(std::abs(result.delta(0, 1, Ablation::zero)), 1e-4);
    EXPECT_GT(std::abs(result.delta(0, 2, Ablation::mean)), 1e-4);
}

TEST(AblateHeads, TheSameSequenceAgainIsNoChange) {
    ProbeBench bench(small_model());
    for (Batch& batch : bench.eval_batches)
        for (std::int64_t i = 0; i < batch.inputs.numel(); ++i)
            batch.inputs.data<std::int64_t>()[i] = bench.batch.inputs.data<std::int64_t>()[i % 6];
    const AblationResult result = ablate(bench);
    for (std::int64_t head = 0; head < H; ++head) {
        EXPECT_EQ(result.delta(0, head, Ablation::resample), 0);
        EXPECT_GT(std::abs(result.delta(0, head, Ablation::mean)), 1e-4) << "positions still differ";
    }
}

/// Evaluates with what the heads of one layer say replaced, all batches at once: edited [5, 6, 12].
double loss_with_heads(ProbeBench& bench, std::size_t layer, const Tensor& edited) {
    nn::MultiHeadAttention& attention = bench.model.blocks[layer]->attn;
    std::int64_t begin = 0;
    const nn::Guest guest = attention.heads.edit([&](const Tensor& heads) {
        begin += heads.size(0);
        return slice(edited, 0, begin - heads.size(0), begin);
    });
    return evaluate(bench).loss;
}

TEST(AblateHeads, MeanAndResampleByHand) {
    ProbeBench bench(small_model());
    const AblationResult result = ablate(bench);
    for (std::size_t layer = 0; layer < 2; ++layer) {
        std::vector<Tensor> parts;
        for (const Batch& batch : bench.eval_batches) {
            const nn::Guest look =
                bench.model.blocks[layer]->attn.heads.look([&](const Tensor& heads) { parts.push_back(heads); });
            bench.model.eval();
            bench.model.forward(batch.inputs);
        }
        const Tensor heads = concat(parts, 0);  // [5, 6, 12]
        for (std::int64_t head = 0; head < H; ++head) {
            Tensor mean = heads.clone(), next = heads.clone();
            for (std::int64_t c = head * 4; c < head * 4 + 4; ++c) {
                double sum = 0;
                for (std::int64_t row = 0; row < 30; ++row) sum += heads.data<double>()[row * 12 + c];
                for (std::int64_t row = 0; row < 30; ++row) {
                    mean.data<double>()[row * 12 + c] = sum / 30;
                    next.data<double>()[row * 12 + c] = heads.data<double>()[(row + 6) % 30 * 12 + c];
                }
            }
            const auto l = static_cast<std::int64_t>(layer);
            EXPECT_NEAR(result.of(l, head, Ablation::mean).loss, loss_with_heads(bench, layer, mean), 1e-12);
            EXPECT_NEAR(result.of(l, head, Ablation::resample).loss, loss_with_heads(bench, layer, next), 1e-12);
        }
    }
}

TEST(AblateHeads, OneSequenceHasNoOtherToTakeFrom) {
    ProbeBench bench(small_model());
    bench.eval_batches = {random_batch(1, 6, 7, "alone")};
    std::int64_t calls = 0, promised = 0;
    const AblationResult result =
        ablate_heads(bench.model, bench.task, bench.eval_batches,
                     {.seed = 1, .draws = 2, .on_pass = [&](std::int64_t done, std::int64_t passes) {
                          EXPECT_EQ(done, ++calls);
                          promised = passes;
                      }});
    EXPECT_EQ(calls, promised);
    EXPECT_EQ(calls, 1 + 6 * (2 + 2));
    EXPECT_TRUE(std::isnan(result.delta(1, 0, Ablation::resample)));
    EXPECT_TRUE(std::isnan(result.of(1, 0, Ablation::resample).class_loss_refit[1]));
    EXPECT_TRUE(std::isnan(result.spearman[2]));
    EXPECT_FALSE(std::isnan(result.delta(1, 0, Ablation::mean)));
    bench.eval_batches.clear();
    EXPECT_THROW(ablate(bench), Error);
}

TEST(AblateHeads, ADirectionIsAsLongAsWhatTheHeadAdds) {
    nn::TransformerOptions options = small_model();
    options.block.d_ff = 9;
    ProbeBench bench(options);
    const AblationResult result = ablate(bench);
    for (std::int64_t head = 0; head < H; ++head) {
        const std::vector<double> u = random_direction(bench.model, ProbeBench::seed, 1, head, 1);
        double square = 0;
        for (const double value : u) square += value * value;
        EXPECT_NEAR(square, 1, 1e-12);
        nn::MultiHeadAttention& attention = bench.model.blocks[1]->attn;
        Tensor heads;
        const nn::Guest look = attention.heads.look([&](const Tensor& seen) { heads = seen; });
        nn::Guest guest = attention.output.edit([&](const Tensor& output) {
            Tensor edited = output.clone();
            for (std::int64_t row = 0; row < output.numel() / 10; ++row) {
                double norm = 0;
                for (std::int64_t i = 0; i < 10; ++i) {
                    double added = 0;
                    for (std::int64_t c = head * 4; c < head * 4 + 4; ++c)
                        added += attention.W_o.weight.at({i, c}) * heads.data<double>()[row * 12 + c];
                    norm += added * added;
                }
                for (std::int64_t i = 0; i < 10; ++i)
                    edited.data<double>()[row * 10 + i] -= std::sqrt(norm) * u[static_cast<std::size_t>(i)];
            }
            return edited;
        });
        EXPECT_NEAR(result.direction(1, head, 1).loss, evaluate(bench).loss, 1e-12);
        guest.leave();
        EXPECT_NEAR(result.direction_delta(1, head, 1), result.direction(1, head, 1).loss - result.baseline.loss, 0);
        EXPECT_NE(result.direction(1, head, 0).loss, result.direction(1, head, 1).loss);
    }
    const AblationResult more = ablate(bench, 4);
    EXPECT_EQ(more.direction(0, 2, 1).loss, result.direction(0, 2, 1).loss);
}

TEST(AblateHeads, ARefitNeverHurts) {
    ProbeBench bench(small_model());
    const AblationResult result = ablate(bench);
    const auto check = [](const Losses& losses) {
        EXPECT_LE(losses.loss_refit, losses.loss);
        EXPECT_LT(losses.loss_refit, std::log(7) + 1e-5);
        EXPECT_GT(losses.inverse_temperature, 0);
    };
    check(result.baseline);
    for (const Losses& losses : result.ablated) check(losses);
    for (const Losses& losses : result.directions) check(losses);

    bench.model.head->weight.copy_(bench.model.head->weight.detach() * 3);  // the same, three times as loud
    const AblationResult loud = ablate(bench);
    EXPECT_GT(loud.baseline.loss, result.baseline.loss);
    EXPECT_NEAR(loud.baseline.loss_refit, result.baseline.loss_refit, 1e-12);
    EXPECT_NEAR(loud.baseline.inverse_temperature * 3, result.baseline.inverse_temperature, 1e-9);
    EXPECT_NEAR(loud.of(1, 1, Ablation::mean).class_loss_refit[0], result.of(1, 1, Ablation::mean).class_loss_refit[0],
                1e-9);
}

TEST(AblateHeads, ControlsAndImportance) {
    ProbeBench bench(small_model());
    const AblationResult result = ablate(bench);
    for (std::int64_t layer = 0; layer < L; ++layer)
        for (std::int64_t head = 0; head < H; ++head) {
            const std::int64_t other = result.control_head[static_cast<std::size_t>(layer * H + head)];
            EXPECT_TRUE(other >= 0 && other < H && other != head) << other;
            EXPECT_EQ(result.control_delta(layer, head, Ablation::mean), result.delta(layer, other, Ablation::mean));
        }
    EXPECT_EQ(result.importance, bench.measure("importance"));
    std::vector<double> deltas;
    for (std::size_t i = 0; i < 6; ++i) deltas.push_back(result.ablated[i * 3 + 1].loss - result.baseline.loss);
    EXPECT_EQ(result.spearman[1], rank_correlation(result.importance, deltas));

    nn::TransformerOptions options = small_model();
    options.block.num_heads = 1;
    ProbeBench alone(options);
    const AblationResult one = ablate(alone);
    EXPECT_EQ(one.control_head, (std::vector<std::int64_t>{-1, -1}));
    EXPECT_TRUE(std::isnan(one.control_delta(1, 0, Ablation::zero)));
    EXPECT_TRUE(std::isnan(one.spearman[0])) << "two heads have no order worth naming";
}

TEST(AblateHeads, LeavesTheModelAlone) {
    nn::TransformerOptions options = small_model();
    options.block.dropout = 0.3;  // off in the passes
    ProbeBench bench(options);
    for (const bool training : {false, true}) {
        bench.model.train(training);
        const RandomScope random(3, 4);
        const std::vector<std::byte> before = everything(bench);
        const AblationResult first = ablate(bench);
        EXPECT_TRUE(everything(bench) == before);
        for (const std::int64_t last : {1, 2, 5}) {  // of the plain pass, of an edit of heads, of an output's
            const auto stop = [&](std::int64_t done, std::int64_t) {
                if (done == last) throw std::runtime_error("stopped");
            };
            EXPECT_THROW(
                ablate_heads(bench.model, bench.task, bench.eval_batches, {.seed = 1, .draws = 2, .on_pass = stop}),
                std::runtime_error);
            EXPECT_TRUE(everything(bench) == before) << last;
        }
        EXPECT_EQ(ablate(bench).ablated[4].loss, first.ablated[4].loss);
    }
}

TEST(AblateHeads, AnyNumberOfThreadsGivesTheSameBits) {
    ProbeBench bench(small_model(), DType::f32);
    const int threads = num_threads();
    const AblationResult first = ablate(bench);
    for (const int count : {1, 2, 3}) {
        set_num_threads(count);
        const AblationResult result = ablate(bench);
        for (std::size_t i = 0; i < first.ablated.size(); ++i) {
            EXPECT_EQ(result.ablated[i].loss, first.ablated[i].loss);
            EXPECT_EQ(result.ablated[i].loss_refit, first.ablated[i].loss_refit);
        }
        for (std::size_t i = 0; i < first.directions.size(); ++i)
            EXPECT_EQ(result.directions[i].loss, first.directions[i].loss);
        EXPECT_EQ(result.importance, first.importance);
    }
    set_num_threads(threads);
}

}  // namespace
}  // namespace headscope::experiments
