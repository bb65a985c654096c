// The order in which the training loop calls its observers, and where it ends.
#include "experiments/training/training_loop.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "experiments/config/config.h"

namespace headscope::experiments {
namespace {

Experiment experiment() {
    return build_experiment(
        parse_config("name = \"x\"\ntask = {type = \"reversal\", vocab_size = 5, length = 3}\n"
                     "model = {d_model = 6, num_heads = 3, d_ff = 4, num_layers = 1}\n"
                     "train = {steps = 9, batch_size = 2}\n",
                     "run.toml"));
}

/// Writes down what it is called for: its name, the moment, and the number of updates done then.
class Listener : public Observer {
public:
    Listener(std::string name, std::vector<std::string>& calls) : name_(std::move(name)), calls_(calls) {}

    void at_weights(TrainingState& state) override {
        note("weights", state);
        if (state.steps_done() == stop_at) throw StopRequested();
    }
    bool wants_end(const TrainingState& state) const override { return state.steps_done() == end_at; }
    void keep_weights(TrainingState& state, bool last) override { note(last ? "last" : "measured", state); }
    void at_gradients(TrainingState& state, const Batch& batch) override {
        note("gradients", state);
        EXPECT_EQ(batch.inputs.size(0), 2);
        EXPECT_TRUE(state.model().named_parameters().front().tensor.grad().defined());
        before_ = state.model().named_parameters().front().tensor.clone();
    }
    void before_update(TrainingState& state) override {
        note("before", state);
        EXPECT_EQ(difference(state), 0);
    }
    void after_update(TrainingState& state, const Batch& /*batch*/) override {
        note("after", state);
        EXPECT_GT(difference(state), 0);
    }
    void after_step(TrainingState& state, const StepResult& result) override {
        note("step", state);
        EXPECT_GT(result.grad_norm, 0);
    }

    std::int64_t end_at = -1, stop_at = -1;

private:
    void note(const std::string& moment, const TrainingState& state) {
        calls_.push_back(name_ + " " + moment + " " + std::to_string(state.steps_done()));
    }
    /// Of the first parameter and what it was when the gradients were complete.
    double difference(TrainingState& state) const {
        double sum = 0;
        const Tensor now = state.model().named_parameters().front().tensor;
        for (std::int64_t i = 0; i < now.numel(); ++i)
            sum += std::abs(static_cast<double>(now.data<float>()[i] - before_.data<float>()[i]));
        return sum;
    }

    std::string name_;
    std::vector<std::string>& calls_;
    Tensor before_;
};

using Calls = std::vector<std::string>;

TEST(TrainingLoop, CallsEveryObserverAtEveryMoment) {
    const Experiment small = experiment();
    TrainingState state(small);
    Calls calls;
    Listener a("a", calls), b("b", calls);
    run_training_loop(state, {&a, &b}, {.step = 1}, nullptr);
    EXPECT_EQ(calls, (Calls{"a weights 0", "b weights 0", "a measured 0", "b measured 0", "a gradients 0",
                            "b gradients 0", "a before 0", "b before 0", "a after 0", "b after 0", "a step 1",
                            "b step 1", "a weights 1", "b weights 1", "a last 1", "b last 1"}));
    calls.clear();
    run_training_loop(state, {&a}, {.step = 2, .looks_at_weights = false}, nullptr);
    EXPECT_EQ(calls, (Calls{"a weights 1", "a measured 1", "a gradients 1", "a before 1", "a after 1", "a step 2"}));
    calls.clear();
    run_training_loop(state, {&a}, {.step = 2, .looks_at_weights = false}, nullptr);
    EXPECT_EQ(calls, Calls{});
}

TEST(TrainingLoop, EndsWhereAnObserverWantsIt) {
    const Experiment small = experiment();
    TrainingState state(small);
    Calls calls;
    Listener a("a", calls), b("b", calls);
    b.end_at = 3;
    run_training_loop(state, {&a, &b}, {.step = 9}, nullptr);
    EXPECT_EQ(state.steps_done(), 3);
    EXPECT_EQ(calls.back(), "b last 3");
}

TEST(TrainingLoop, StopsByFlagBeforeAStepAndInTheMiddleOfMeasuring) {
    const Experiment small = experiment();
    TrainingState state(small);
    Calls calls;
    Listener a("a", calls), b("b", calls);
    std::atomic<bool> stop = true;
    EXPECT_THROW(run_training_loop(state, {&a}, {.step = 9}, &stop), StopRequested);
    EXPECT_EQ(calls, Calls{});
    stop = false;
    a.stop_at = 2;
    EXPECT_THROW(run_training_loop(state, {&a, &b}, {.step = 9}, &stop), StopRequested);
    EXPECT_EQ(state.steps_done(), 2);
    EXPECT_EQ(calls.back(), "a weights 2");
}

}  // namespace
}  // namespace headscope::experiments
