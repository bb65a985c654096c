// What probes are shown while a run goes on, at each stage of a step.
#include <cstring>
#include <functional>
#include <map>
#include <memory>

#include "experiments/config/config.h"
#include "experiments/probes/capture.h"
#include "experiments/probes/extra_pass.h"
#include "experiments/storage/hdf5.h"
#include "experiments/storage/log_seal.h"
#include "experiments/storage/run_folder.h"
#include "experiments/training/run.h"
#include "tests/experiments/probes/probe_helpers.h"
#include "tests/experiments/temporary_folder.h"

namespace headscope::experiments {
namespace {

/// What the spies of this file have seen, by step.
struct Seen {
    std::map<std::int64_t, std::vector<Tensor>> weights, gradients, before, after;
    std::map<std::int64_t, std::vector<std::int64_t>> captured;  ///< sequences of each capture
    std::map<std::int64_t, std::int64_t> tokens;
    bool gradients_add_up = true;
} seen;

bool same_bits(const Tensor& a, const Tensor& b) {
    return a.shape() == b.shape() &&
           std::memcmp(a.bytes(), b.bytes(), static_cast<std::size_t>(a.numel()) * size_of(a.dtype())) == 0;
}

std::vector<Tensor> weights_of(const nn::Transformer& model) {
    std::vector<Tensor> copies;
    for (const nn::Parameter& parameter : model.named_parameters()) copies.push_back(parameter.tensor.clone());
    return copies;
}

MetricSpec spy_spec(const std::string& name, const ProbeSetup& setup) {
    return {.name = name,
            .long_name = "a spy",
            .units = "1",
            .formula = "f",
            .source = "test",
            .invariance = "GL",
            .dimensions = {{"layer", setup.layers(), {}}},
            .value_labels = {"quiet", "loud"}};
}

class Spy : public Probe {
public:
    Spy(std::string name, ProbeStage stage, std::function<void(const ProbeContext&)> look)
        : name_(std::move(name)), stage_(stage), look_(std::move(look)) {}
    MetricSpec spec(const ProbeSetup& setup) const override { return spy_spec(name_, setup); }
    ProbeStage stage() const override { return stage_; }
    std::vector<double> measure(const ProbeContext& context) const override {
        look_(context);
        return std::vector<double>(static_cast<std::size_t>(context.model.num_layers()), 1.0);
    }

private:
    std::string name_;
    ProbeStage stage_;
    std::function<void(const ProbeContext&)> look_;
};

class CaptureSpy : public CaptureProbe {
    struct Count : Accumulator {
        explicit Count(std::int64_t s) : step(s) {}
        void add(const Capture& capture) override { seen.captured[step].push_back(capture.batch().inputs.size(0)); }
        std::vector<double> values() const override { return {0, 1}; }
        std::int64_t step;
    };

public:
    MetricSpec spec(const ProbeSetup& setup) const override { return spy_spec("spy_captures", setup); }
    std::vector<SequenceSource> sources() const override {
        return {SequenceSource::random_periods, SequenceSource::evaluation};
    }
    bool needs_activation_gradients() const override { return true; }
    std::unique_ptr<Accumulator> accumulate(const ProbeContext& context) const override {
        return std::make_unique<Count>(context.step);
    }
};

void look_at_gradients(const ProbeContext& context) {
    std::vector<std::vector<Tensor>> parts;
    for (const MicroBatch& micro : split_batch(*context.batch, context.micro_batches))
        parts.push_back(
            gradients_of(context, micro.inputs, micro.targets, micro.weight, static_cast<std::int64_t>(parts.size())));
    std::size_t i = 0;
    for (const nn::Parameter& parameter : context.model.named_parameters()) {
        seen.gradients[context.step].push_back(parameter.tensor.grad().clone());
        const Tensor sum = parts.at(0)[i] + parts.at(1)[i];
        seen.gradients_add_up = seen.gradients_add_up && same_bits(parameter.tensor.grad(), sum);
        ++i;
    }
    seen.tokens[context.step] = context.batch->inputs.numel();
}

void look_at_update(const ProbeContext& context) {
    for (const nn::Parameter& parameter : context.model.named_parameters())
        seen.before[context.step].push_back(context.before(parameter.tensor).clone());
    seen.after[context.step] = weights_of(context.model);
    EXPECT_THROW(context.before(Tensor::zeros({2})), Error);
    EXPECT_EQ(context.batch->inputs.size(0), 6);
}

RegisterProbe spy(const char* name, ProbeStage stage, std::function<void(const ProbeContext&)> look) {
    return RegisterProbe(name, [=] { return std::make_unique<Spy>(name, stage, look); });
}

const RegisterProbe weights_spy = spy("spy_weights", ProbeStage::weights, [](const ProbeContext& context) {
    seen.weights[context.step] = weights_of(context.model);
});
const RegisterProbe gradients_spy = spy("spy_gradients", ProbeStage::gradients, look_at_gradients);
const RegisterProbe update_spy = spy("spy_update", ProbeStage::update, look_at_update);
const RegisterProbe captures_spy("spy_captures", [] { return std::make_unique<CaptureSpy>(); });

TEST(ProbeStages, ShowWhatTheyPromise) {
    const TemporaryFolder parent;
    const std::string folder = parent.path("run");
    const Experiment experiment = build_experiment(
        parse_config("name = \"x\"\n[task]\ntype = \"repeat\"\nvocab_size = 7\nseq_len = 8\n"
                     "[model]\nd_model = 12\nnum_heads = 3\nnum_layers = 2\nd_ff = 10\ndropout = 0.2\n"
                     "[optimizer]\ntype = \"sgd\"\nlr = 0.25\nmomentum = 0\n"
                     "[train]\nsteps = 5\nbatch_size = 6\naccumulate = 2\n[eval]\nbatches = 3\n"
                     "[log.probes]\nspy_weights = 1\nspy_gradients = 1\nspy_update = 2\nspy_captures = 2\n",
                     "run.toml"));
    start_run(experiment, {.out = folder});

    EXPECT_EQ(seen.weights.size(), 6u);  // of the last update too
    EXPECT_EQ(seen.gradients.size(), 5u);
    EXPECT_TRUE(seen.gradients_add_up);
    EXPECT_EQ(seen.tokens[4], 6 * 8);
    ASSERT_EQ(seen.before.size(), 3u);  // steps 0, 2, 4
    for (const std::int64_t step : {0, 2, 4}) {
        ASSERT_EQ(seen.captured[step], (std::vector<std::int64_t>{6, 6, 6, 16}));
        for (std::size_t i = 0; i < seen.before[step].size(); ++i) {
            const Tensor &before = seen.before[step][i], &after = seen.after[step][i];
            EXPECT_TRUE(same_bits(before, seen.weights[step][i]));
            EXPECT_TRUE(same_bits(after, seen.weights[step + 1][i]));
            for (std::int64_t k = 0; k < before.numel(); ++k)  // plain gradient descent
                EXPECT_NEAR(after.data<float>()[k],
                            before.data<float>()[k] - 0.25f * seen.gradients[step][i].data<float>()[k], 1e-6f);
        }
    }
    EXPECT_EQ(seen.captured.size(), 3u);

    const hdf5::File log = open_log(RunPaths(folder).log);
    for (const std::string object : {"/heads/spy_update", "/heads/spy_update/value"})
        EXPECT_EQ(log.text_attribute(object, "value_labels"), "quiet, loud");
    EXPECT_EQ(log.read<std::int64_t>("/heads/spy_update/step"), (std::vector<std::int64_t>{0, 2, 4}));
    EXPECT_EQ(log.read<std::int64_t>("/heads/spy_weights/step"), (std::vector<std::int64_t>{0, 1, 2, 3, 4, 5}));
    EXPECT_EQ(log.read<double>("/heads/spy_captures/value"), (std::vector<double>{0, 1, 0, 1, 0, 1}));
}

}  // namespace
}  // namespace headscope::experiments
