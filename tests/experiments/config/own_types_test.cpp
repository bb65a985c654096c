// An optimizer and a schedule registered by code outside the project: read, checked, written and built like ours.
#include <gtest/gtest.h>

#include "tests/experiments/tasks/toy_task.h"

namespace headscope::experiments {
namespace {

/// Moves every value down by lr * bias.
class DownOptimizer : public optim::Optimizer {
public:
    DownOptimizer(std::vector<optim::ParameterGroup> groups, double bias) : Optimizer(std::move(groups)), bias_(bias) {}

private:
    void update(double) override {
        for (const optim::ParameterGroup& group : groups_)
            for (const nn::Parameter& parameter : group.parameters) {
                Tensor values = parameter.tensor;
                for (std::int64_t i = 0; i < values.numel(); ++i)
                    values.data<float>()[i] -= static_cast<float>(group.lr * bias_);
            }
    }

    double bias_;
};

class DownSettings : public OptimizerSettings {
public:
    double bias = 0.5;
    std::int64_t low = 1, high = 3;
    void fields(Fields& fields) override {
        fields.real("bias", bias, "added to every step", {.min = 0, .max = 2});
        fields.integer("low", low, "");
        fields.integer("high", high, "");
    }
    std::vector<KeyProblem> check() const override {
        if (low < high) return {};
        return {{"low", "must be below optimizer.high"}};
    }
    int states_per_parameter() const override { return 3; }
    std::unique_ptr<optim::Optimizer> build(std::vector<optim::ParameterGroup> groups) const override {
        return std::make_unique<DownOptimizer>(std::move(groups), bias);
    }
};
const RegisterType<OptimizerSettings> registered_down("down", "for tests",
                                                      [] { return std::make_unique<DownSettings>(); });

class HalfSchedule : public optim::Schedule {
public:
    explicit HalfSchedule(double share) : share_(share) {}
    double factor(std::int64_t, std::int64_t) const override { return share_; }

private:
    double share_;
};

class HalfSettings : public ScheduleSettings {
public:
    double share = 0.5;
    void fields(Fields& fields) override { fields.real("share", share, "", {.above = 0}); }
    std::unique_ptr<optim::Schedule> build(const ScheduleContext& context) const override {
        return std::make_unique<HalfSchedule>(share * static_cast<double>(context.d_model));
    }
};
const RegisterType<ScheduleSettings> registered_half("half", "for tests",
                                                     [] { return std::make_unique<HalfSettings>(); });

TEST(OwnTypes, AreReadBuiltAndWritten) {
    const Config config = parse_config(minimal + "[model]\nd_model = 16\n[optimizer]\ntype = \"down\"\nbias = 0.25\n",
                                       "run.toml", {"schedule.type=half", "schedule.share=3"});
    Tensor p = Tensor::full({2}, 1);
    const auto optimizer = config.optimizer.settings->build({{{{"p", p}}, 0.5, 0}});
    optimizer->step();
    EXPECT_EQ(p.at({1}), 1 - 0.5 * 0.25);
    EXPECT_EQ(config.optimizer.settings->states_per_parameter(), 3);
    EXPECT_EQ(config.schedule.settings->build(schedule_context(config))->factor(0, 1), 48);

    const std::string text = config.resolved();
    EXPECT_NE(text.find("type = \"down\"\nlr = 0.001\nweight_decay = 0.0\nbias = 0.25\n"), std::string::npos) << text;
    EXPECT_NE(text.find("type = \"half\"\nwarmup_steps = 0\nshare = 3.0\n"), std::string::npos) << text;
    EXPECT_EQ(parse_config(text, "config.toml").resolved(), text);
}

TEST(OwnTypes, AreCheckedLikeOurs) {
    const std::string down = minimal + "[optimizer]\ntype = \"down\"\n";
    EXPECT_EQ(error_of(down + "bais = 1"), "run.toml:6:1: unknown key optimizer.bais; did you mean bias?");
    EXPECT_EQ(error_of(down + "bias = 3"), "run.toml:6:8: optimizer.bias must be at least 0 and at most 2, got 3");
    EXPECT_EQ(error_of(down + "low = 3"), "run.toml:6:7: optimizer.low must be below optimizer.high");
    EXPECT_EQ(error_of(minimal + "[optimizer]\nbias = 1"),
              "run.toml:5:1: optimizer.bias does not exist for optimizer.type = \"adam\", only for \"down\"");
    EXPECT_EQ(error_of(minimal + "[optimizer]\ntype = \"donw\"").find("run.toml:5:8: optimizer.type must be one of "),
              0u);
    EXPECT_EQ(error_of(minimal + "[schedule]\ntype = \"half\"\nfinal_ratio = 1"),
              "run.toml:6:1: schedule.final_ratio does not exist for schedule.type = \"half\", only for \"cosine\", "
              "\"linear\"");
}

TEST(OwnTypes, AnotherTypeLeavesOutTheFilesKeys) {
    const std::string file = minimal +
                             "[optimizer]\ntype = \"down\"\nbias = 0.25\nlow = 0\n"
                             "[schedule]\ntype = \"cosine\"\nfinal_ratio = 0.5\n";
    const Config sgd = parse_config(file, "run.toml", {"optimizer.type=sgd", "optimizer.momentum=0.5"});
    EXPECT_EQ(sgd.optimizer.type, "sgd");
    EXPECT_EQ(sgd.notes, std::vector<std::string>{"command line: optimizer.type=sgd: the file's keys of \"down\" are "
                                                  "left out: optimizer.bias, optimizer.low"});
    EXPECT_TRUE(parse_config(file, "run.toml", {"optimizer.type=down"}).notes.empty());
    // A key that both have stays.
    const Config linear = parse_config(file, "run.toml", {"schedule.type=linear"});
    EXPECT_TRUE(linear.notes.empty());
    EXPECT_NE(linear.resolved().find("type = \"linear\"\nwarmup_steps = 0\nfinal_ratio = 0.5\n"), std::string::npos);
    // The default was the file's type, too.
    EXPECT_EQ(parse_config(minimal + "[optimizer]\nbeta1 = 0.5\n", "run.toml", {"optimizer.type=sgd"}).notes.size(),
              1u);
    // A mistake of the file's own stays one, and so does one of the command line.
    EXPECT_EQ(error_of(file + "share = 1", {"schedule.type=linear"}),
              "run.toml:11:1: schedule.share does not exist for schedule.type = \"linear\", only for \"half\"");
    EXPECT_EQ(error_of(file, {"optimizer.type=sgd", "optimizer.bias=1"}),
              "command line: optimizer.bias=1: optimizer.bias does not exist for optimizer.type = \"sgd\", only for "
              "\"down\"");
    EXPECT_EQ(error_of(file + "bogus = 1", {"schedule.type=linear"}),
              "run.toml:11:1: unknown key schedule.bogus; known: type, warmup_steps, final_ratio");
}

TEST(OwnTypes, NamesAreTakenOnce) {
    try {
        const RegisterType<OptimizerSettings> again("adam", "", nullptr);
        FAIL() << "registered twice";
    } catch (const Error& error) {
        EXPECT_STREQ(error.what(), "optimizer: 'adam' is registered twice; rename one");
    }
    EXPECT_THROW(RegisterType<ScheduleSettings>("linear", "", nullptr), Error);
}

}  // namespace
}  // namespace headscope::experiments
