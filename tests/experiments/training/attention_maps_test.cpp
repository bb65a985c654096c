// /attention of the log: which sequences it is about, what a row holds, and what it leaves alone.
#include "experiments/training/attention_maps.h"

#include <cmath>
#include <cstring>
#include <filesystem>

#include "experiments/storage/checkpoint.h"
#include "experiments/storage/hdf5.h"
#include "experiments/storage/log_seal.h"
#include "experiments/storage/run_folder.h"
#include "experiments/training/run.h"
#include "experiments/training/training_state.h"
#include "tests/experiments/probes/probe_helpers.h"
#include "tests/experiments/temporary_folder.h"

namespace headscope::experiments {
namespace {

constexpr std::int64_t T = 8, layers = 2, heads = 3;

/// Six sequences a batch, with dropout; what a test adds goes into [log].
Experiment experiment_with(const std::string& log, const std::string& train = "steps = 5") {
    return build_experiment(
        parse_config("name = \"x\"\n[task]\ntype = \"repeat\"\nvocab_size = 7\nseq_len = 8\n"
                     "[model]\nd_model = 12\nnum_heads = 3\nnum_layers = 2\nd_ff = 10\ndropout = 0.2\n"
                     "[optimizer]\nlr = 0.1\n[eval]\nbatches = 2\n[checkpoint]\nevery = 2\nkeep = 0\n"
                     "[train]\nbatch_size = 6\n" +
                         train + "\n[log]\n" + log,
                     "run.toml"));
}

class Maps : public testing::Test {
protected:
    std::string train_run(const std::string& name, const Experiment& experiment) const {
        const std::string folder = folder_.path(name);
        start_run(experiment, {.out = folder});
        return folder;
    }
    static hdf5::File log_of(const std::string& folder) { return open_log(RunPaths(folder).log); }
    static std::map<std::string, std::vector<double>> weights_after(const std::string& folder, std::int64_t step) {
        std::map<std::string, std::vector<double>> values;
        const Checkpoint checkpoint = load_checkpoint(RunPaths(folder).checkpoints + "/" + checkpoint_name(step));
        for (const auto& [name, tensor] : checkpoint.model)
            for (const float value : tensor.values<float>()) values[name].push_back(value);
        return values;
    }

    const TemporaryFolder folder_;
};

TEST_F(Maps, AreOfTheFirstEvaluationSequencesAtTheirSteps) {
    const Experiment experiment = experiment_with("attention = 2\nattention_samples = 8\n");
    const hdf5::File log = log_of(train_run("run", experiment));
    EXPECT_EQ(log.read<std::int64_t>("/attention/step"), (std::vector<std::int64_t>{0, 2, 4}));
    EXPECT_EQ(log.info("/attention/weights").shape, (hdf5::Dims{3, 8, layers, heads, T, T}));
    EXPECT_EQ(log.info("/attention/weights").type, hdf5::Type::f32);
    EXPECT_EQ(log.info("/attention/tokens").shape, (hdf5::Dims{8, T}));
    std::vector<std::int64_t> expected;  // six of the first batch, two of the second
    for (const std::int64_t batch : {0, 1}) {
        const Tensor tokens = experiment.task->eval_batch(batch, 6).inputs;
        const auto inputs = tokens.values<std::int64_t>();
        expected.insert(expected.end(), inputs.begin(), inputs.end());
    }
    expected.resize(static_cast<std::size_t>(8 * T));
    EXPECT_EQ(log.read<std::int64_t>("/attention/tokens"), expected);
    for (const auto& [scale, size] : std::map<std::string, std::int64_t>{
             {"sample", 8}, {"layer", layers}, {"head", heads}, {"query", T}, {"key", T}})
        EXPECT_EQ(log.info("/attention/" + scale).shape, (hdf5::Dims{size})) << scale;
    for (const char* name : {"/attention/weights", "/attention/tokens"}) {
        EXPECT_EQ(log.text_attribute(name, "units"), "1");
        EXPECT_FALSE(log.text_attribute(name, "long_name").empty());
    }
}

TEST_F(Maps, AreWhatTheModelDoesInEvaluationMode) {
    const Experiment experiment = experiment_with("attention = 2\nattention_samples = 3\n");
    const std::string folder = train_run("run", experiment);
    const std::vector<float> rows = log_of(folder).read<float>("/attention/weights");
    const std::size_t row = rows.size() / 3;

    const auto model = build_model(experiment);
    model->load_state_dict(load_checkpoint(RunPaths(folder).checkpoints + "/" + checkpoint_name(4)).model);
    model->eval();
    std::vector<Tensor> weights(layers);
    std::vector<nn::Guest> guests;
    for (std::size_t layer = 0; layer < layers; ++layer)
        guests.push_back(
            model->blocks[layer]->attn.weights.look([&weights, layer](const Tensor& seen) { weights[layer] = seen; }));
    const NoGrad no_grad;
    model->forward(experiment.task->eval_batch(0, 6).inputs);
    std::size_t at = 2 * row;
    for (std::int64_t sample = 0; sample < 3; ++sample)
        for (std::size_t layer = 0; layer < layers; ++layer)
            for (std::int64_t i = 0; i < heads * T * T; ++i) {
                const float expected = weights[layer].data<float>()[sample * heads * T * T + i];
                ASSERT_FLOAT_EQ(rows[at++], expected) << sample << " " << layer << " " << i;
            }
    EXPECT_EQ(at, rows.size());
    for (std::size_t query = 0; query < rows.size() / T; ++query) {
        double sum = 0;
        for (std::size_t key = 0; key < T; ++key) {
            sum += static_cast<double>(rows[query * T + key]);
            if (key > query % T) {
                ASSERT_EQ(rows[query * T + key], 0.0F) << "a key that is hidden";
            }
        }
        ASSERT_NEAR(sum, 1, 1e-6);
    }
}

TEST_F(Maps, ChangeNoBitOfTraining) {
    const std::string with = train_run("with", experiment_with("attention = 1\n")),
                      without = train_run("without", experiment_with("every = 10\n"));
    EXPECT_EQ(weights_after(with, 5), weights_after(without, 5));
    EXPECT_EQ(log_of(with).read<double>("/eval/loss"), log_of(without).read<double>("/eval/loss"));
    EXPECT_FALSE(log_of(without).has_group("/attention"));
    EXPECT_EQ(log_of(with).info("/attention/weights").shape[1], 4) << "samples unless told otherwise";
}

TEST_F(Maps, AreOfTheFirstTrainingBatchWithoutEvaluationDataAndFewerWhereThereAreFewer) {
    class NothingHeldOut : public RandomTask {
    public:
        using RandomTask::RandomTask;
        std::int64_t eval_batches(std::int64_t) const override { return 0; }
    };
    Experiment experiment =
        experiment_with("attention = 1\nattention_samples = 64\n", "dtype = \"float64\"\nsteps = 1");
    experiment.task = std::make_unique<NothingHeldOut>(7, T);
    const hdf5::File log = log_of(train_run("run", experiment));
    EXPECT_EQ(log.info("/attention/weights").shape, (hdf5::Dims{2, 6, layers, heads, T, T}));
    EXPECT_EQ(log.info("/attention/weights").type, hdf5::Type::f64);
    const Tensor inputs = experiment.task->train_batch(0, 6).inputs;
    const auto expected = inputs.values<std::int64_t>();
    EXPECT_EQ(log.read<std::int64_t>("/attention/tokens"), std::vector<std::int64_t>(expected.begin(), expected.end()));
}

TEST_F(Maps, GoOnAfterAResume) {
    const std::string whole = train_run("whole", experiment_with("attention = 1\n", "steps = 7"));
    const std::string run = train_run("run", experiment_with("attention = 1\n", "steps = 4"));
    // Rows of steps 2 to 4 are dropped and made again; the samples stay, whatever the config now says.
    std::filesystem::remove(RunPaths(run).checkpoints + "/" + checkpoint_name(4));
    resume_run(run, {"log.attention=1", "log.attention_samples=2", "train.steps=7"});
    const hdf5::File expected = log_of(whole), log = log_of(run);
    EXPECT_EQ(log.read<std::int64_t>("/attention/step"), (std::vector<std::int64_t>{0, 1, 2, 3, 4, 5, 6, 7}));
    EXPECT_EQ(log.read<std::int64_t>("/attention/tokens"), expected.read<std::int64_t>("/attention/tokens"));
    EXPECT_EQ(log.read<float>("/attention/weights"), expected.read<float>("/attention/weights"));
}

TEST_F(Maps, CanBeAskedForWhenARunIsResumed) {
    const std::string run = train_run("run", experiment_with("every = 1\n", "steps = 3"));
    resume_run(run, {"log.attention=2", "train.steps=6"});
    EXPECT_EQ(log_of(run).read<std::int64_t>("/attention/step"), (std::vector<std::int64_t>{4, 6}));
}

TEST_F(Maps, RefuseALogOfOtherSamples) {
    Log log(folder_.path("log.h5"));
    log.declare_attention({1, 2, 3, 4, 5, 6}, 3, layers, heads, false);
    EXPECT_EQ(log.attention_tokens(), (std::vector<std::int64_t>{1, 2, 3, 4, 5, 6}));
    EXPECT_THROW(log.declare_attention({1, 2, 3, 4, 5, 0}, 3, layers, heads, false), Error);
    EXPECT_THROW(log.declare_attention({1, 2, 3}, 3, layers, heads, false), Error);
}

TEST(AttentionKeys, AreChecked) {
    const auto error_of = [](const std::string& log) -> std::string {
        try {
            experiment_with(log);
        } catch (const Error& error) {
            return error.what();
        }
        return "";
    };
    EXPECT_EQ(error_of("attention = 0\nattention_samples = 64\n"), "");
    EXPECT_NE(error_of("attention = -1\n").find("log.attention"), std::string::npos);
    EXPECT_NE(error_of("attention_samples = 0\n").find("log.attention_samples"), std::string::npos);
    EXPECT_NE(error_of("attention_samples = 65\n").find("64"), std::string::npos);
    EXPECT_TRUE(may_change_on_resume("log.attention"));
}

}  // namespace
}  // namespace headscope::experiments
