// `headscope list` and `headscope describe`: what they say comes from the registries and the declared keys.
#include "experiments/cli/kinds.h"

#include <gtest/gtest.h>

#include "experiments/probes/probe.h"
#include "tests/experiments/tasks/toy_task.h"
#include "tests/experiments/text_checks.h"

namespace headscope::experiments::cli {
namespace {

/// A probe whose values are codes, and which makes passes of all kinds.
class Coded : public CaptureProbe {
    MetricSpec spec(const ProbeSetup& setup) const override {
        return {.name = "coded",
                .long_name = "which of two",
                .units = "1",
                .formula = "f",
                .source = "test",
                .invariance = "GL",
                .dimensions = {{"class", static_cast<std::int64_t>(setup.classes.size()), setup.classes}},
                .value_labels = {"quiet", "loud"}};
    }
    std::vector<SequenceSource> sources() const override {
        return {SequenceSource::evaluation, SequenceSource::repeated};
    }
    bool needs_activation_gradients() const override { return true; }
    std::unique_ptr<Accumulator> accumulate(const ProbeContext&) const override { return nullptr; }
};
const RegisterProbe registered_coded("coded", [] { return std::make_unique<Coded>(); });

template <class Call>
std::string message_of(const Call& call) {
    try {
        call();
    } catch (const UsageError& error) {
        return error.what();
    }
    return "no error";
}

TEST(List, NamesAllKinds) {
    const std::string text = list_text("");
    for (const char* kind :
         {"tasks", "attentions", "positions", "modules", "optimizers", "schedules", "probes", "tables"})
        EXPECT_TRUE(contains(text, std::string(kind) + " ")) << text;
}

TEST(List, NamesWhatIsRegistered) {
    EXPECT_TRUE(contains(list_text("tasks"), "toy               for tests\n")) << list_text("tasks");
    EXPECT_TRUE(contains(list_text("schedules"), "constant  stays as it is after warm-up\ncosine    "));
    EXPECT_TRUE(contains(list_text("attentions"), "softmax  softmax of q k^T / sqrt(d_k) over the visible keys\n"));
    EXPECT_TRUE(contains(list_text("positions"), "learned     a trained row per position"));
    EXPECT_EQ(list_text("position"), list_text("positions"));
    for (const std::string& name : probe_names()) EXPECT_TRUE(contains(list_text("probes"), name + " "));
}

TEST(Describe, EveryEntryOfEveryKind) {
    for (const Kind& kind : kinds()) {
        EXPECT_FALSE(kind.entries.empty()) << kind.name;
        for (const KindEntry& entry : kind.entries) {
            const std::string text = describe_text(kind.name, entry.name);
            EXPECT_EQ(text.rfind(entry.name + ": " + entry.doc + "\n\n  ", 0), 0u) << text;
            EXPECT_EQ(text.back(), '\n');
        }
    }
}

TEST(Describe, KeysHaveTypesDefaultsRangesAndMeaning) {
    const std::string sgd = describe_text("optimizers", "sgd");
    EXPECT_TRUE(contains(sgd,
                         "  optimizer.lr                    number            default 0.001, at least 0\n"
                         "      learning rate\n"))
        << sgd;
    EXPECT_TRUE(contains(sgd, "optimizer.nesterov              true or false     default false\n"));
    EXPECT_FALSE(contains(sgd, "beta1") || contains(sgd, "optimizer.type"));
    const std::string toy = describe_text("tasks", "toy");
    EXPECT_TRUE(contains(toy, "  task.seq_len                    integer           default 12, at least 1\n")) << toy;
    EXPECT_TRUE(contains(toy, "  task.path                       path              default \"\"\n      a file\n"));
    const std::string tokens = describe_text("tasks", "tokens");
    EXPECT_TRUE(contains(tokens, "  task.path                       path              default (required)\n")) << tokens;
    const std::string model = describe_text("tables", "model");
    EXPECT_TRUE(contains(model, "default \"pre\", one of \"none\", \"pre\", \"post\"\n")) << model;
    EXPECT_TRUE(contains(
        model, "default (see below), from 1 to 1000000000\n      width of an attention head; default d_model"));
    EXPECT_TRUE(contains(describe_text("modules", "norm"), "model.norm = \"pre\" by default; one of \"none\", "));
}

TEST(Describe, ProbesSayHowTheyMeasure) {
    const std::string overlap = describe_text("probes", "overlap");
    for (const char* part : {"log.probes.overlap = N", "/heads/overlap/value", "formula     ||U_i^T U_j||_F^2",
                             "dimensions  step, layer, projection (q k v o), head, head_other\n", "units       1\n",
                             "range       0 to 1\n", "source      Bjorck", "invariance  GL\n",
                             "stage       weights, before", "passes      none\n",
                             "null        mean 0.25, standard deviation 0.01645, for d_model = 64 and head_dim = 16\n"
                             "              closed form\n"})
        EXPECT_TRUE(contains(overlap, part)) << part << " in\n" << overlap;
    const std::string grad_norm = describe_text("probes", "grad_norm");
    EXPECT_TRUE(contains(grad_norm, "range       0 to inf\n")) << grad_norm;
    EXPECT_TRUE(contains(grad_norm, "null        none\n"));
    const std::string composition = describe_text("probes", "composition");
    EXPECT_TRUE(contains(composition, "\n              measured on 1000 draws; standard errors ")) << composition;
    EXPECT_TRUE(contains(grad_norm, "stage       gradients, on steps that train"));
    const std::string entropy = describe_text("probes", "attention_entropy");
    EXPECT_TRUE(contains(entropy, "stage       activations")) << entropy;
    EXPECT_TRUE(contains(entropy, "passes      forward, over evaluation batches\n"));
}

TEST(Describe, ProbesSayWhatTheirCodesMean) {
    const std::string text = describe_text("probes", "coded");
    EXPECT_TRUE(contains(text, "values      0 quiet, 1 loud\n")) << text;
    EXPECT_TRUE(
        contains(text, "passes      forward and backward, over evaluation batches and repeated random tokens\n"));
    EXPECT_FALSE(contains(describe_text("probes", "overlap"), "values  "));
}

TEST(Describe, UnknownNamesGetTheNearest) {
    EXPECT_EQ(message_of([] { list_text("optimisers"); }),
              "list: unknown kind \"optimisers\"; did you mean optimizers?");
    EXPECT_EQ(message_of([] { describe_text("weather", "sgd"); }),
              "describe: unknown kind \"weather\"; known: tasks, attentions, positions, norms, "
              "feed_forwards, optimizers, schedules, modules, probes, tables");
    EXPECT_EQ(message_of([] { describe_text("probes", "grad_nrom"); }),
              "describe: there is no \"grad_nrom\" among the probes; did you mean grad_norm?");
}

}  // namespace
}  // namespace headscope::experiments::cli
