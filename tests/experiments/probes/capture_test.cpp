#include "experiments/probes/capture.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>

#include "autograd/ops.h"
#include "autograd/parallel.h"
#include "experiments/probes/extra_pass.h"
#include "tests/experiments/probes/probe_helpers.h"

namespace headscope::experiments {
namespace {

bool same_bits(const Tensor& a, const Tensor& b) {
    if (!a.defined() || !b.defined()) return a.defined() == b.defined();
    return a.shape() == b.shape() && a.dtype() == b.dtype() &&
           std::memcmp(a.bytes(), b.bytes(), static_cast<std::size_t>(a.numel()) * size_of(a.dtype())) == 0;
}

std::string error_of(const std::function<void()>& body) {
    try {
        body();
    } catch (const Error& error) {
        return error.what();
    }
    return "";
}

/// The values of a capture by name.
std::vector<std::pair<std::string, Tensor>> values_of(const Capture& capture) {
    std::vector<std::pair<std::string, Tensor>> all{{"logits", capture.logits()}};
    for (std::int64_t l = 0; l < capture.num_layers(); ++l) {
        const LayerCapture& layer = capture.layer(l);
        for (const auto& [name, tensor] :
             {std::pair{"q", layer.q()}, std::pair{"k", layer.k()}, std::pair{"v", layer.v()},
              std::pair{"scores", layer.scores()}, std::pair{"weights", layer.weights()},
              std::pair{"head_out", layer.head_out()}, std::pair{"head_result", layer.head_result()}})
            all.emplace_back(std::to_string(l) + "." + name, tensor);
    }
    return all;
}

std::vector<std::pair<std::string, Tensor>> gradients_of(const Capture& capture) {
    std::vector<std::pair<std::string, Tensor>> all;
    for (std::int64_t l = 0; l < capture.num_layers(); ++l) {
        const LayerCapture& layer = capture.layer(l);
        for (const auto& [name, tensor] :
             {std::pair{"q", layer.grad_q()}, std::pair{"k", layer.grad_k()}, std::pair{"v", layer.grad_v()},
              std::pair{"scores", layer.grad_scores()}, std::pair{"weights", layer.grad_weights()},
              std::pair{"head_out", layer.grad_head_out()}, std::pair{"head_result", layer.grad_head_result()}})
            all.emplace_back(std::to_string(l) + "." + name, tensor);
    }
    return all;
}

TEST(Capture, HasTheShapesItPromises) {
    ProbeBench bench(small_model());
    const Capture capture(bench.model, bench.eval_batches[1], SequenceSource::evaluation, true);
    EXPECT_EQ(capture.logits().shape().str(), "[3, 6, 7]");
    EXPECT_EQ(&capture.model(), &bench.model);
    EXPECT_EQ(capture.batch().inputs.id(), bench.eval_batches[1].inputs.id());
    ASSERT_EQ(capture.num_layers(), 2);
    const LayerCapture& layer = capture.layer(1);
    for (const Tensor* tensor : {&layer.q(), &layer.k(), &layer.v(), &layer.head_out(), &layer.grad_q(),
                                 &layer.grad_k(), &layer.grad_v(), &layer.grad_head_out()})
        EXPECT_EQ(tensor->shape().str(), "[3, 3, 6, 4]");
    for (const Tensor* tensor : {&layer.scores(), &layer.weights(), &layer.grad_scores(), &layer.grad_weights()})
        EXPECT_EQ(tensor->shape().str(), "[3, 3, 6, 6]");
    for (const Tensor* tensor : {&layer.head_result(), &layer.grad_head_result()})
        EXPECT_EQ(tensor->shape().str(), "[3, 3, 6, 10]");
}

TEST(Capture, HasTheSameBitsWithAndWithoutGradientsForAnyNumberOfThreads) {
    nn::TransformerOptions options = small_model();
    options.block.d_ff = 9;
    options.block.dropout = 0.3;  // off while a capture is made
    ProbeBench bench(options, DType::f32);
    const int threads = num_threads();
    const Capture plain(bench.model, bench.batch, SequenceSource::evaluation, false);
    const Capture first(bench.model, bench.batch, SequenceSource::evaluation, true);
    for (const int count : {1, 2, 3}) {
        set_num_threads(count);
        const Capture capture(bench.model, bench.batch, SequenceSource::evaluation, true);
        const auto expected = values_of(plain), values = values_of(capture);
        for (std::size_t i = 0; i < values.size(); ++i)
            EXPECT_TRUE(same_bits(values[i].second, expected[i].second)) << values[i].first;
        const auto expected_gradients = gradients_of(first), gradients = gradients_of(capture);
        for (std::size_t i = 0; i < gradients.size(); ++i)
            EXPECT_TRUE(same_bits(gradients[i].second, expected_gradients[i].second)) << gradients[i].first;
    }
    set_num_threads(threads);
    bench.model.eval();
    EXPECT_TRUE(same_bits(plain.logits(), bench.model.forward(bench.batch.inputs).detach()));
}

TEST(Capture, LeavesGradientsAndModeAlone) {
    ProbeBench bench(small_model());
    const auto parameters = bench.model.named_parameters();
    std::vector<Tensor> before;
    std::vector<const double*> places;
    for (const nn::Parameter& parameter : parameters) {
        before.push_back(parameter.tensor.grad().clone());
        places.push_back(parameter.tensor.grad().data<double>());
    }
    for (const bool training : {true, false}) {
        bench.model.train(training);
        const Capture capture(bench.model, bench.batch, SequenceSource::evaluation, true);
        EXPECT_EQ(bench.model.is_training(), training);
        EXPECT_EQ(bench.model.blocks[1]->attn.is_training(), training);
    }
    Batch outside = bench.batch;
    outside.inputs = Tensor::full({2, 5}, 7, DType::i64);  // the vocabulary ends at 6
    bench.model.train();
    EXPECT_THROW(Capture(bench.model, outside, SequenceSource::evaluation, true), Error);
    EXPECT_TRUE(bench.model.is_training());
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        EXPECT_TRUE(same_bits(parameters[i].tensor.grad(), before[i])) << parameters[i].name;
        EXPECT_EQ(parameters[i].tensor.grad().data<double>(), places[i]) << "optimizers may know where it is";
    }
}

TEST(Capture, GradientsAreThoseOfEachSequencesOwnLoss) {
    ProbeBench bench(small_model());
    const Capture all(bench.model, bench.batch, SequenceSource::evaluation, true);
    for (std::int64_t b = 0; b < 4; ++b) {
        const MicroBatch own = split_batch(bench.batch, 4)[static_cast<std::size_t>(b)];
        const Capture one(bench.model, {own.inputs, own.targets, {}, {}}, SequenceSource::evaluation, true);
        const Tensor &from_all = all.layer(0).grad_k(), &from_one = one.layer(0).grad_k();
        double largest = 0;
        for (std::int64_t i = 0; i < from_one.numel(); ++i) {
            const double value = from_one.data<double>()[i];
            largest = std::max(largest, std::abs(value));
            EXPECT_NEAR(from_all.data<double>()[b * from_one.numel() + i], value, 1e-14);
        }
        EXPECT_GT(largest, 1e-6);
    }
}

TEST(Capture, HeadResultGradientPredictsTheLoss) {
    nn::TransformerOptions options = small_model();
    options.num_layers = 1;
    ProbeBench bench(options);
    const Capture capture(bench.model, bench.batch, SequenceSource::evaluation, true);
    const Tensor& gradient = capture.layer(0).grad_head_result();
    const auto loss = [&] {
        const NoGrad no_grad;
        double sum = 0;
        for (const MicroBatch& own : split_batch(bench.batch, 4))
            sum += cross_entropy(bench.model.forward(own.inputs), own.targets).item();
        return sum;
    };
    // W_o's bias moves the result at all positions: its gradient is the sum over them, whichever head one asks.
    Tensor bias = bench.model.blocks[0]->attn.W_o.bias;
    for (std::int64_t i = 0; i < 10; ++i) {
        double sum = 0;
        for (std::int64_t b = 0; b < 4; ++b)
            for (std::int64_t t = 0; t < 6; ++t) sum += gradient.at({b, i % 3, t, i});
        const double step = 1e-5, value = bias.data<double>()[i];
        bias.data<double>()[i] = value + step;
        const double above = loss();
        bias.data<double>()[i] = value - step;
        const double below = loss();
        bias.data<double>()[i] = value;
        EXPECT_NEAR((above - below) / (2 * step), sum, 1e-9) << i;
    }
}

TEST(Capture, HeadResultsAndBiasMakeTheOutput) {
    ProbeBench bench(small_model());
    Tensor input, middle;
    const nn::Guest look_input = bench.model.point("blocks.1.input").look([&](const Tensor& x) { input = x; });
    const nn::Guest look_middle = bench.model.point("blocks.1.middle").look([&](const Tensor& x) { middle = x; });
    bench.model.forward(bench.batch.inputs);
    const Capture capture(bench.model, bench.batch, SequenceSource::evaluation, false);
    const Tensor& result = capture.layer(1).head_result();
    const Tensor& bias = bench.model.blocks[1]->attn.W_o.bias;
    for (std::int64_t b = 0; b < 4; ++b)
        for (std::int64_t t = 0; t < 6; ++t)
            for (std::int64_t d = 0; d < 10; ++d) {
                double sum = input.at({b, t, d}) + bias.at({d});
                for (std::int64_t h = 0; h < 3; ++h) sum += result.at({b, h, t, d});
                EXPECT_NEAR(sum, middle.at({b, t, d}), 1e-13);
            }
}

TEST(Capture, GatesActOnTheHeadsOutput) {
    ProbeBench bench(small_model());
    nn::HeadGates gates(3);
    gates.to(DType::f64);
    for (std::int64_t h = 0; h < 3; ++h) gates.weight.data<double>()[h] = 0.5 + static_cast<double>(h);
    const nn::Guest guest = gates.attach(bench.model.blocks[1]->attn);
    const Capture capture(bench.model, bench.batch, SequenceSource::evaluation, true);
    EXPECT_FALSE(gates.weight.grad().defined());
    const LayerCapture& layer = capture.layer(1);
    const Tensor free = matmul(layer.weights(), layer.v());
    const Tensor through = matmul(layer.grad_head_out(), layer.v(), false, true);
    for (std::int64_t h = 0; h < 3; ++h) {
        EXPECT_NEAR(layer.head_out().at({2, h, 5, 1}), gates.weight.at({h}) * free.at({2, h, 5, 1}), 1e-14);
        EXPECT_NEAR(layer.grad_weights().at({2, h, 5, 1}), gates.weight.at({h}) * through.at({2, h, 5, 1}), 1e-14);
    }
    // What arrives at q through the scores: dq = dS k / sqrt(d_k).
    const Tensor expected = scale(matmul(layer.grad_scores(), layer.k()), 0.5);
    for (std::int64_t i = 0; i < expected.numel(); ++i)
        EXPECT_NEAR(layer.grad_q().data<double>()[i], expected.data<double>()[i], 1e-14);
}

TEST(Capture, ServesAttentionOfOnesOwn) {
    nn::TransformerOptions options = small_model();
    options.block.custom_attention = [](const Tensor& q, const Tensor& k, const Tensor& v,
                                        const AttentionOptions& attention_options) {
        return attention_unfused(q, k, v, attention_options);
    };
    ProbeBench own(options), built_in(small_model());
    const Capture capture(own.model, own.batch, SequenceSource::evaluation, true);
    const Capture expected(built_in.model, built_in.batch, SequenceSource::evaluation, true);
    for (std::int64_t i = 0; i < 20; ++i) {
        EXPECT_NEAR(capture.layer(0).weights().data<double>()[i], expected.layer(0).weights().data<double>()[i], 1e-13);
        EXPECT_NEAR(capture.layer(0).grad_weights().data<double>()[i],
                    expected.layer(0).grad_weights().data<double>()[i], 1e-13);
        EXPECT_NEAR(capture.layer(0).grad_q().data<double>()[i], expected.layer(0).grad_q().data<double>()[i], 1e-13);
    }
    EXPECT_NE(error_of([&] { capture.layer(0).grad_scores(); }).find("this one is custom"), std::string::npos);
}

TEST(Capture, RefusesWhatThereIsNot) {
    ProbeBench bench(small_model());
    const Capture plain(bench.model, bench.batch, SequenceSource::repeated, false);
    EXPECT_EQ(plain.source(), SequenceSource::repeated);
    for (const auto& ask :
         {&LayerCapture::grad_q, &LayerCapture::grad_k, &LayerCapture::grad_v, &LayerCapture::grad_scores,
          &LayerCapture::grad_weights, &LayerCapture::grad_head_out, &LayerCapture::grad_head_result})
        EXPECT_NE(error_of([&] { (plain.layer(0).*ask)(); }).find("without gradients"), std::string::npos);
    for (const auto& [kind, name] : {std::pair{AttentionKind::linear, "this one is linear"},
                                     std::pair{AttentionKind::uniform, "this one is uniform"}}) {
        nn::TransformerOptions options = small_model();
        options.block.attention = kind;
        ProbeBench other(options);
        const Capture capture(other.model, other.batch, SequenceSource::evaluation, true);
        EXPECT_NE(error_of([&] { capture.layer(0).grad_scores(); }).find(name), std::string::npos);
        EXPECT_EQ(capture.layer(0).grad_q().shape().str(), "[4, 3, 6, 4]");
        EXPECT_EQ(capture.layer(0).grad_q().at({0, 2, 4, 1}) == 0, kind == AttentionKind::uniform);
    }
}

TEST(ExtraPass, GivesTheStepsOwnGradients) {
    nn::TransformerOptions options = small_model();
    options.block.dropout = 0.3;
    options.block.d_ff = 9;
    ProbeBench bench(options, DType::f32);
    std::vector<std::vector<Tensor>> parts;
    for (const MicroBatch& micro : split_batch(bench.batch, 2))
        parts.push_back(gradients_of(bench.context(), micro.inputs, micro.targets, micro.weight,
                                     static_cast<std::int64_t>(parts.size())));
    const auto parameters = bench.model.named_parameters();
    ASSERT_EQ(parts[0].size(), parameters.size());
    for (std::size_t i = 0; i < parameters.size(); ++i)
        EXPECT_TRUE(same_bits(parameters[i].tensor.grad(), parts[0][i] + parts[1][i])) << parameters[i].name;
}

TEST(ExtraPass, GivesZerosWhereNothingFlows) {
    ProbeBench bench(small_model());
    const Tensor none = Tensor::full({4, 6}, -1, DType::i64);
    for (const Tensor& gradient : gradients_of(bench.context(), bench.batch.inputs, none, 1, 0)) {
        ASSERT_TRUE(gradient.defined());
        for (const double value : gradient.values<double>()) EXPECT_EQ(value, 0);
    }
}

}  // namespace
}  // namespace headscope::experiments
