#include "experiments/config/config.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <random>

#include "experiments/config/memory.h"
#include "experiments/config/sections.h"
#include "tests/experiments/tasks/toy_task.h"
#include "tests/experiments/temporary_folder.h"

namespace headscope::experiments {
namespace {

TEST(Config, DefaultsFollowFromOtherKeys) {
    const Config config = parse_config(minimal + "[model]\nd_model = 48\nnum_heads = 3", "run.toml");
    EXPECT_EQ(config.model.head_dim, 16);
    EXPECT_EQ(config.model.d_ff, 192);
    EXPECT_EQ(config.model.max_len, 12);
    EXPECT_EQ(config.train.steps, 2000);
    EXPECT_FALSE(config.train.batch_size_given);
    const Config given = parse_config(
        minimal + "[model]\nd_model = 50\nnum_heads = 3\nhead_dim = 13\nd_ff = 0\nmax_len = 20", "run.toml");
    EXPECT_EQ(given.model.head_dim, 13);
    EXPECT_EQ(given.model.d_ff, 0);
    EXPECT_EQ(given.model.max_len, 20);
}

TEST(Config, AnIntegerServesAsAReal) {
    EXPECT_EQ(parse_config(minimal + "[optimizer]\nlr = 1", "run.toml").optimizer.lr, 1.0);
}

TEST(Config, DefaultsThenFileThenCommandLine) {
    const std::string file = minimal + "[model]\nd_model = 32\n";
    EXPECT_EQ(parse_config(minimal, "run.toml").model.d_model, 64);
    EXPECT_EQ(parse_config(file, "run.toml").model.d_model, 32);
    const Config config = parse_config(file, "run.toml", {"model.d_model=16", "optimizer.type=sgd"});
    EXPECT_EQ(config.model.d_model, 16);
    EXPECT_EQ(config.model.head_dim, 4);
    EXPECT_EQ(config.optimizer.type, "sgd");
}

TEST(Config, NotesAWarmupThatDoesNotEnd) {
    const auto notes = [](std::int64_t warmup, std::int64_t steps) {
        return parse_config(minimal, "run.toml",
                            {"schedule.warmup_steps=" + std::to_string(warmup), "train.steps=" + std::to_string(steps)})
            .notes;
    };
    EXPECT_EQ(notes(50, 50), std::vector<std::string>{"schedule.warmup_steps = 50 is not less than train.steps = 50: "
                                                      "the learning rate rises until the run ends; make one smaller or "
                                                      "the other larger"});
    EXPECT_EQ(notes(51, 50).size(), 1u);
    EXPECT_TRUE(notes(49, 50).empty());
    EXPECT_TRUE(notes(0, 0).empty());
    EXPECT_TRUE(notes(50, 0).empty());  // initial weights only
}

TEST(Overrides, StringsMayGoUnquoted) {
    const Config config =
        parse_config("", "run.toml",
                     {"name=foo", "task.type=toy", "task.path=data/x.txt", "model.init.clone_heads=[q, o]",
                      "optimizer.lr = 1e-2", "log.probes.grad_norm=5", "seed=9"});
    EXPECT_EQ(config.name, "foo");
    EXPECT_EQ(toy(config).path.given, "data/x.txt");
    EXPECT_EQ(toy(config).path.absolute, (std::filesystem::current_path() / "data/x.txt").string());
    EXPECT_EQ(config.init.clone_heads, (std::vector<std::string>{"q", "o"}));
    EXPECT_EQ(config.optimizer.lr, 0.01);
    EXPECT_EQ(config.log.probes.at("grad_norm"), 5);
    EXPECT_EQ(config.seed, 9);
    // A name may look like anything.
    EXPECT_EQ(parse_config(minimal, "run.toml", {"name=12"}).name, "12");
    EXPECT_EQ(parse_config(minimal, "run.toml", {"name=true"}).name, "true");
    EXPECT_EQ(parse_config(minimal, "run.toml", {"name=\"a=b\""}).name, "a=b");
    EXPECT_EQ(parse_config(minimal, "run.toml", {"name=a=b"}).name, "a=b");
    // The table of probes is a value like others.
    EXPECT_TRUE(
        parse_config(minimal + "[log.probes]\ngrad_norm = 3", "run.toml", {"log.probes={}"}).log.probes.empty());
}

TEST(Overrides, AnEmptyValueUnsetsTheFilesKey) {
    const std::string file = minimal +
                             "rate = 0.25\npath = \"a\"\n[model]\nd_model = 32\nhead_dim = 5\n"
                             "[optimizer]\ntype = \"sgd\"\nmomentum = 0.5\n[log.probes]\ngrad_norm = 3\noverlap = 4\n";
    const auto with = [&](const std::vector<std::string>& overrides) {
        return parse_config(file, "run.toml", overrides);
    };
    EXPECT_EQ(with({"model.d_model="}).model.d_model, 64);
    EXPECT_EQ(with({"model.head_dim ="}).model.head_dim, 8);  // follows from others again
    EXPECT_EQ(toy(with({"task.rate="})).rate, 0.5);
    EXPECT_EQ(toy(with({"task.path="})).path.given, "");
    EXPECT_EQ(with({"optimizer.type="}).optimizer.type, "adam");
    EXPECT_EQ(with({"log.probes.grad_norm="}).log.probes, (std::map<std::string, std::int64_t>{{"overlap", 4}}));
    EXPECT_TRUE(with({"log.probes="}).log.probes.empty());
    EXPECT_EQ(with({"seed="}).seed, 0);  // not in the file
    EXPECT_NO_THROW(with({"optimizer.type=adam", "optimizer.momentum="}));
    EXPECT_EQ(error_of(file, {"name="}), "command line: name=: name is missing; it has no default");
    EXPECT_EQ(error_of(file, {"task.type="}).find("command line: task.type=: task.type is missing"), 0u);
    EXPECT_EQ(error_of(file, {"model.d_modle="}),
              "command line: model.d_modle=: unknown key model.d_modle; did you mean d_model?");
    EXPECT_EQ(error_of(file, {"log.probes.overlup="}).find("command line: log.probes.overlup=: unknown key"), 0u);
    EXPECT_EQ(error_of(file, {"seed=", "seed=3"}),
              "command line: seed=3: the key is set twice, also by \"command line: seed=\"");
    EXPECT_EQ(error_of(file, {"model="}), "command line: model=: model must be a table, written [model], got nothing");
}

TEST(Overrides, ResumeAllowsOnlyWhatDoesNotTouchTheNumbers) {
    EXPECT_NO_THROW(check_resume_overrides(
        {"train.steps=9", "log.every=2", "log.probes.overlap=3", "checkpoint.keep=0", "eval.batches = 4"}));
    try {
        check_resume_overrides({"seed=3", "train.steps=9", "train.batch_size=4", "logs.every=1"});
        FAIL() << "no error";
    } catch (const UsageError& error) {
        const std::string message = error.what();
        EXPECT_NE(message.find("command line: seed=3: seed cannot change"), std::string::npos);
        EXPECT_NE(message.find("train.batch_size=4: train.batch_size cannot change"), std::string::npos);
        EXPECT_NE(message.find("logs.every=1"), std::string::npos);
        EXPECT_EQ(message.find("train.steps=9"), std::string::npos);
    }
}

TEST(Resolved, ReadsBackTheSame) {
    const Config config =
        parse_config(minimal +
                         "low = 0\npath = \"a \\\"b\\\\\\u00e9\\u0001.txt\"\nrate = 1e-300\n"
                         "[model]\nd_model = 50\nnum_heads = 3\nhead_dim = 13\ndropout = 0.1\nactivation = \"silu\"\n"
                         "[model.init]\nclone_heads = [\"o\", \"k\"]\nclone_noise = 3e-8\n"
                         "[optimizer]\ntype = \"sgd\"\nmomentum = 0.9\nnesterov = true\nlr = 1\n"
                         "[schedule]\ntype = \"cosine\"\nfinal_ratio = 0.05\n[train]\ndtype = \"float64\"\n"
                         "[log.probes]\ngrad_norm = 10\noverlap = 7\n",
                     "run.toml", {"seed=9223372036854775807"});
    const std::string text = config.resolved();
    const Config again = parse_config(text, "config.toml");
    EXPECT_EQ(again.resolved(), text);
    EXPECT_EQ(config_identity(again), config_identity(config));
    EXPECT_EQ(again.seed, config.seed);
    EXPECT_EQ(toy(again).path.given, toy(config).path.given);
    EXPECT_EQ(toy(again).path.absolute, toy(config).path.absolute);
    EXPECT_EQ(toy(again).rate, 1e-300);
    EXPECT_EQ(again.init.clone_heads, config.init.clone_heads);
    EXPECT_NE(text.find("weight_decay = 0.0\nmomentum = 0.9\nnesterov = true\n"), std::string::npos) << text;
    EXPECT_EQ(again.log.probes, config.log.probes);
    EXPECT_EQ(again.train.dtype, "float64");
    EXPECT_NE(text.find("lr = 1.0\n"), std::string::npos) << text;
    EXPECT_NE(
        text.find(
            "[log]\nevery = 10\nattention = 0\nattention_samples = 4\n\n[log.probes]\ngrad_norm = 10\noverlap = 7\n"),
        std::string::npos)
        << text;
    EXPECT_EQ(text.find("beta1"), std::string::npos);
}

TEST(Resolved, WritesEveryKeyOnce) {
    Config config = parse_config(minimal, "run.toml");
    const std::string text = config.resolved();
    for (const Section& section : sections_of(config)) {
        for (const Field& field : section.fields.list()) {
            if (field.key == "name") continue;  // the first line
            const bool written = text.find("\n" + field.key + " = ") != std::string::npos ||
                                 text.find("." + field.key + "]\n") != std::string::npos;
            EXPECT_TRUE(written || is_unset(field)) << section.name << " " << field.key;
        }
    }
    EXPECT_EQ(text.substr(0, 20), "name = \"x\"\nseed = 0\n");
}

TEST(Resolved, RealsKeepEveryBit) {
    std::mt19937_64 random(7);
    Config config = parse_config(minimal, "run.toml");
    for (int i = 0; i < 2000;) {
        const double value = std::abs(std::bit_cast<double>(random()));
        if (!std::isfinite(value)) continue;
        ++i;
        config.optimizer.lr = value;
        const double again = parse_config(config.resolved(), "config.toml").optimizer.lr;
        ASSERT_EQ(std::bit_cast<std::uint64_t>(again), std::bit_cast<std::uint64_t>(value)) << value;
    }
}

TEST(Identity, IgnoresExactlyWhatResumeMayChange) {
    const auto identity = [](const std::vector<std::string>& overrides) {
        return config_identity(parse_config(minimal, "run.toml", overrides));
    };
    const std::string plain = identity({});
    EXPECT_EQ(plain.size(), 64u);
    EXPECT_EQ(identity({"train.steps=3", "log.every=4", "log.probes.grad_norm=1", "checkpoint.every=7",
                        "checkpoint.keep=0", "eval.every=5", "eval.batches=2"}),
              plain);
    for (const char* other :
         {"seed=1", "name=y", "train.batch_size=8", "optimizer.lr=1e-4", "task.low=2", "model.d_ff=8"}) {
        EXPECT_NE(identity({other}), plain) << other;
    }
}

// So a key that a later version adds, with the old behaviour as its default, makes no other run of an old one.
TEST(Identity, IgnoresKeysThatHaveTheirDefaults) {
    const std::string plain = config_identity(parse_config(minimal, "run.toml"));
    EXPECT_EQ(config_identity(parse_config(minimal, "run.toml",
                                           {"model.causal=true", "train.accumulate=1", "optimizer.beta1=0.9",
                                            "schedule.type=constant", "model.attention.type=softmax"})),
              plain);
    EXPECT_NE(config_identity(parse_config(minimal, "run.toml", {"optimizer.type=sgd"})), plain);
    EXPECT_NE(config_identity(parse_config(minimal, "run.toml", {"optimizer.beta1=0.8"})), plain);
    const auto family = [](const std::vector<std::string>& overrides) {
        return config_family(parse_config(minimal, "run.toml", overrides));
    };
    EXPECT_EQ(family({"seed=5", "name=other"}), family({}));
    EXPECT_NE(family({"seed=5", "optimizer.lr=2"}), family({}));
}

TEST(Prepare, SettlesWhatTheDataDecide) {
    const auto prepared = [](const std::vector<std::string>& overrides) {
        return build_experiment(parse_config(minimal, "run.toml", overrides));
    };
    const Experiment experiment =
        prepared({"task.fixed_batch=5", "model.norm=post", "model.position=sinusoidal", "model.activation=relu",
                  "model.init.scheme=orthogonal", "model.init.clone_heads=[v]", "model.num_heads=8"});
    EXPECT_EQ(experiment.config.train.batch_size, 5);
    EXPECT_EQ(experiment.model.vocab_size, 7);
    EXPECT_EQ(experiment.model.max_len, 12);
    EXPECT_EQ(experiment.model.position, nn::PositionEncoding::sinusoidal);
    EXPECT_EQ(experiment.model.block.norm, nn::NormPlacement::post);
    EXPECT_EQ(experiment.model.block.activation, nn::Activation::relu);
    EXPECT_EQ(experiment.model.block.num_heads, 8);
    EXPECT_EQ(experiment.model.block.head_dim, 8);
    EXPECT_EQ(experiment.init.scheme, nn::InitScheme::orthogonal);
    EXPECT_EQ(experiment.init.clone_heads, std::vector<char>{'v'});
    const auto model = [&](const char* key) { return prepared({key}).model; };
    EXPECT_EQ(model("model.position=rotary").position, nn::PositionEncoding::rotary);
    EXPECT_EQ(model("model.position=alibi").position, nn::PositionEncoding::alibi);
    EXPECT_EQ(model("model.attention=softmax").block.attention, AttentionKind::softmax);
    EXPECT_EQ(model("model.attention=linear").block.attention, AttentionKind::linear);
    EXPECT_EQ(model("model.attention=uniform").block.attention, AttentionKind::uniform);
    EXPECT_NO_THROW(prepared({"task.fixed_batch=5", "train.batch_size=5"}));
    EXPECT_THROW(prepared({"task.fixed_batch=5", "train.batch_size=6"}), UsageError);
}

TEST(Prepare, RefusesWhatDoesNotFitInMemory) {
    const std::vector<std::vector<std::string>> too_large{{"model.d_model=1000000000", "model.num_heads=1"},
                                                          {"model.d_model=1000000000", "model.num_heads=1000000000",
                                                           "model.head_dim=1000000000", "model.num_layers=1000000"},
                                                          {"train.batch_size=1000000000", "task.seq_len=1000000000"}};
    for (const auto& overrides : too_large) {
        try {
            build_experiment(parse_config(minimal, "run.toml", overrides));
            FAIL() << "no error for " << overrides.front();
        } catch (const UsageError& error) {
            const std::string message = error.what();
            EXPECT_NE(message.find("model: a training step needs about "), std::string::npos) << message;
            EXPECT_NE(message.find("is available; the largest part is "), std::string::npos) << message;
        }
    }
}

TEST(Prepare, MemoryEstimateAddsUp) {
    const Experiment experiment =
        build_experiment(parse_config(minimal, "run.toml", {"train.batch_size=3", "optimizer.type=sgd"}));
    const MemoryEstimate estimate = estimate_memory(experiment);
    const double parameters = 4.0 * nn::ModelOutline(experiment.model, 1, 1).parameters;
    EXPECT_EQ(estimate.parts[0].bytes, parameters);
    EXPECT_EQ(estimate.parts[2].bytes, 0);
    const Experiment probed =
        build_experiment(parse_config(minimal, "run.toml", {"train.batch_size=3", "log.probes.attention_entropy=1"}));
    const MemoryEstimate more = estimate_memory(probed);
    EXPECT_EQ(more.parts[2].bytes, 2 * parameters);
    // 16 sequences of 12 in 2 blocks of 4 heads of 16: two maps; each head's result; q, k, v and head_out twice.
    const double tokens = 16 * 12;
    EXPECT_EQ(more.parts.back().bytes, 4.0 * 2 * tokens * (4 * (2 * 12 + 64) + 8 * 64));
    EXPECT_NO_THROW(refuse_if_too_large(more, more.total()));
    EXPECT_THROW(refuse_if_too_large(more, more.total() - 1), UsageError);
}

TEST(Prepare, MemoryEstimateCountsTrueDistributions) {
    const std::string text = "name = \"x\"\n[task]\ntype = \"lag_mixture\"\nvocab_size = 5\nseq_len = 20\n";
    const Experiment experiment =
        build_experiment(parse_config(text, "run.toml", {"train.batch_size=3", "eval.batches=7"}));
    EXPECT_EQ(estimate_memory(experiment).parts.back().bytes, 8.0 * 7 * 3 * 20 * 5);
}

TEST(Load, ReadsTheFileAndKeepsItsText) {
    const TemporaryFolder folder;
    const std::string path = folder.path("run.toml");
    const std::string text = minimal + "# a remark\n";
    std::ofstream(path) << text;
    EXPECT_EQ(load_config(path).source, text);
    std::filesystem::remove(path);
    EXPECT_THROW(load_config(path), IoError);
}

}  // namespace
}  // namespace headscope::experiments
