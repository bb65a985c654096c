// Configs that must be refused: the whole message, with its place.
#include <gtest/gtest.h>

#include "experiments/base/nearest.h"
#include "tests/experiments/tasks/toy_task.h"

namespace headscope::experiments {
namespace {

struct Wrong {
    const char* text;      ///< appended to the minimal config
    const char* expected;  ///< the whole message
};

class WrongConfig : public testing::TestWithParam<Wrong> {};

TEST_P(WrongConfig, IsRefusedAtItsPlace) { EXPECT_EQ(error_of(minimal + GetParam().text), GetParam().expected); }

INSTANTIATE_TEST_SUITE_P(
    Cases, WrongConfig,
    testing::Values(
        // unknown keys
        Wrong{"[model]\nd_modle = 3", "run.toml:5:1: unknown key model.d_modle; did you mean d_model?"},
        Wrong{"[model]\n  heads = 3", "run.toml:5:3: unknown key model.heads; did you mean num_heads?"},
        Wrong{"[modle]\nd_model = 3", "run.toml:4:2: unknown key modle; did you mean model?"},
        Wrong{"[checkpoint]\nfrobnicate = 3",
              "run.toml:5:1: unknown key checkpoint.frobnicate; known: every, keep, best"},
        Wrong{"[model]\nlr = 0.1", "run.toml:5:1: unknown key model.lr; did you mean optimizer.lr?"},
        Wrong{"rte = 0.5", "run.toml:4:1: unknown key task.rte; did you mean rate?"},
        Wrong{"[model.init]\nschema = \"normal\"", "run.toml:5:1: unknown key model.init.schema; did you mean scheme?"},
        Wrong{"[model.innit]\nscheme = \"normal\"", "run.toml:4:8: unknown key model.innit; did you mean init?"},
        // wrong types
        Wrong{"[model]\nd_model = \"wide\"",
              "run.toml:5:11: model.d_model must be an integer, got the string \"wide\""},
        Wrong{"[model]\nd_model = \"32\"",
              "run.toml:5:11: model.d_model must be an integer, got the string \"32\"; write 32"},
        Wrong{"[model]\nd_model = 32.0",
              "run.toml:5:11: model.d_model must be an integer, got the number 32.0; write 32"},
        Wrong{"[model]\nd_model = 32.5", "run.toml:5:11: model.d_model must be an integer, got the number 32.5"},
        Wrong{"[model]\ncausal = 1", "run.toml:5:10: model.causal must be true or false, got the integer 1"},
        Wrong{"[optimizer]\nlr = true", "run.toml:5:6: optimizer.lr must be a number, got true"},
        Wrong{"[optimizer]\nlr = \".001\"",
              "run.toml:5:6: optimizer.lr must be a number, got the string \".001\"; write 0.001"},
        Wrong{"[optimizer]\nlr = 1979-05-27", "run.toml:5:6: optimizer.lr must be a number, got a date"},
        Wrong{"[optimizer.lr]\nvalue = 1", "run.toml:4:12: optimizer.lr must be a number, got a table"},
        Wrong{"[model]\ninit = 3", "run.toml:5:8: model.init must be a table, written [model.init], got the integer 3"},
        Wrong{"[[model]]\nd_model = 3", "run.toml:4:1: model must be a table, written [model], got a list"},
        Wrong{"path = 3", "run.toml:4:8: task.path must be a string, got the integer 3"},
        Wrong{"[model]\nnorm = false",
              "run.toml:5:8: model.norm must be one of \"none\", \"pre\", \"post\", got false"},
        Wrong{
            "[model.init]\nclone_heads = \"q\"",
            "run.toml:5:15: model.init.clone_heads must be a list of any of \"q\", \"k\", \"v\", \"o\", got the string "
            "\"q\""},
        // out of range
        Wrong{"[model]\nnum_layers = -1", "run.toml:5:14: model.num_layers must be from 0 to 1000000, got -1"},
        Wrong{"[model]\nkv_heads = 5",
              "run.toml:5:12: model.kv_heads = 5 is more than model.num_heads = 4; a group needs a head"},
        Wrong{"[model]\nwindow = 3\ncausal = false",
              "run.toml:5:10: model.window needs model.causal = true: it is counted back from each token"},
        Wrong{"[optimizer.groups.matrx]\nlr_scale = 2",
              "run.toml:4:19: unknown key optimizer.groups.matrx; did you mean matrix?"},
        Wrong{"[optimizer.groups.bias]\nlr_scale = -2",
              "run.toml:5:12: optimizer.groups.bias.lr_scale must be at least 0, got -2"},
        Wrong{"[model]\ndropout = 1", "run.toml:5:11: model.dropout must be at least 0 and below 1, got 1"},
        Wrong{"rate = 0.0", "run.toml:4:8: task.rate must be above 0 and at most 1, got 0.0"},
        Wrong{"seq_len = -5", "run.toml:4:11: task.seq_len must be at least 1, got -5"},
        Wrong{"[optimizer]\nlr = nan", "run.toml:5:6: optimizer.lr must be finite, got nan"},
        Wrong{"[optimizer]\nweight_decay = -inf", "run.toml:5:16: optimizer.weight_decay must be finite, got -inf"},
        // not a choice
        Wrong{
            "[model]\nnorm = \"Pre\"",
            "run.toml:5:8: model.norm must be one of \"none\", \"pre\", \"post\", got \"Pre\"; did you mean \"pre\"?"},
        Wrong{"[model]\nattention = \"lineal\"",
              "run.toml:5:13: model.attention must be one of \"linear\", \"sigmoid\", \"softmax\", \"uniform\", got "
              "\"lineal\"; did "
              "you mean \"linear\"?"},
        Wrong{"[optimizer]\ntype = \"adma\"\nmomentum = 0.5",
              "run.toml:5:8: optimizer.type must be one of \"adam\", \"adamw\", \"muon\", \"rmsprop\", \"sgd\", got "
              "\"adma\"; did you mean "
              "\"adam\"?"},
        Wrong{"[model.init]\nclone_heads = [\"q\", \"w\"]",
              "run.toml:5:21: model.init.clone_heads must be one of \"q\", \"k\", \"v\", \"o\", got \"w\""},
        Wrong{"[model.init]\nclone_heads = [\"q\", \"q\"]", "run.toml:5:21: model.init.clone_heads names \"q\" twice"},
        // a list where one value belongs
        Wrong{"[optimizer]\nlr = [1e-3, 1e-4]",
              "run.toml:5:6: optimizer.lr takes one value, not a list; do a run for each: optimizer.lr=0.001, "
              "optimizer.lr=0.0001"},
        // beyond the numbers
        Wrong{"[optimizer]\nlr = 1e400", "run.toml:5:11: 1e400 is beyond the largest number, 1.7976931348623157e+308"},
        Wrong{"[train]\nsteps = 9223372036854775808",
              "run.toml:5:28: 9223372036854775808 is beyond the largest integer, 9223372036854775807"},
        Wrong{
            "[train]\nsteps = 1e-400",
            "run.toml:5:9: train.steps must be an integer, and 1e-400 is closer to 0 than the smallest number, 5e-324; "
            "write 0 if that is meant"},
        Wrong{"# \u00e4\u00f6\n[optimizer] # \u00fc\nlr = -0.0_1e-323 # 1\nweight_decay = 0e-400\neps = 0.0",
              "run.toml:6:6: optimizer.lr must be a number, and -0.0_1e-323 is closer to 0 than the smallest number, "
              "5e-324; write 0 if that is meant"},
        // what others call it
        Wrong{"[optimizer]\nlearning_rate = 1",
              "run.toml:5:1: unknown key optimizer.learning_rate; did you mean "
              "optimizer.lr?"},
        Wrong{"[model]\nn_embd = 8", "run.toml:5:1: unknown key model.n_embd; did you mean model.d_model?"},
        Wrong{"[train]\nblock_size = 8", "run.toml:5:1: unknown key train.block_size; did you mean task.seq_len?"},
        Wrong{"[schedule]\nbetas = 8", "run.toml:5:1: unknown key schedule.betas; known: type, warmup_steps"},
        // keys of another type
        Wrong{"[schedule]\nfinal_ratio = 0.5",
              "run.toml:5:1: schedule.final_ratio does not exist for schedule.type = \"constant\", only for "
              "\"cosine\", \"linear\""},
        Wrong{"[optimizer]\nmomentum = 0.5",
              "run.toml:5:1: optimizer.momentum does not exist for optimizer.type = \"adam\", only for \"muon\", "
              "\"sgd\""},
        Wrong{"[optimizer]\ntype = \"sgd\"\nbeta1 = 0.5",
              "run.toml:6:1: optimizer.beta1 does not exist for optimizer.type = \"sgd\", only for \"adam\", "
              "\"adamw\", \"muon\""},
        // impossible together
        Wrong{
            "[model]\nd_model = 50\nnum_heads = 3",
            "run.toml:6:13: model.num_heads = 3 does not divide model.d_model = 50; change one, or set model.head_dim"},
        Wrong{"[model]\nmax_len = 11",
              "run.toml:5:11: model.max_len = 11 is shorter than task.seq_len = 12; leave model.max_len out, or make "
              "it at "
              "least 12"},
        Wrong{
            "[model]\nposition = \"sinusoidal\"\nd_model = 33\nhead_dim = 5",
            "run.toml:5:12: model.position = \"sinusoidal\" pairs sines with cosines and needs an even model.d_model, "
            "got 33"},
        Wrong{"[model]\nposition = \"rotary\"\nhead_dim = 5",
              "run.toml:5:12: model.position = \"rotary\" turns pairs and needs an even head_dim, got 5; change "
              "model.head_dim, or model.d_model and model.num_heads"},
        Wrong{"[model]\nposition = \"rotary\"\nd_model = 18\nnum_heads = 2",
              "run.toml:5:12: model.position = \"rotary\" turns pairs and needs an even head_dim, got 9; change "
              "model.head_dim, or model.d_model and model.num_heads"},
        Wrong{"[model]\nposition = \"alibi\"\nattention = \"linear\"",
              "run.toml:6:13: model.position = \"alibi\" is added to the scores of a softmax, and model.attention = "
              "\"linear\" has none; choose another position, or \"softmax\""},
        Wrong{"[model]\nposition = \"alibi\"\nattention = \"uniform\"",
              "run.toml:6:13: model.position = \"alibi\" is added to the scores of a softmax, and model.attention = "
              "\"uniform\" has none; choose another position, or \"softmax\""},
        Wrong{"[model.init]\nclone_noise = 1e-3",
              "run.toml:5:15: model.init.clone_noise does nothing without clones; set model.init.clone_heads, for "
              "example "
              "[\"q\", \"k\", \"v\", \"o\"], or leave it out"},
        Wrong{"[optimizer]\ntype = \"sgd\"\nnesterov = true",
              "run.toml:6:12: optimizer.nesterov needs momentum; set optimizer.momentum above 0"},
        Wrong{"[schedule]\ntype = \"noam\"",
              "run.toml:5:8: schedule.warmup_steps must be at least 1 for schedule.type = \"noam\", for example 400"},
        Wrong{"[train]\nbatch_size = 10\naccumulate = 4",
              "run.toml:6:14: train.accumulate = 4 does not divide train.batch_size = 10; change one"},
        Wrong{"high = 4\nlow = 4", "run.toml:5:7: task.low: must be below task.high"},
        // not TOML
        Wrong{
            "[model]\nd_model = 3\nd_model = 4",
            "run.toml:6:11: not TOML: Error while parsing key-value pair: cannot redefine existing integer 'd_model'"},
        Wrong{"seq_len =", "run.toml:4:10: not TOML: Error while parsing key-value pair: encountered end-of-file"}));

TEST(Config, NameBecomesAFolder) {
    const auto named = [](const std::string& name) { return error_of("name = " + name + "\n[task]\ntype = \"toy\""); };
    EXPECT_EQ(named("\"\""), "run.toml:1:8: name is empty; it becomes the name of a folder");
    EXPECT_EQ(named("\"a/b\""), "run.toml:1:8: name has a slash; it becomes the name of a folder");
    EXPECT_EQ(named("\"..\""), "run.toml:1:8: name begins with a dot; it becomes the name of a folder");
    EXPECT_EQ(named("\"a\\nb\""), "run.toml:1:8: name has a control character; it becomes the name of a folder");
    EXPECT_EQ(named("\"" + std::string(201, 'n') + "\""),
              "run.toml:1:8: name is longer than 200 bytes; it becomes the name of a folder");
    EXPECT_EQ(named("\"a\\u0000\""), "run.toml:1:8: name must not hold a NUL character");
    EXPECT_EQ(named("\"a b, ä\""), "no error");
}

TEST(Config, MissingKeysAreNamed) {
    const std::string message = error_of("[task]\nseq_len = 3");
    EXPECT_NE(message.find("run.toml:1:1: name is missing; it has no default"), std::string::npos) << message;
    EXPECT_NE(message.find("run.toml:1:2: task.type is missing; it has no default (one of "), std::string::npos)
        << message;
    EXPECT_NE(error_of("name = \"x\"").find("run.toml:1:1: task.type is missing"), std::string::npos);
}

TEST(Config, UnknownTaskAndProbeNameTheNearest) {
    EXPECT_NE(error_of("name = \"x\"\n[task]\ntype = \"tyo\"\nseq_len = 4\nfar = 3").find("did you mean \"toy\"?"),
              std::string::npos);
    const std::string probe = error_of(minimal + "[log.probes]\ngrad_nrom = 10");
    EXPECT_EQ(probe, "run.toml:5:1: unknown key log.probes.grad_nrom; did you mean grad_norm?");
    EXPECT_EQ(error_of(minimal + "[log.probes]\ngrad_norm = 0"),
              "run.toml:5:13: log.probes.grad_norm must be from 1 to 1000000000000, got 0");
    EXPECT_NE(
        error_of(minimal + "[log]\nprobes = [\"grad_norm\"]").find("run.toml:5:10: log.probes must be a table of"),
        std::string::npos);
}

TEST(Config, EveryProblemIsListedInOrder) {
    const std::string message =
        error_of("[task]\ntype = \"toy\"\nrate = 2\n[model]\nnum_heads = 5\nd_modle = 3\n[train]\nsteps = 1.5\n",
                 {"model.norm=per", "seed=-1", "nonsense"});
    EXPECT_EQ(
        message,
        "run.toml:1:1: name is missing; it has no default\n"
        "run.toml:3:8: task.rate must be above 0 and at most 1, got 2\n"
        "run.toml:5:13: model.num_heads = 5 does not divide model.d_model = 64; change one, or set model.head_dim\n"
        "run.toml:6:1: unknown key model.d_modle; did you mean d_model?\n"
        "run.toml:8:9: train.steps must be an integer, got the number 1.5\n"
        "command line: model.norm=per: model.norm must be one of \"none\", \"pre\", \"post\", got \"per\"; did you "
        "mean \"pre\"?\n"
        "command line: seed=-1: seed must be at least 0, got -1\n"
        "command line: nonsense: not a setting; write key=value, for example model.d_model=32");
}

TEST(Overrides, WrongOnesAreRefusedLikeTheFile) {
    const auto wrong = [](const std::string& text) { return error_of(minimal, {text}); };
    EXPECT_EQ(wrong("model.d_modle=3"),
              "command line: model.d_modle=3: unknown key model.d_modle; did you mean d_model?");
    EXPECT_EQ(wrong("lr=3"), "command line: lr=3: unknown key lr; did you mean optimizer.lr?");
    EXPECT_EQ(wrong("model.d_model=abc"),
              "command line: model.d_model=abc: model.d_model must be an integer, got the string \"abc\"");
    EXPECT_EQ(wrong("optimizer.lr=.1"),
              "command line: optimizer.lr=.1: optimizer.lr must be a number, got the string \".1\"; write 0.1");
    EXPECT_EQ(wrong("optimizer.lr=1e-3,1e-4"),
              "command line: optimizer.lr=1e-3,1e-4: optimizer.lr takes one value, not a list; do a run for each: "
              "optimizer.lr=1e-3, optimizer.lr=1e-4");
    EXPECT_NE(wrong("seed=0..4").find("a run for each: seed=0, ..."), std::string::npos);
    EXPECT_NE(wrong("seed=1,2,3,4").find("a run for each: seed=1, seed=2, seed=3, ..."), std::string::npos);
    EXPECT_NE(wrong("model.norm=pre,post").find("a run for each: model.norm=pre, model.norm=post"), std::string::npos);
    EXPECT_NE(wrong("log.probes.grad_norm=1,2").find("for each: log.probes.grad_norm=1, log.probes.grad_norm=2"),
              std::string::npos);
    EXPECT_NE(wrong("optimizer.lr=[1e-3]").find("a run for each: optimizer.lr=0.001"), std::string::npos);
    const std::string large = "and 1e400 is beyond the largest number, 1.7976931348623157e+308";
    EXPECT_EQ(wrong("optimizer.lr=1e400"), "command line: optimizer.lr=1e400: optimizer.lr must be a number, " + large);
    EXPECT_EQ(wrong("train.steps=1e400"), "command line: train.steps=1e400: train.steps must be an integer, " + large);
    EXPECT_NE(wrong("optimizer.lr=1e-400").find("1e-400 is closer to 0 than the smallest number, 5e-324; write 0"),
              std::string::npos);
    EXPECT_NE(wrong("seed=-99999999999999999999").find("beyond the smallest integer, -9223372036854775808"),
              std::string::npos);
    EXPECT_NE(wrong("log.probes.grad_norm=99999999999999999999").find("beyond the largest integer"), std::string::npos);
    EXPECT_EQ(wrong("optimizer.lr=1e-310"), "no error");
    EXPECT_EQ(wrong("name=1e400"), "no error");
    EXPECT_NE(wrong("name=\"x").find("command line: name=\"x: name is not a TOML string: "), std::string::npos);
    EXPECT_EQ(wrong("=3"), "command line: =3: what stands before = is not a key such as model.d_model");
    EXPECT_EQ(wrong("a b=3"), "command line: a b=3: what stands before = is not a key such as model.d_model");
    EXPECT_NE(wrong("name=\xff").find("is not valid UTF-8"), std::string::npos);
    EXPECT_EQ(wrong("model={d_model=3}"),
              "command line: model={d_model=3}: model is a table; set its keys one by one, model.key=value");
    EXPECT_EQ(wrong("name.first=3"),
              "command line: name.first=3: name is the string \"x\", not a table, at run.toml:1:8");
    EXPECT_EQ(error_of(minimal, {"seed=1", "seed=2"}),
              "command line: seed=2: the key is set twice, also by \"command line: seed=1\"");
}

TEST(Config, AnEndlessKeyIsRefused) {
    std::string key = "a";
    for (int i = 0; i < 100000; ++i) key += ".a";
    EXPECT_EQ(error_of(key + " = 1"), "run.toml: not a config: it has a key of more than 100 parts");
    EXPECT_NE(error_of(minimal, {key + "=1"}).find("what stands before = is not a key"), std::string::npos);
    EXPECT_NE(error_of(minimal, {"name={" + key + "=1}"}).find("name is longer than 200 bytes"), std::string::npos);
    EXPECT_EQ(error_of(minimal + "# " + std::string(300, '.')), "no error");
}

TEST(Nearest, FindsTyposAndSaysNothingOtherwise) {
    const std::vector<std::string> known{"warmup_steps", "final_ratio", "type"};
    EXPECT_EQ(nearest("warmup_step", known), "warmup_steps");
    EXPECT_EQ(nearest("tpye", known), "type");
    EXPECT_EQ(nearest("TYPE", known), "type");
    EXPECT_EQ(nearest("ratio", known), "final_ratio");
    EXPECT_EQ(nearest("beta1", known), "");
    EXPECT_EQ(nearest("", known), "");
    EXPECT_EQ(nearest(std::string(100000, 'x'), known), "");
    EXPECT_EQ(suggestion("beta1", {}), "; there is none");
}

}  // namespace
}  // namespace headscope::experiments
