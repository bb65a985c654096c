// Task `dyck`: words of balanced brackets of k kinds (Dyck-k; bounded depth as in Hewitt et al. 2020, "RNNs can
// generate bounded hierarchical languages with optimal memory"); next token.
//
// A word has N = length brackets; token i opens kind i, token k + i closes it. At depth d with r brackets to go, the
// next one opens if d = 0, closes if d = r or d = max_depth, and else opens with probability p_open. What opens has a
// uniform kind, what closes has the kind of its partner. The model sees all but the last bracket, N - 1 tokens, and
// each target is the next bracket. score = "closing" scores the targets that close, whose kind is determined; "all"
// scores every target, and then whether the next bracket closes is mostly not.
//
// Classes of targets: open; adjacent, which closes the bracket just before; distant, which closes an earlier one.
// annotations(): `depth` after each input token, and `partner`, the place of the bracket that it closes or is closed
// by; -1 when that is the word's last bracket, which is no input.
//
// Floors, the mean over scored targets, by dynamic programming over (brackets to go, depth, was the last one opened):
//   none       whether a target opens is known as a share of all targets only; any kind: with score = "closing" ln k
//   shape      knows the depth and what is to go, so the odds of opening, and no kinds (not with "closing": as none)
//   neighbour  knows also the last bracket, so the kind of adjacent targets, and not that of distant ones
//   stack      knows the kind of whatever is open: with score = "closing" 0
#include <fmt/format.h>

#include <cmath>

#include "autograd/random.h"
#include "experiments/tasks/task.h"

namespace headscope {

namespace {

struct Rule {
    std::int64_t kinds = 2;
    std::int64_t length = 32;
    std::int64_t max_depth = 8;
    double p_open = 0.5;
    std::string score = "closing";

    /// Probability that the next bracket opens; `left` brackets are to go, the next one included.
    double chance_to_open(std::int64_t depth, std::int64_t left) const {
        if (depth == 0) return 1;
        return depth == left || depth == max_depth ? 0 : p_open;
    }
};

enum Class : std::int64_t { opens, closes_adjacent, closes_distant };

/// -p ln p, continued to 0 at 0.
double entropy_term(double p) { return p > 0 ? -p * std::log(p) : 0.0; }

double entropy_of_coin(double p) { return entropy_term(p) + entropy_term(1 - p); }

/// Expected numbers per word, of the targets (every bracket but the first).
struct Expected {
    double choices = 0;   ///< entropy of whether to open, given the depth and what is to go
    double adjacent = 0;  ///< targets that close the bracket just before
};

Expected expected_per_word(const Rule& rule) {
    Expected expected;
    // Probability of each depth, by whether the last bracket opened. The first one did.
    const auto depths = static_cast<std::size_t>(std::min(rule.max_depth, rule.length / 2)) + 2;
    std::vector<double> after_open(depths), after_close(depths);
    after_open[1] = 1;
    for (std::int64_t left = rule.length - 1; left > 0; --left) {
        std::vector<double> next_open(depths), next_close(depths);
        for (std::size_t depth = 0; depth + 1 < depths; ++depth) {
            const double here = after_open[depth] + after_close[depth];
            if (here == 0) continue;
            const double open = rule.chance_to_open(static_cast<std::int64_t>(depth), left);
            expected.choices += here * entropy_of_coin(open);
            expected.adjacent += after_open[depth] * (1 - open);
            next_open[depth + 1] += here * open;
            if (depth > 0) next_close[depth - 1] += here * (1 - open);
        }
        after_open.swap(next_open);
        after_close.swap(next_close);
    }
    return expected;
}

class DyckTask : public Task {
public:
    DyckTask(const Rule& rule, std::uint64_t seed) : rule_(rule), seed_(seed) {}

    std::int64_t vocab_size() const override { return 2 * rule_.kinds; }
    std::int64_t seq_len() const override { return rule_.length - 1; }

    Batch train_batch(std::int64_t step, std::int64_t batch_size) const override {
        return draw(RandomStream(seed_, "dyck.train", static_cast<std::uint64_t>(step)), batch_size, {});
    }

    std::int64_t eval_batches(std::int64_t) const override { return -1; }

    Batch eval_batch(std::int64_t index, std::int64_t batch_size) const override {
        return draw(RandomStream(seed_, "dyck.eval", static_cast<std::uint64_t>(index)), batch_size,
                    Tensor::zeros({batch_size, seq_len(), vocab_size()}, DType::f64));
    }

    std::vector<std::string> class_names() const override { return {"open", "adjacent", "distant"}; }

    // Every word has length/2 brackets that close, all of them targets, and one less that open and are targets; so a
    // mean over targets is an expected number per word over a fixed count.
    std::vector<Floor> floors() const override {
        const Expected expected = expected_per_word(rule_);
        const double kind = std::log(static_cast<double>(rule_.kinds));
        const double closing = static_cast<double>(rule_.length) / 2, opening = closing - 1;
        const double distant = closing - expected.adjacent;
        if (closes_only()) return {{"none", kind}, {"neighbour", distant / closing * kind}, {"stack", 0}};
        const double targets = closing + opening;
        return {{"none", kind + entropy_of_coin(opening / targets)},
                {"shape", kind + expected.choices / targets},
                {"neighbour", ((opening + distant) * kind + expected.choices) / targets},
                {"stack", (opening * kind + expected.choices) / targets}};
    }

    std::string best_floor() const override { return "stack"; }

    std::vector<Annotation> annotations(const Tensor& inputs) const override {
        const std::int64_t T = inputs.size(1);
        Tensor depth = Tensor::zeros(inputs.shape(), DType::i64);
        Tensor partner = Tensor::full(inputs.shape(), -1, DType::i64);
        std::vector<std::int64_t> open;
        for (std::int64_t b = 0; b < inputs.size(0); ++b) {
            const auto* x = inputs.data<std::int64_t>() + b * T;
            auto* to = partner.data<std::int64_t>() + b * T;
            open.clear();
            for (std::int64_t t = 0; t < T; ++t) {
                if (x[t] < rule_.kinds) {
                    open.push_back(t);
                } else {
                    to[t] = open.back();
                    to[open.back()] = t;
                    open.pop_back();
                }
                depth.data<std::int64_t>()[b * T + t] = std::ssize(open);
            }
        }
        return {{"depth", depth}, {"partner", partner}};
    }

private:
    bool closes_only() const { return rule_.score == "closing"; }

    /// Row b depends on (seed, stream, step, b) and not on the batch's size. `truth`, when defined, gets P(y | inputs)
    /// of the scored targets.
    Batch draw(const RandomStream& random, std::int64_t batch_size, Tensor truth) const {
        const Shape shape{batch_size, seq_len()};
        Batch batch{Tensor::empty(shape, DType::i64), Tensor::full(shape, -1, DType::i64),
                    Tensor::full(shape, -1, DType::i64), truth};
        std::vector<std::int64_t> open;  // the kinds of the brackets that are open
        for (std::int64_t b = 0; b < batch_size; ++b) {
            bool opened = false;
            for (std::int64_t i = 0; i < rule_.length; ++i) {
                // Two numbers per bracket: whether it opens, and its kind if so.
                const auto number = static_cast<std::uint64_t>((b * rule_.length + i) * 2);
                const double chance = rule_.chance_to_open(std::ssize(open), rule_.length - i);
                const bool opens_now = random.uniform(number) < chance;
                const auto kind =
                    opens_now
                        ? static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(rule_.kinds), number + 1))
                        : open.back();
                const std::int64_t token = opens_now ? kind : rule_.kinds + kind;
                const std::int64_t here = b * seq_len() + i;
                if (i < seq_len()) batch.inputs.data<std::int64_t>()[here] = token;
                if (i > 0 && !(opens_now && closes_only())) {
                    batch.targets.data<std::int64_t>()[here - 1] = token;
                    batch.classes.data<std::int64_t>()[here - 1] = opens_now ? opens
                                                                   : opened  ? closes_adjacent
                                                                             : closes_distant;
                    if (truth.defined()) {
                        double* p = truth.data<double>() + (here - 1) * vocab_size();
                        const double known = closes_only() ? 0 : chance;
                        for (std::int64_t v = 0; v < rule_.kinds; ++v) p[v] = known / static_cast<double>(rule_.kinds);
                        if (!open.empty()) p[rule_.kinds + open.back()] = 1 - known;
                    }
                }
                if (opens_now) open.push_back(kind);
                else open.pop_back();
                opened = opens_now;
            }
        }
        return batch;
    }

    Rule rule_;
    std::uint64_t seed_;
};

class DyckSettings : public TaskSettings {
public:
    void fields(Fields& fields) override {
        fields.integer("kinds", rule_.kinds, "kinds of brackets; there are twice as many tokens",
                       {.min = 1, .max = 2048});
        fields.integer("length", rule_.length, "brackets of a word, an even number; the model sees all but the last",
                       {.min = 2, .max = 1 << 20});
        fields.integer("max_depth", rule_.max_depth, "most brackets open at once", {.min = 1, .max = 1 << 20});
        fields.real("p_open", rule_.p_open, "probability that a bracket opens where both are possible",
                    {.min = 0, .max = 1});
        fields.choice("score", rule_.score, {"closing", "all"}, "score the brackets that close, or every next bracket");
    }

    std::vector<Problem> check() const override {
        if (rule_.length % 2 == 0) return {};
        return {{"length", fmt::format("length = {} is odd; brackets come in pairs", rule_.length)}};
    }

    std::unique_ptr<Task> build(std::uint64_t seed) const override { return std::make_unique<DyckTask>(rule_, seed); }

private:
    Rule rule_;
};

const RegisterTask registered("dyck", "balanced brackets of several kinds",
                              [] { return std::make_unique<DyckSettings>(); });

}  // namespace

}  // namespace headscope
