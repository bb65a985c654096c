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

#include <algorithm>
#include <cmath>

#include "experiments/tasks/generated.h"

namespace headscope::experiments {

namespace {

enum DyckClass : std::int64_t { opens, closes_adjacent, closes_distant };

double entropy_of_coin(double p) { return entropy_term(p) + entropy_term(1 - p); }

/// Expected numbers per word, of the targets (every bracket but the first).
struct Expected {
    double choices = 0;   ///< entropy of whether to open, given the depth and what is to go
    double adjacent = 0;  ///< targets that close the bracket just before
};

class DyckRule : public SequenceRule {
public:
    void fields(Fields& fields) override {
        fields.integer("kinds", kinds_, "kinds of brackets; there are twice as many tokens", {.min = 1, .max = 2048});
        fields.integer("length", length_, "brackets of a word, an even number; the model sees all but the last",
                       {.min = 2, .max = 1 << 20});
        fields.integer("max_depth", max_depth_, "most brackets open at once", {.min = 1, .max = 1 << 20});
        fields.real("p_open", p_open_, "probability that a bracket opens where both are possible",
                    {.min = 0, .max = 1});
        fields.choice("score", score_, {"closing", "all"}, "score the brackets that close, or every next bracket");
    }

    std::vector<KeyProblem> check() const override {
        if (length_ % 2 == 0) return {};
        return {{"length", fmt::format("length = {} must be even: brackets come in pairs", length_)}};
    }

    std::int64_t vocab_size() const override { return 2 * kinds_; }
    std::int64_t seq_len() const override { return length_ - 1; }
    std::vector<std::string> class_names() const override { return {"open", "adjacent", "distant"}; }
    /// For each bracket: whether it opens, and its kind if so.
    std::int64_t numbers() const override { return 2 * length_; }

    void draw(const SequenceRandom& random, const Sequence& sequence) const override {
        const auto [x, y, kind] = sequence;
        std::vector<std::int64_t> open;  // the kinds of the brackets that are open
        bool opened = false;
        for (std::int64_t i = 0; i < length_; ++i) {
            const bool opens_now = random.uniform(2 * i) < chance_to_open(std::ssize(open), length_ - i);
            const std::int64_t token = opens_now ? random.below(kinds_, 2 * i + 1) : kinds_ + open.back();
            if (i < seq_len()) x[i] = token;
            if (i > 0 && !(opens_now && closes_only())) {
                y[i - 1] = token;
                kind[i - 1] = opens_now ? opens : opened ? closes_adjacent : closes_distant;
            }
            if (opens_now) open.push_back(token);
            else open.pop_back();
            opened = opens_now;
        }
    }

    void true_distribution(const Sequence& sequence, double* truth) const override {
        if (closes_only()) return SequenceRule::true_distribution(sequence, truth);
        std::vector<std::int64_t> open;
        for (std::int64_t t = 0; t < seq_len(); ++t) {
            if (sequence.inputs[t] < kinds_) open.push_back(sequence.inputs[t]);
            else open.pop_back();
            const double chance = chance_to_open(std::ssize(open), seq_len() - t);
            double* p = truth + t * vocab_size();
            std::fill_n(p, kinds_, chance / static_cast<double>(kinds_));
            if (!open.empty()) p[kinds_ + open.back()] = 1 - chance;
        }
    }

    // Every word has length/2 brackets that close, all of them targets, and one less that open and are targets; so a
    // mean over targets is an expected number per word over a fixed count.
    Lines lines() const override {
        const Expected expected = expected_per_word();
        const double kind = std::log(static_cast<double>(kinds_));
        const double closing = static_cast<double>(length_) / 2, opening = closing - 1;
        const double distant = closing - expected.adjacent;
        if (closes_only()) return {{{"none", kind}, {"neighbour", distant / closing * kind}, {"stack", 0}}, {}};
        const double targets = closing + opening;
        return {{{"none", kind + entropy_of_coin(opening / targets)},
                 {"shape", kind + expected.choices / targets},
                 {"neighbour", ((opening + distant) * kind + expected.choices) / targets},
                 {"stack", (opening * kind + expected.choices) / targets}},
                {}};
    }

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
                if (x[t] < kinds_) {
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
    bool closes_only() const { return score_ == "closing"; }

    /// Probability that the next bracket opens; `left` brackets are to go, the next one included.
    double chance_to_open(std::int64_t depth, std::int64_t left) const {
        if (depth == 0) return 1;
        return depth == left || depth == max_depth_ ? 0 : p_open_;
    }

    Expected expected_per_word() const {
        Expected expected;
        // Probability of each depth, by whether the last bracket opened. The first one did.
        const auto depths = static_cast<std::size_t>(std::min(max_depth_, length_ / 2)) + 2;
        std::vector<double> after_open(depths), after_close(depths);
        after_open[1] = 1;
        for (std::int64_t left = length_ - 1; left > 0; --left) {
            std::vector<double> next_open(depths), next_close(depths);
            for (std::size_t depth = 0; depth + 1 < depths; ++depth) {
                const double here = after_open[depth] + after_close[depth];
                if (here == 0) continue;
                const double open = chance_to_open(static_cast<std::int64_t>(depth), left);
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

    std::int64_t kinds_ = 2;
    std::int64_t length_ = 32;
    std::int64_t max_depth_ = 8;
    double p_open_ = 0.5;
    std::string score_ = "closing";
};

const RegisterGenerated<DyckRule> registered_dyck("dyck", "balanced brackets of several kinds");

}  // namespace

}  // namespace headscope::experiments
