#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "tests/experiments/tasks/generated_task.h"

namespace headscope::experiments {
namespace {

/// The Bayes loss at the n-th visit to a state: the mean entropy of the predictor over what n - 1 draws from a random
/// row show. One count among k is c with probability C(n-1-c + k-2, k-2) / C(n-1 + k-1, k-1).
double bayes_loss_at_visit(int n, int k) {
    const auto log_choose = [](int a, int b) {
        return std::lgamma(a + 1) - std::lgamma(b + 1) - std::lgamma(a - b + 1);
    };
    const double N = n - 1 + k;
    double sum = 0;
    for (int c = 0; c < n; ++c)
        sum += std::exp(log_choose(n - 1 - c + k - 2, k - 2) - log_choose(n - 1 + k - 1, k - 1)) * (c + 1) *
               std::log(c + 1);
    return std::log(N) - k * sum / N;
}

TEST(Markov, LossAtTheNthVisitIsThatOfTheReferenceTable) {
    EXPECT_NEAR(bayes_loss_at_visit(1, 3), 1.0986, 5e-5);
    EXPECT_NEAR(bayes_loss_at_visit(2, 3), 1.0397, 5e-5);
    EXPECT_NEAR(bayes_loss_at_visit(3, 3), 1.0026, 5e-5);
    EXPECT_NEAR(bayes_loss_at_visit(100000, 3), 0.8333, 1e-4);
    EXPECT_NEAR(bayes_loss_at_visit(100000, 8), 1.7179, 1e-4);

    // The task's true distributions have that entropy. Few of these sequences are too short for ten visits.
    const auto task = build_task("markov", {{"states", 3}, {"seq_len", 400}});
    std::vector<double> sum(10), visits(10);
    for (std::int64_t index = 0; index < 300; ++index) {
        const Batch batch = task->eval_batch(index, 16);
        const auto x = values_of(batch.inputs);
        std::vector<std::size_t> seen;
        for (std::size_t i = 0; i < x.size(); ++i) {
            if (i % 400 == 0) seen.assign(3, 0);
            const std::size_t visit = seen[static_cast<std::size_t>(x[i])]++;
            if (visit >= 10) continue;
            for (std::size_t v = 0; v < 3; ++v) {
                const double p = batch.truth.values<double>()[i * 3 + v];
                sum[visit] -= p * std::log(p);
            }
            ++visits[visit];
        }
    }
    for (std::size_t n = 0; n < 10; ++n)
        EXPECT_NEAR(sum[n] / visits[n], bayes_loss_at_visit(static_cast<int>(n + 1), 3), 0.004) << n;
}

/// P of every sequence of T + 1 states, with each row integrated out: a row with counts c has probability
/// (k - 1)! prod c_j! / (c + k - 1)!.
TEST(Markov, BayesFloorIsTheEntropyOfAllShortSequences) {
    constexpr int k = 2, T = 9;
    double entropy = 0, total = 0;
    for (unsigned bits = 0; bits < 1U << (T + 1); ++bits) {
        double counts[k][k] = {};
        for (unsigned t = 0; t < T; ++t) ++counts[bits >> t & 1U][bits >> (t + 1) & 1U];
        double log_p = -std::log(k);
        for (const auto& row : counts)
            log_p += std::lgamma(row[0] + 1) + std::lgamma(row[1] + 1) - std::lgamma(row[0] + row[1] + 2);
        total += std::exp(log_p);
        entropy -= std::exp(log_p) * log_p;
    }
    ASSERT_NEAR(total, 1, 1e-12);
    const auto task = build_task("markov", {{"states", k}, {"seq_len", T}});
    EXPECT_NEAR(floors_of(*task).at("bayes"), (entropy - std::log(k)) / T, 1e-3);
}

TEST(Markov, FloorsAreWhatLongSimulationsGive) {
    // Chains drawn here, with another generator, and the loss of each predictor against the tokens drawn.
    constexpr std::size_t k = 3, T = 96, sequences = 40000;
    std::mt19937_64 random(5);
    std::exponential_distribution<double> exponential;
    std::uniform_real_distribution<double> uniform;
    double unigram = 0, bayes = 0, chain = 0;
    for (std::size_t sequence = 0; sequence < sequences; ++sequence) {
        double matrix[k][k], counts[k][k] = {}, visits[k] = {}, seen[k] = {};
        for (auto& row : matrix) {
            for (double& p : row) p = exponential(random);
            const double sum = std::accumulate(row, row + k, 0.0);
            for (double& p : row) p /= sum;
        }
        auto x = static_cast<std::size_t>(uniform(random) * k);
        for (std::size_t t = 0; t < T; ++t) {
            ++seen[x];
            std::size_t y = 0;
            for (double u = uniform(random); y + 1 < k && u >= matrix[x][y]; ++y) u -= matrix[x][y];
            unigram -= std::log((seen[y] + 1) / static_cast<double>(t + 1 + k));
            bayes -= std::log((counts[x][y] + 1) / (visits[x] + k));
            chain -= std::log(matrix[x][y]);
            ++counts[x][y];
            ++visits[x];
            x = y;
        }
    }
    const auto task = build_task("markov", {{"states", 3}, {"seq_len", 96}});
    const auto floors = floors_of(*task);
    EXPECT_NEAR(floors.at("none"), std::log(3), 1e-12);
    EXPECT_NEAR(floors.at("bayes"), bayes / (sequences * T), 0.003);
    EXPECT_NEAR(references_of(*task).at("unigram"), unigram / (sequences * T), 0.003);
    EXPECT_NEAR(references_of(*task).at("chain"), chain / (sequences * T), 0.003);
    EXPECT_EQ(task->best_floor(), "bayes");
    // The run's own evaluation batches come to the same.
    TruthLoss truth;
    for (std::int64_t index = 0; index < 300; ++index) add_truth_loss(truth, task->eval_batch(index, 32));
    EXPECT_NEAR(truth.entropy / truth.scored, floors.at("bayes"), 0.006);
    EXPECT_NEAR(truth.cross_entropy / truth.scored, floors.at("bayes"), 0.006);
}

TEST(Markov, TruthIsTheBayesPredictorByHand) {
    const auto task = build_task("markov", {{"states", 4}, {"seq_len", 7}});
    const Batch batch = task->eval_batch(1, 5);
    for (std::int64_t b = 0; b < 5; ++b) {
        const auto* x = batch.inputs.data<std::int64_t>() + b * 7;
        for (std::int64_t t = 0; t < 7; ++t) {
            for (std::int64_t v = 0; v < 4; ++v) {
                double both = 0, from = 0;
                for (std::int64_t s = 0; s < t; ++s) {
                    if (x[s] != x[t]) continue;
                    ++from;
                    if (x[s + 1] == v) ++both;
                }
                EXPECT_NEAR(batch.truth.data<double>()[(b * 7 + t) * 4 + v], (both + 1) / (from + 4), 1e-12);
            }
        }
    }
}

TEST(Markov, TargetsAreTheNextTokens) {
    const auto task = build_task("markov", {{"states", 5}, {"seq_len", 6}});
    std::vector<double> first(5);
    for (std::int64_t step = 0; step < 2000; ++step) {
        const Batch batch = task->train_batch(step, 4);
        ASSERT_EQ(batch.inputs.shape(), (Shape{4, 6}));
        EXPECT_FALSE(batch.truth.defined() || batch.classes.defined());
        const auto x = values_of(batch.inputs), y = values_of(batch.targets);
        for (std::size_t i = 0; i < x.size(); ++i) {
            EXPECT_TRUE(x[i] >= 0 && x[i] < 5 && y[i] >= 0 && y[i] < 5);
            if (i % 6 < 5) {
                EXPECT_EQ(y[i], x[i + 1]);
            }
            if (i % 6 == 0) first[static_cast<std::size_t>(x[i])] += 1.0 / 8000;
        }
    }
    for (const double value : first) EXPECT_NEAR(value, 0.2, 0.02);
}

TEST(Markov, FloorsDoNotDependOnTheSeed) {
    const auto one = build_task("markov", {{"seq_len", 20}}, 1), two = build_task("markov", {{"seq_len", 20}}, 2);
    EXPECT_EQ(floors_of(*one), floors_of(*two));
}

TEST(Markov, DataAreAFunctionOfSeedSplitStepAndRow) {
    expect_pure_function("markov", {{"states", 4}, {"seq_len", 11}});
}

}  // namespace
}  // namespace headscope::experiments
