// An attention and a position registered by code outside the project: read, checked, written, described and trained
// like ours.
#include <gtest/gtest.h>

#include <filesystem>

#include "autograd/ops/arithmetic.h"
#include "autograd/ops/indexing.h"
#include "experiments/cli/kinds.h"
#include "experiments/storage/checkpoint.h"
#include "experiments/storage/run_folder.h"
#include "experiments/training/run.h"
#include "experiments/training/training_state.h"
#include "tests/experiments/tasks/toy_task.h"
#include "tests/experiments/temporary_folder.h"

namespace headscope::experiments {
namespace {

/// Every query sees `width` keys, itself the last one, and the first `sinks` keys.
class WindowSettings : public AttentionSettings {
public:
    std::int64_t width = 4, sinks = 0;
    void fields(Fields& fields) override {
        fields.integer("width", width, "keys that a query sees", {.min = 1, .max = 100});
        fields.integer("sinks", sinks, "first keys that all see", {.min = 0});
    }
    std::vector<KeyProblem> check(const ModelSizes& sizes) const override {
        if (sizes.head_dim == 5) return {{"type", "knows no heads of 5"}};
        if (sinks <= width) return {};
        return {{"sinks", "must be at most model.attention.width"}};
    }
    bool takes_alibi() const override { return true; }
    void configure(nn::BlockOptions& options) const override {
        options.custom_attention = [width = width, sinks = sinks](const Tensor& q, const Tensor& k, const Tensor& v,
                                                                  AttentionOptions with) {
            const std::int64_t queries = q.size(1), keys = k.size(1);
            Tensor near = Tensor::zeros({1, 1, queries, keys}, DType::boolean);
            for (std::int64_t i = 0; i < queries; ++i)
                for (std::int64_t j = 0; j < keys; ++j)
                    near.data<std::uint8_t>()[i * keys + j] = j < sinks || (j <= i && j > i - width);
            with.mask = with.mask & Mask::visible(near);
            return attention_unfused(q, k, v, with);
        };
    }
};
const RegisterType<AttentionSettings> registered_window("window", "for tests",
                                                        [] { return std::make_unique<WindowSettings>(); });

/// Multiplies the embedding at every place by a trained number.
class Scales : public nn::PositionScheme {
public:
    Scales(std::int64_t max_len, double start)
        : scale_(register_parameter("scale", {max_len, 1}, nn::ParameterRole::scale)) {
        scale_.fill_(start);
    }
    Tensor add_to(const Tensor& embedded) override { return embedded * slice(scale_, 0, 0, embedded.size(1)); }

private:
    Tensor scale_;
};

class ScaleSettings : public PositionSettings {
public:
    double start = 1;
    void fields(Fields& fields) override { fields.real("start", start, "of every scale", {.above = 0}); }
    void configure(nn::TransformerOptions& options) const override {
        options.position = nn::PositionEncoding::custom;
        options.custom_position = {
            [start = start](std::int64_t max_len, std::int64_t) { return std::make_unique<Scales>(max_len, start); },
            options.max_len};
    }
};
const RegisterType<PositionSettings> registered_scale("scale", "for tests",
                                                      [] { return std::make_unique<ScaleSettings>(); });

const WindowSettings& window(const Config& config) {
    return dynamic_cast<const WindowSettings&>(*config.model.attention.settings);
}

TEST(OwnModelParts, AStringIsShortForATable) {
    for (const char* text :
         {"[model]\nattention = \"window\"", "[model.attention]\ntype = \"window\"",
          "[model]\nattention = {type = \"window\", width = 4}", "[model]\nattention.type = \"window\""}) {
        const Config config = parse_config(minimal + text, "run.toml");
        EXPECT_EQ(config.model.attention.type, "window") << text;
        EXPECT_EQ(window(config).width, 4) << text;
    }
    const Config softmax =
        parse_config(minimal + "[model.attention]\ntype = \"softmax\"\n[model.position]", "run.toml");
    EXPECT_EQ(softmax.resolved(), parse_config(minimal, "run.toml").resolved());
    EXPECT_EQ(config_identity(softmax), config_identity(parse_config(minimal, "run.toml")));
}

TEST(OwnModelParts, KeysOnTheCommandLine) {
    const std::string short_form = minimal + "[model]\nattention = \"window\"\n";
    const std::string table = minimal + "[model.attention]\ntype = \"window\"\nwidth = 7\nsinks = 2\n";
    EXPECT_EQ(window(parse_config(short_form, "run.toml", {"model.attention.width=3"})).width, 3);
    EXPECT_EQ(window(parse_config(table, "run.toml", {"model.attention.width=3"})).sinks, 2);
    for (const std::vector<std::string>& both : {std::vector<std::string>{"model.attention=window",  //
                                                                          "model.attention.width=3"},
                                                 {"model.attention.width=3", "model.attention=window"},
                                                 {"model.attention.type=window", "model.attention.width=3"},
                                                 {"model.attention={type = \"window\", width = 3}"}})
        for (const std::string& file : {minimal, short_form})
            EXPECT_EQ(window(parse_config(file, "run.toml", both)).width, 3) << both.front();
    // A string replaces the table and all in it.
    EXPECT_EQ(parse_config(table, "run.toml", {"model.attention=linear"}).model.attention.type, "linear");
    EXPECT_EQ(window(parse_config(table, "run.toml", {"model.attention=window"})).width, 4);
}

TEST(OwnModelParts, AnotherTypeLeavesOutTheFilesKeys) {
    const std::string table = minimal + "[model.attention]\ntype = \"window\"\nwidth = 7\nsinks = 2\n";
    const auto notes = [&](const std::vector<std::string>& overrides) {
        return parse_config(table, "run.toml", overrides).notes;
    };
    const std::string left_out = ": the file's keys of \"window\" are left out: model.attention.";
    for (const char* other :
         {"model.attention=linear", "model.attention.type=linear", "model.attention=", "model.attention.type="})
        EXPECT_EQ(notes({other}), std::vector<std::string>{std::string("command line: ") + other + left_out +
                                                           "width, model.attention.sinks"})
            << other;
    const std::string whole = "model.attention={type = \"window\", width = 3}";
    EXPECT_EQ(notes({whole}), std::vector<std::string>{"command line: " + whole + left_out + "sinks"});
    EXPECT_TRUE(notes({"model.attention.type=window", "model.attention.width=3"}).empty());
    EXPECT_EQ(error_of(table, {"model.attention.type=linear", "model.attention.width=3"}),
              "command line: model.attention.width=3: model.attention.width does not exist for model.attention.type = "
              "\"linear\", only for \"window\"");
}

TEST(OwnModelParts, ResolvedReadsBackTheSame) {
    const Config config = parse_config(
        minimal + "[model]\nposition = \"scale\"\n[model.init]\nstd = 0.5\n[model.attention]\ntype = \"window\"\n",
        "run.toml", {"model.position.start=0.25", "model.attention.sinks=1"});
    const std::string text = config.resolved();
    EXPECT_NE(text.find("\nmax_len = 12\n\n[model.attention]\ntype = \"window\"\nwidth = 4\nsinks = 1\n\n"
                        "[model.position]\ntype = \"scale\"\nstart = 0.25\n\n[model.init]\n"),
              std::string::npos)
        << text;
    EXPECT_EQ(text.find("attention = \""), std::string::npos) << text;
    const Config again = parse_config(text, "config.toml");
    EXPECT_EQ(again.resolved(), text);
    EXPECT_EQ(config_identity(again), config_identity(config));
    EXPECT_NE(config_identity(parse_config(text, "config.toml", {"model.attention.sinks=2"})), config_identity(config));
    const std::string plain = parse_config(minimal, "run.toml").resolved();
    EXPECT_NE(plain.find("activation = \"gelu\"\nposition = \"learned\"\nnorm = \"pre\"\nattention = \"softmax\"\n"),
              std::string::npos)
        << plain;
}

TEST(OwnModelParts, AreCheckedLikeOurs) {
    const std::string table = minimal + "[model.attention]\ntype = \"window\"\n";
    EXPECT_EQ(error_of(table + "widht = 1"), "run.toml:6:1: unknown key model.attention.widht; did you mean width?");
    EXPECT_EQ(error_of(table + "frobnicate = 1"),
              "run.toml:6:1: unknown key model.attention.frobnicate; known: width, sinks, type");
    EXPECT_EQ(error_of(table + "width = 0"), "run.toml:6:9: model.attention.width must be from 1 to 100, got 0");
    EXPECT_EQ(error_of(table + "sinks = 5"),
              "run.toml:6:9: model.attention.sinks must be at most model.attention.width");
    EXPECT_EQ(error_of(table + "[model]\nhead_dim = 5"),
              "run.toml:5:8: model.attention = \"window\" knows no heads of 5");
    EXPECT_EQ(error_of(minimal + "[model.attention]\nwidth = 3"),
              "run.toml:5:1: model.attention.width does not exist for model.attention.type = \"softmax\", only for "
              "\"window\"");
    EXPECT_EQ(error_of(minimal + "[model]\nposition = \"rotary\"", {"model.position.start=2"}),
              "command line: model.position.start=2: model.position.start does not exist for model.position.type = "
              "\"rotary\", only for \"scale\"");
    // A wrong type says nothing about the keys that follow.
    EXPECT_EQ(error_of(minimal + "[model.attention]\ntype = \"windwo\"\nwidth = 3"),
              "run.toml:5:8: model.attention.type must be one of \"linear\", \"sigmoid\", \"softmax\", \"uniform\", "
              "\"window\", got "
              "\"windwo\"; did you mean \"window\"?");
    EXPECT_EQ(error_of(minimal + "[model]\nattention = 3"),
              "run.toml:5:13: model.attention must be one of \"linear\", \"sigmoid\", \"softmax\", \"uniform\", "
              "\"window\", got the "
              "integer 3");
    EXPECT_EQ(error_of(minimal, {"model.attention=softmax,window"}),
              "command line: model.attention=softmax,window: model.attention takes one value, not a list; do a run for "
              "each: model.attention=softmax, model.attention=window");
    EXPECT_EQ(error_of(minimal, {"model.attention=linear", "model.attention=window"}),
              "command line: model.attention=window: the key is set twice, also by \"command line: "
              "model.attention=linear\"");
    EXPECT_EQ(error_of(minimal + "[model]\nnorm = \"pre\"", {"model.norm.width=3"}),
              "command line: model.norm.width=3: model.norm is the string \"pre\", not a table, at run.toml:5:8");
    EXPECT_EQ(error_of(table + "[model]\nposition = \"alibi\""), "no error");
}

TEST(OwnModelParts, AreListedAndDescribed) {
    EXPECT_NE(cli::list_text("attentions").find("window   for tests\n"), std::string::npos);
    EXPECT_EQ(cli::describe_text("attention", "window"),
              "window: for tests\n\n"
              "  model.attention.width           integer           default 4, from 1 to 100\n"
              "      keys that a query sees\n"
              "  model.attention.sinks           integer           default 0, at least 0\n"
              "      first keys that all see\n");
    EXPECT_EQ(cli::describe_text("positions", "scale"),
              "scale: for tests\n\n"
              "  model.position.start            number            default 1.0, above 0\n"
              "      of every scale\n");
}

TEST(OwnModelParts, NamesAreTakenOnce) {
    EXPECT_THROW(RegisterType<AttentionSettings>("linear", "", nullptr), Error);
    EXPECT_THROW(RegisterType<PositionSettings>("alibi", "", nullptr), Error);
}

TEST(OwnModelParts, AreTrained) {
    const TemporaryFolder parent;
    const std::string folder = parent.path("run");
    const std::string text =
        "name = \"x\"\n[task]\ntype = \"repeat\"\nvocab_size = 5\nseq_len = 6\n"
        "[model]\nd_model = 12\nnum_heads = 3\nnum_layers = 2\nd_ff = 10\nattention = {type = \"window\", width = 2}\n"
        "[model.position]\ntype = \"scale\"\nstart = 0.75\n"
        "[train]\nsteps = 3\nbatch_size = 4\n[eval]\nbatches = 2\n[log.probes]\nattention_entropy = 1\n";
    Experiment experiment = build_experiment(parse_config(text, "run.toml"));
    start_run(experiment, {.out = folder});
    // What was written down goes on.
    EXPECT_EQ(resume_run(folder, {"train.steps=5"}).steps_done, 5);
    experiment = build_experiment(load_config(folder + "/config.toml"));
    const Checkpoint checkpoint = load_checkpoint(folder + "/checkpoints/" + checkpoint_name(5));

    const Tensor scale = checkpoint.model.at("position.scale");
    ASSERT_EQ(scale.shape().str(), "[6, 1]");
    EXPECT_EQ(build_model(experiment)->state_dict().at("position.scale").at({2, 0}), 0.75);
    for (std::int64_t t = 0; t < 5; ++t) EXPECT_NE(scale.at({t, 0}), 0.75) << t;  // the last one has no target

    const auto model = build_model(experiment);
    model->load_state_dict(checkpoint.model);
    Tensor weights;
    const nn::Guest look = model->blocks[1]->attn.weights.look([&](const Tensor& seen) { weights = seen; });
    model->forward(experiment.task->eval_batch(0, 4).inputs);
    for (std::int64_t i = 0; i < 6; ++i)
        for (std::int64_t j = 0; j < 6; ++j)
            EXPECT_EQ(weights.at({3, 2, i, j}) > 0, j <= i && j > i - 2) << i << " " << j;
}

TEST(OwnModelParts, AreCountedAndWalkedThrough) {
    const Experiment experiment =
        build_experiment(parse_config(minimal, "run.toml", {"model.attention=window", "model.position=scale"}));
    std::int64_t built = 0;
    for (const nn::Parameter& parameter : nn::Transformer(experiment.model).named_parameters())
        built += parameter.tensor.numel();
    const nn::ModelOutline outline(experiment.model, 2, 12);
    EXPECT_EQ(outline.parameters, static_cast<double>(built));
    EXPECT_EQ(outline.steps[2].name, "+ position");
}

}  // namespace
}  // namespace headscope::experiments
