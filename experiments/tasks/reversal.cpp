// Task `reversal`: a string, a separator, the string reversed; next token.
//
// A sequence is x_1 .. x_L, separator, x_L .. x_1 with the x independent and uniform over V = vocab_size symbols; the
// separator is token V. The model sees all but the last of these 2L + 1 tokens, so its input has 2L tokens, and each
// target is the next token. score = "reverse" scores the L targets of the second half only, "all" every target.
// Classes name what the target is: string, separator, reverse. What is known of a target: a symbol of the string is
// uniform, all else is determined.
//
// Floors, the mean over scored targets:
//   none      knows where the separator is, and nothing of the order: ln V for each of the other targets
//   reversal  reads the second half off the first: 0; with score = "all" the L - 1 targets in the string stay at ln V
#include <algorithm>
#include <cmath>

#include "autograd/random.h"
#include "experiments/tasks/task.h"

namespace headscope {

namespace {

struct Rule {
    std::int64_t vocab_size = 16;
    std::int64_t length = 12;
    std::string score = "reverse";
};

enum Class : std::int64_t { in_string, is_separator, in_reverse };

class ReversalTask : public Task {
public:
    ReversalTask(const Rule& rule, std::uint64_t seed) : rule_(rule), seed_(seed) {}

    std::int64_t vocab_size() const override { return rule_.vocab_size + 1; }
    std::int64_t seq_len() const override { return 2 * rule_.length; }

    Batch train_batch(std::int64_t step, std::int64_t batch_size) const override {
        return draw(RandomStream(seed_, "reversal.train", static_cast<std::uint64_t>(step)), batch_size);
    }

    std::int64_t eval_batches(std::int64_t) const override { return -1; }

    Batch eval_batch(std::int64_t index, std::int64_t batch_size) const override {
        Batch batch = draw(RandomStream(seed_, "reversal.eval", static_cast<std::uint64_t>(index)), batch_size);
        batch.truth = true_distribution(batch);
        return batch;
    }

    std::vector<std::string> class_names() const override { return {"string", "separator", "reverse"}; }

    std::vector<Floor> floors() const override {
        const auto length = static_cast<double>(rule_.length);
        const double guess = std::log(static_cast<double>(rule_.vocab_size));
        if (rule_.score == "reverse") return {{"none", guess}, {"reversal", 0}};
        return {{"none", (2 * length - 1) / (2 * length) * guess}, {"reversal", (length - 1) / (2 * length) * guess}};
    }

    std::string best_floor() const override { return "reversal"; }

private:
    /// Inputs, targets and classes, each [B,T]. Row b depends on (seed, stream, step, b) and not on the batch's size.
    Batch draw(const RandomStream& random, std::int64_t batch_size) const {
        const std::int64_t L = rule_.length;
        const std::int64_t T = seq_len();
        const Shape shape{batch_size, T};
        Batch batch{Tensor::empty(shape, DType::i64),
                    Tensor::full(shape, -1, DType::i64),
                    Tensor::full(shape, -1, DType::i64),
                    {}};
        std::vector<std::int64_t> tokens(static_cast<std::size_t>(T + 1));
        for (std::int64_t b = 0; b < batch_size; ++b) {
            for (std::int64_t i = 0; i < L; ++i)
                tokens[static_cast<std::size_t>(i)] = static_cast<std::int64_t>(
                    random.below(static_cast<std::uint64_t>(rule_.vocab_size), static_cast<std::uint64_t>(b * L + i)));
            tokens[static_cast<std::size_t>(L)] = rule_.vocab_size;
            std::reverse_copy(tokens.begin(), tokens.begin() + L, tokens.begin() + L + 1);

            std::copy_n(tokens.begin(), T, batch.inputs.data<std::int64_t>() + b * T);
            auto* y = batch.targets.data<std::int64_t>() + b * T;
            auto* kind = batch.classes.data<std::int64_t>() + b * T;
            for (std::int64_t t = rule_.score == "reverse" ? L : 0; t < T; ++t) {
                y[t] = tokens[static_cast<std::size_t>(t + 1)];
                kind[t] = t < L - 1 ? in_string : t == L - 1 ? is_separator : in_reverse;
            }
        }
        return batch;
    }

    /// P(y | inputs) [B,T,V + 1]; zeros at positions that are not scored.
    Tensor true_distribution(const Batch& batch) const {
        const std::int64_t V = rule_.vocab_size;
        Tensor truth = Tensor::zeros({batch.inputs.size(0), seq_len(), V + 1}, DType::f64);
        const auto* y = batch.targets.data<std::int64_t>();
        const auto* kind = batch.classes.data<std::int64_t>();
        for (std::int64_t i = 0; i < batch.targets.numel(); ++i) {
            double* p = truth.data<double>() + i * (V + 1);
            if (kind[i] == in_string) std::fill_n(p, V, 1 / static_cast<double>(V));
            else if (y[i] >= 0) p[y[i]] = 1;
        }
        return truth;
    }

    Rule rule_;
    std::uint64_t seed_;
};

class ReversalSettings : public TaskSettings {
public:
    void fields(Fields& fields) override {
        fields.integer("vocab_size", rule_.vocab_size,
                       "different symbols of the string; the separator is one token more", {.min = 2, .max = 4096});
        fields.integer("length", rule_.length, "symbols of the string; the model sees 2 length tokens",
                       {.min = 1, .max = 1 << 19});
        fields.choice("score", rule_.score, {"reverse", "all"}, "score the second half only, or every next token");
    }

    std::unique_ptr<Task> build(std::uint64_t seed) const override {
        return std::make_unique<ReversalTask>(rule_, seed);
    }

private:
    Rule rule_;
};

const RegisterTask registered("reversal", "a string, a separator, the string reversed",
                              [] { return std::make_unique<ReversalSettings>(); });

}  // namespace

}  // namespace headscope
