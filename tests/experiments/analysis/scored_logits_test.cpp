#include "experiments/analysis/scored_logits.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "autograd/ops/softmax.h"
#include "autograd/parallel.h"
#include "tests/experiments/probes/probe_helpers.h"

namespace headscope::experiments {
namespace {

/// Logits [3, 5, 7] and a batch that scores some of them.
struct Scored {
    Scored() : logits(Tensor::empty({3, 5, 7}, DType::f64)), batch(random_batch(3, 5, 7, "scored")) {
        fill_normal(logits, "logits", 2);
    }
    Losses losses() const {
        ScoredLogits scored(2);
        scored.add(logits, batch);
        return scored.losses();
    }
    Tensor logits;
    Batch batch;
};

/// Mean cross-entropy of softmax(beta * logits) over the targets of one class (-1: of all).
double loss_by_hand(const Scored& scored, double beta, std::int64_t of_class) {
    double sum = 0, count = 0;
    for (std::int64_t row = 0; row < 15; ++row) {
        const std::int64_t target = scored.batch.targets.data<std::int64_t>()[row];
        if (target < 0 || (of_class >= 0 && scored.batch.classes.data<std::int64_t>()[row] != of_class)) continue;
        const double* const z = scored.logits.data<double>() + row * 7;
        double total = 0;
        for (std::int64_t v = 0; v < 7; ++v) total += std::exp(beta * z[v]);
        sum += std::log(total) - beta * z[target];
        ++count;
    }
    return sum / count;
}

TEST(ScoredLogits, LossesByHand) {
    const Scored scored;
    const Losses losses = scored.losses();
    EXPECT_NEAR(losses.loss, loss_by_hand(scored, 1, -1), 1e-12);
    const double beta = losses.inverse_temperature;
    EXPECT_GT(std::abs(beta - 1), 0.01);
    EXPECT_NEAR(losses.loss_refit, loss_by_hand(scored, beta, -1), 1e-12);
    for (const std::int64_t c : {0, 1}) {
        EXPECT_NEAR(losses.class_loss[static_cast<std::size_t>(c)], loss_by_hand(scored, 1, c), 1e-12);
        EXPECT_NEAR(losses.class_loss_refit[static_cast<std::size_t>(c)], loss_by_hand(scored, beta, c), 1e-12);
    }
    // Random logits know nothing of random targets: the best beta is small, and no other is better.
    for (const double factor : {0.5, 0.9, 0.999, 1.001, 1.1, 2.0})
        EXPECT_GT(loss_by_hand(scored, beta * factor, -1), losses.loss_refit) << factor;
}

TEST(ScoredLogits, FindsTheTemperatureOfTheTruth) {
    Scored scored;
    for (const double beta : {0.02, 0.37, 1.0, 5.5}) {
        scored.batch.truth = softmax(scored.logits * beta);
        const Losses losses = scored.losses();
        EXPECT_NEAR(losses.inverse_temperature, beta, 1e-9 * beta);
        double entropy = 0, count = 0;
        for (std::int64_t row = 0; row < 15; ++row) {
            if (scored.batch.targets.data<std::int64_t>()[row] < 0) continue;
            for (std::int64_t v = 0; v < 7; ++v) {
                const double p = scored.batch.truth.data<double>()[row * 7 + v];
                entropy -= p * std::log(p);
            }
            ++count;
        }
        EXPECT_NEAR(losses.loss_refit, entropy / count, 1e-12);
        EXPECT_LE(losses.loss_refit, losses.loss);
        if (beta != 1) {
            EXPECT_LT(losses.loss_refit, losses.loss - 1e-3);
        }
    }
}

TEST(ScoredLogits, TemperatureStaysBetweenItsLimits) {
    Scored scored;
    const auto set_logits = [&](double of_target, double of_others) {
        scored.logits.fill_(of_others);
        for (std::int64_t row = 0; row < 15; ++row)
            if (const std::int64_t target = scored.batch.targets.data<std::int64_t>()[row]; target >= 0)
                scored.logits.data<double>()[row * 7 + target] = of_target;
    };
    set_logits(3, 2);  // always right: the louder the better
    EXPECT_EQ(scored.losses().inverse_temperature, largest_inverse_temperature);
    EXPECT_EQ(scored.losses().loss_refit, 0);
    set_logits(2, 3);  // always wrong
    EXPECT_EQ(scored.losses().inverse_temperature, smallest_inverse_temperature);
    EXPECT_NEAR(scored.losses().loss_refit, std::log(7), 1e-5);
    set_logits(2, 2);  // says nothing, at any temperature
    EXPECT_EQ(scored.losses().inverse_temperature, 1);
    EXPECT_EQ(scored.losses().loss_refit, scored.losses().loss);
    set_logits(1e6, 2e6);  // far beyond what exp() bears
    EXPECT_NEAR(scored.losses().loss, 1e6, 10);
    EXPECT_LE(scored.losses().loss_refit, scored.losses().loss);
}

TEST(ScoredLogits, NothingScoredIsNotANumber) {
    Scored scored;
    std::fill_n(scored.batch.targets.data<std::int64_t>(), 15, -1);
    const Losses losses = scored.losses();
    for (const double value :
         {losses.loss, losses.inverse_temperature, losses.loss_refit, losses.class_loss[1], losses.class_loss_refit[0]})
        EXPECT_TRUE(std::isnan(value));
    scored = Scored();
    scored.logits.fill_(std::nan(""));
    EXPECT_TRUE(std::isnan(scored.losses().loss_refit));
}

TEST(ScoredLogits, AnyNumberOfThreadsGivesTheSameBits) {
    Scored large;
    large.logits = Tensor::empty({40, 50, 7}, DType::f32);
    fill_normal(large.logits, "large", 3);
    large.batch = random_batch(40, 50, 7, "large");
    const int threads = num_threads();
    set_num_threads(1);
    const Losses one = large.losses();
    for (const int count : {2, 3}) {
        set_num_threads(count);
        const Losses many = large.losses();
        EXPECT_EQ(many.loss, one.loss);
        EXPECT_EQ(many.inverse_temperature, one.inverse_temperature);
        EXPECT_EQ(many.class_loss_refit, one.class_loss_refit);
    }
    set_num_threads(threads);
}

}  // namespace
}  // namespace headscope::experiments
