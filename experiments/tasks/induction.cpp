// Task `induction`: a block of random length, repeated; what follows a token is what followed it before.
//
// A start s is uniform over 0 .. max_start and a period p over min_period .. max_period. s + p distinct tokens of V, in
// random order, are the s tokens before the start and the block of p; the block repeats until the sequence is full. The
// target is the next token; the last position has none. As all tokens before the first repetition differ, a token seen
// before always means the block.
//
// Classes: `repeat` for positions t >= s + p, whose target is determined: the token has been seen before, and the
// target followed it. `first` for the others; the one before the first repetition, t = s + p - 1, is of them, since
// nothing shows that the block ends there. score = "repeat" scores only the first kind, "all" both.
//
// While no token has been seen twice, every (s, p) with s + p > t is as likely as it was at the start. Of the W(t) such
// pairs, one for each s with t + 1 - s a possible period says that the block ends here and x[s] follows; the other
// pairs give the V - t - 1 new tokens equal shares. This is the true distribution at `first`; H(t) is its entropy.
//
// Floors, as means over all targets that are scored (E over s and p; n = seq_len - 1 - s - p targets of class repeat):
//   none   ln V
//   block  guesses among the p tokens of the block where the target is determined:
//            score "repeat": E[n ln p] / E[n]     "all": E[H(0) + ... + H(s + p - 1) + n ln p] / (seq_len - 1)
//   copy   knows the rule: 0, and for "all" E[H(0) + ... + H(s + p - 1)] / (seq_len - 1)
// The task is that of the induction heads of Olsson et al. (2022, "In-context learning and induction heads"); random
// periods and starts keep a fixed lag from doing it, so it takes two layers.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>

#include "autograd/random.h"
#include "experiments/tasks/sampling.h"
#include "experiments/tasks/task.h"

namespace headscope {

namespace {

struct Rule {
    std::int64_t vocab_size = 64;
    std::int64_t seq_len = 64;
    std::int64_t min_period = 8;
    std::int64_t max_period = 24;
    std::int64_t max_start = 8;
    std::string score = "repeat";

    bool scores_all() const { return score == "all"; }
    std::int64_t most_distinct() const { return max_start + max_period; }
    bool is_period(std::int64_t p) const { return min_period <= p && p <= max_period; }
};

enum Determined : std::int64_t { in_first, in_repeat };

/// What is known after t + 1 different tokens.
struct Unseen {
    double end;         ///< P(the block ends here and started at s), for each s that allows it
    double fresh;       ///< P(next token is v), for each token v not seen yet
    std::int64_t ends;  ///< how many s allow it
};

Unseen after_different_tokens(const Rule& rule, std::int64_t t) {
    std::int64_t pairs = 0;
    std::int64_t ends = 0;
    for (std::int64_t s = 0; s <= rule.max_start; ++s) {
        pairs += std::max<std::int64_t>(0, rule.max_period - std::max(rule.min_period, t + 1 - s) + 1);
        if (rule.is_period(t + 1 - s)) ++ends;
    }
    const double end = 1 / static_cast<double>(pairs);
    const std::int64_t fresh = rule.vocab_size - t - 1;
    return {end, fresh > 0 ? static_cast<double>(pairs - ends) * end / static_cast<double>(fresh) : 0.0, ends};
}

/// H(t).
double entropy_after_different_tokens(const Rule& rule, std::int64_t t) {
    const Unseen p = after_different_tokens(rule, t);
    const auto term = [](double q) { return q > 0 ? -q * std::log(q) : 0.0; };
    return static_cast<double>(p.ends) * term(p.end) + static_cast<double>(rule.vocab_size - t - 1) * term(p.fresh);
}

class InductionTask : public Task {
public:
    InductionTask(const Rule& rule, std::uint64_t seed) : rule_(rule), seed_(seed) {}

    std::int64_t vocab_size() const override { return rule_.vocab_size; }
    std::int64_t seq_len() const override { return rule_.seq_len; }

    Batch train_batch(std::int64_t step, std::int64_t batch_size) const override {
        return draw(RandomStream(seed_, "induction.train", static_cast<std::uint64_t>(step)), batch_size);
    }

    std::int64_t eval_batches(std::int64_t) const override { return -1; }

    Batch eval_batch(std::int64_t index, std::int64_t batch_size) const override {
        Batch batch = draw(RandomStream(seed_, "induction.eval", static_cast<std::uint64_t>(index)), batch_size);
        batch.truth = true_distribution(batch);
        return batch;
    }

    std::vector<std::string> class_names() const override { return {"first", "repeat"}; }

    std::vector<Floor> floors() const override {
        double scored = 0;   // targets, summed over all (s, p)
        double first = 0;    // entropy of those of class `first`
        double guesses = 0;  // loss of guessing among the block's tokens at the others
        for (std::int64_t s = 0; s <= rule_.max_start; ++s) {
            for (std::int64_t p = rule_.min_period; p <= rule_.max_period; ++p) {
                const auto determined = static_cast<double>(rule_.seq_len - 1 - s - p);
                scored += rule_.scores_all() ? static_cast<double>(rule_.seq_len - 1) : determined;
                guesses += determined * std::log(static_cast<double>(p));
                for (std::int64_t t = 0; rule_.scores_all() && t < s + p; ++t)
                    first += entropy_after_different_tokens(rule_, t);
            }
        }
        return {{"none", std::log(static_cast<double>(rule_.vocab_size))},
                {"block", (first + guesses) / scored},
                {"copy", first / scored}};
    }

    std::string best_floor() const override { return "copy"; }

private:
    /// Inputs, targets and classes, each [B,T]. Row b depends on (seed, stream, step, b) and not on the batch's size.
    Batch draw(const RandomStream& random, std::int64_t batch_size) const {
        const std::int64_t T = rule_.seq_len;
        const Shape shape{batch_size, T};
        Batch batch{Tensor::empty(shape, DType::i64),
                    Tensor::full(shape, -1, DType::i64),
                    Tensor::full(shape, -1, DType::i64),
                    {}};
        const auto periods = static_cast<std::uint64_t>(rule_.max_period - rule_.min_period + 1);
        for (std::int64_t b = 0; b < batch_size; ++b) {
            auto* x = batch.inputs.data<std::int64_t>() + b * T;
            auto* y = batch.targets.data<std::int64_t>() + b * T;
            auto* determined = batch.classes.data<std::int64_t>() + b * T;
            // Numbers of a row: the start, the period, and one for each token that may be drawn.
            const auto number = static_cast<std::uint64_t>(b * (2 + rule_.most_distinct()));
            const auto start =
                static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(rule_.max_start + 1), number));
            const auto period = rule_.min_period + static_cast<std::int64_t>(random.below(periods, number + 1));
            const auto tokens = draw_distinct(start + period, rule_.vocab_size, random, number + 2);
            std::ranges::copy(tokens, x);
            for (std::int64_t t = start + period; t < T; ++t) x[t] = x[t - period];
            for (std::int64_t t = 0; t + 1 < T; ++t) {
                determined[t] = t < start + period ? in_first : in_repeat;
                if (determined[t] == in_repeat || rule_.scores_all()) y[t] = x[t + 1];
            }
        }
        return batch;
    }

    /// P(y | inputs) [B,T,V]; zeros at positions that are not scored.
    Tensor true_distribution(const Batch& batch) const {
        const std::int64_t T = rule_.seq_len;
        const std::int64_t V = rule_.vocab_size;
        Tensor truth = Tensor::zeros({batch.inputs.size(0), T, V}, DType::f64);
        for (std::int64_t i = 0; i < batch.inputs.numel(); ++i) {
            const std::int64_t target = batch.targets.data<std::int64_t>()[i];
            if (target < 0) continue;
            double* p = truth.data<double>() + i * V;
            if (batch.classes.data<std::int64_t>()[i] == in_repeat) {
                p[target] = 1;
                continue;
            }
            const std::int64_t t = i % T;
            const auto* x = batch.inputs.data<std::int64_t>() + (i - t);
            const Unseen unseen = after_different_tokens(rule_, t);
            std::fill_n(p, V, unseen.fresh);
            for (std::int64_t s = 0; s <= t; ++s)
                p[x[s]] = s <= rule_.max_start && rule_.is_period(t + 1 - s) ? unseen.end : 0;
        }
        return truth;
    }

    Rule rule_;
    std::uint64_t seed_;
};

class InductionSettings : public TaskSettings {
public:
    void fields(Fields& fields) override {
        fields.integer("vocab_size", rule_.vocab_size, "different tokens", {.min = 2, .max = 4096});
        fields.integer("seq_len", rule_.seq_len, "tokens per sequence", {.min = 1, .max = 1 << 20});
        fields.integer("min_period", rule_.min_period, "shortest block", {.min = 1, .max = 4096});
        fields.integer("max_period", rule_.max_period, "longest block", {.min = 1, .max = 4096});
        fields.integer("max_start", rule_.max_start, "most tokens before the block", {.min = 0, .max = 4096});
        fields.choice("score", rule_.score, {"repeat", "all"}, "score determined targets only, or all");
    }

    std::vector<Problem> check() const override {
        std::vector<Problem> problems;
        if (rule_.min_period > rule_.max_period)
            problems.push_back({"min_period", fmt::format("min_period = {} must not be more than max_period = {}",
                                                          rule_.min_period, rule_.max_period)});
        if (rule_.most_distinct() > rule_.vocab_size)
            problems.push_back({"vocab_size", fmt::format("vocab_size = {} must be at least max_start + max_period = "
                                                          "{}, since all tokens up to the block's end differ",
                                                          rule_.vocab_size, rule_.most_distinct())});
        if (rule_.seq_len < rule_.most_distinct() + 2)
            problems.push_back({"seq_len", fmt::format("seq_len = {} must be at least max_start + max_period + 2 = {}, "
                                                       "or some sequences have no determined target",
                                                       rule_.seq_len, rule_.most_distinct() + 2)});
        return problems;
    }

    std::unique_ptr<Task> build(std::uint64_t seed) const override {
        return std::make_unique<InductionTask>(rule_, seed);
    }

private:
    Rule rule_;
};

const RegisterTask registered("induction", "a block of random length, repeated: copy what followed before",
                              [] { return std::make_unique<InductionSettings>(); });

}  // namespace

}  // namespace headscope
