// Task `lag_mixture`: a local and a long-range relation in one loss.
//
// Tokens x are independent and uniform over V. The target of position t is f(x[t - near]) with probability p_near,
// g(x[t - far]) with p_far, and otherwise uniform; f and g are permutations drawn from the seed. Positions t >= far are
// scored. Classes name the source of each target: near, far, noise. A target's class is not visible to the model.
//
// Floors, with q = 1 - p_near - p_far and h(p) = -p ln p:
//   none  ln V
//   near  knows f only: one token has p_near + (1 - p_near)/V, the others (1 - p_near)/V each
//   far   knows g only, likewise
//   both  f(x) and g(x) are independent, so they fall on one token with probability 1/V:
//           (1 - 1/V) [h(p_near + q/V) + h(p_far + q/V) + (V - 2) h(q/V)] + 1/V [h(p_near + p_far + q/V) + (V - 1)
//           h(q/V)]
//   bag   knows both values but not which is which, so mixes both orders half and half: depends on f and g, by
//   enumeration
//         of all pairs of values. A reference line and no strict floor: attention that weighs the two unequally tells a
//         little more
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <utility>

#include "autograd/random.h"
#include "experiments/tasks/task.h"

namespace headscope {

namespace {

struct Rule {
    std::int64_t vocab_size = 16;
    std::int64_t seq_len = 48;
    std::int64_t near = 1;
    std::int64_t far = 12;
    double p_near = 0.6;
    double p_far = 0.3;

    /// Not below 0 where p_near + p_far is 1 up to rounding.
    double p_noise() const { return std::max(0.0, 1 - p_near - p_far); }
};

enum Source : std::int64_t { from_near, from_far, from_noise };

/// -p ln p, continued to 0 at 0.
double entropy_term(double p) { return p > 0 ? -p * std::log(p) : 0.0; }

/// Entropy when one token has probability p + (1 - p)/V and the others share the rest.
double one_lag_entropy(double p, double vocab_size) {
    const double rest = (1 - p) / vocab_size;
    return entropy_term(p + rest) + (vocab_size - 1) * entropy_term(rest);
}

double both_lags_entropy(const Rule& rule) {
    const auto vocab_size = static_cast<double>(rule.vocab_size);
    const double rest = rule.p_noise() / vocab_size;
    const double apart =
        entropy_term(rule.p_near + rest) + entropy_term(rule.p_far + rest) + (vocab_size - 2) * entropy_term(rest);
    const double together = entropy_term(rule.p_near + rule.p_far + rest) + (vocab_size - 1) * entropy_term(rest);
    return (1 - 1 / vocab_size) * apart + 1 / vocab_size * together;
}

/// Fisher-Yates shuffle of 0 .. size-1.
std::vector<std::int64_t> random_permutation(std::int64_t size, const RandomStream& random) {
    std::vector<std::int64_t> values(static_cast<std::size_t>(size));
    std::iota(values.begin(), values.end(), 0);
    for (std::size_t i = values.size() - 1; i > 0; --i) std::swap(values[i], values[random.below(i + 1, i)]);
    return values;
}

class LagMixtureTask : public Task {
public:
    LagMixtureTask(const Rule& rule, std::uint64_t seed)
        : rule_(rule),
          seed_(seed),
          f_(random_permutation(rule.vocab_size, RandomStream(seed, "lag_mixture.f"))),
          g_(random_permutation(rule.vocab_size, RandomStream(seed, "lag_mixture.g"))) {}

    std::int64_t vocab_size() const override { return rule_.vocab_size; }
    std::int64_t seq_len() const override { return rule_.seq_len; }

    Batch train_batch(std::int64_t step, std::int64_t batch_size) const override {
        return draw(RandomStream(seed_, "lag_mixture.train", static_cast<std::uint64_t>(step)), batch_size);
    }

    std::int64_t eval_batches(std::int64_t) const override { return -1; }

    Batch eval_batch(std::int64_t index, std::int64_t batch_size) const override {
        Batch batch = draw(RandomStream(seed_, "lag_mixture.eval", static_cast<std::uint64_t>(index)), batch_size);
        batch.truth = true_distribution(batch.inputs);
        return batch;
    }

    std::vector<std::string> class_names() const override { return {"near", "far", "noise"}; }

    std::vector<Floor> floors() const override {
        const auto vocab_size = static_cast<double>(rule_.vocab_size);
        return {{"none", std::log(vocab_size)},
                {"near", one_lag_entropy(rule_.p_near, vocab_size)},
                {"far", one_lag_entropy(rule_.p_far, vocab_size)},
                {"both", both_lags_entropy(rule_)},
                {"bag", bag_entropy()}};
    }

    std::string best_floor() const override { return "both"; }

private:
    std::int64_t f(std::int64_t token) const { return f_[static_cast<std::size_t>(token)]; }
    std::int64_t g(std::int64_t token) const { return g_[static_cast<std::size_t>(token)]; }

    /// Inputs, targets and classes, each [B,T]. Row b depends on (seed, stream, step, b) and not on the batch's size.
    Batch draw(const RandomStream& random, std::int64_t batch_size) const {
        const std::int64_t T = rule_.seq_len;
        const auto vocab_size = static_cast<std::uint64_t>(rule_.vocab_size);
        const Shape shape{batch_size, T};
        Batch batch{Tensor::empty(shape, DType::i64),
                    Tensor::full(shape, -1, DType::i64),
                    Tensor::full(shape, -1, DType::i64),
                    {}};
        for (std::int64_t b = 0; b < batch_size; ++b) {
            auto* x = batch.inputs.data<std::int64_t>() + b * T;
            auto* y = batch.targets.data<std::int64_t>() + b * T;
            auto* source = batch.classes.data<std::int64_t>() + b * T;
            // Three numbers per position: the token, the source of its target, the target if it is noise.
            const auto number = [&](std::int64_t which, std::int64_t t) {
                return static_cast<std::uint64_t>((b * 3 + which) * T + t);
            };
            for (std::int64_t t = 0; t < T; ++t)
                x[t] = static_cast<std::int64_t>(random.below(vocab_size, number(0, t)));
            for (std::int64_t t = rule_.far; t < T; ++t) {
                const double u = random.uniform(number(1, t));
                source[t] = u < rule_.p_near ? from_near : u < rule_.p_near + rule_.p_far ? from_far : from_noise;
                y[t] = source[t] == from_near  ? f(x[t - rule_.near])
                       : source[t] == from_far ? g(x[t - rule_.far])
                                               : static_cast<std::int64_t>(random.below(vocab_size, number(2, t)));
            }
        }
        return batch;
    }

    /// P(y | inputs) [B,T,V]; zeros at positions that are not scored.
    Tensor true_distribution(const Tensor& inputs) const {
        const std::int64_t T = rule_.seq_len;
        const std::int64_t V = rule_.vocab_size;
        Tensor truth = Tensor::zeros({inputs.size(0), T, V}, DType::f64);
        for (std::int64_t b = 0; b < inputs.size(0); ++b) {
            const auto* x = inputs.data<std::int64_t>() + b * T;
            for (std::int64_t t = rule_.far; t < T; ++t) {
                double* p = truth.data<double>() + (b * T + t) * V;
                std::fill_n(p, V, rule_.p_noise() / static_cast<double>(V));
                p[f(x[t - rule_.near])] += rule_.p_near;
                p[g(x[t - rule_.far])] += rule_.p_far;
            }
        }
        return truth;
    }

    double bag_entropy() const {
        const auto V = rule_.vocab_size;
        const double rest = rule_.p_noise() / static_cast<double>(V);
        double sum = 0;
        for (std::int64_t a = 0; a < V; ++a) {
            for (std::int64_t b = 0; b < V; ++b) {
                // Half of the time a is the near value and b the far one, half of the time the other way round.
                const std::array<std::pair<std::int64_t, double>, 4> likely{{{f(a), rule_.p_near / 2},
                                                                             {g(b), rule_.p_far / 2},
                                                                             {f(b), rule_.p_near / 2},
                                                                             {g(a), rule_.p_far / 2}}};
                std::int64_t distinct = 0;
                for (std::size_t i = 0; i < likely.size(); ++i) {
                    double p = rest;
                    bool first = true;
                    for (std::size_t j = 0; j < likely.size(); ++j) {
                        if (likely[j].first != likely[i].first) continue;
                        p += likely[j].second;
                        if (j < i) first = false;
                    }
                    if (!first) continue;
                    sum += entropy_term(p);
                    ++distinct;
                }
                sum += static_cast<double>(V - distinct) * entropy_term(rest);
            }
        }
        return sum / static_cast<double>(V * V);
    }

    Rule rule_;
    std::uint64_t seed_;
    std::vector<std::int64_t> f_;
    std::vector<std::int64_t> g_;
};

class LagMixtureSettings : public TaskSettings {
public:
    void fields(Fields& fields) override {
        fields.integer("vocab_size", rule_.vocab_size, "different tokens", {.min = 2, .max = 4096});
        fields.integer("seq_len", rule_.seq_len, "tokens per sequence", {.min = 1, .max = 1 << 20});
        fields.integer("near", rule_.near, "lag of the local relation", {.min = 0});
        fields.integer("far", rule_.far, "lag of the long-range relation; positions from it on are scored", {.min = 0});
        fields.real("p_near", rule_.p_near, "probability that the local relation gives the target",
                    {.min = 0, .max = 1});
        fields.real("p_far", rule_.p_far, "probability that the long-range relation gives the target",
                    {.min = 0, .max = 1});
    }

    std::vector<Problem> check() const override {
        std::vector<Problem> problems;
        if (rule_.near >= rule_.far)
            problems.push_back({"near", fmt::format("near = {} must be less than far = {}", rule_.near, rule_.far)});
        if (rule_.far >= rule_.seq_len)
            problems.push_back(
                {"far", fmt::format("far = {} must be less than seq_len = {}", rule_.far, rule_.seq_len)});
        // The slack lets .7 + .3 and the like through whichever way they round.
        if (rule_.p_near + rule_.p_far > 1 + 1e-12)
            problems.push_back(
                {"p_far", fmt::format("p_near + p_far = {} + {} must not be more than 1", rule_.p_near, rule_.p_far)});
        return problems;
    }

    std::unique_ptr<Task> build(std::uint64_t seed) const override {
        return std::make_unique<LagMixtureTask>(rule_, seed);
    }

private:
    Rule rule_;
};

const RegisterTask registered("lag_mixture", "a local and a long-range relation in one loss",
                              [] { return std::make_unique<LagMixtureSettings>(); });

}  // namespace

}  // namespace headscope
