// Task `repeat`: a random string, then the same string again.
//
// L = seq_len / 2 tokens, independent and uniform over V, fill the first half; the second half repeats them. The target
// is the next token; the last position has none. Classes name whether the target is determined: `first` for the L - 1
// targets in the first half, `repeat` for the L in the second. The lag is fixed, so one layer can do it: position t
// attends to t - L + 1.
//
// Floors:
//   none  ln V
//   copy  knows the rule: ln V for each target in the first half, 0 for the others, so (L - 1) ln V / (2L - 1)
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "autograd/random.h"
#include "experiments/tasks/task.h"

namespace headscope {

namespace {

struct Rule {
    std::int64_t vocab_size = 64;
    std::int64_t seq_len = 32;

    std::int64_t length() const { return seq_len / 2; }
};

enum Determined : std::int64_t { in_first, in_repeat };

class RepeatTask : public Task {
public:
    RepeatTask(const Rule& rule, std::uint64_t seed) : rule_(rule), seed_(seed) {}

    std::int64_t vocab_size() const override { return rule_.vocab_size; }
    std::int64_t seq_len() const override { return rule_.seq_len; }

    Batch train_batch(std::int64_t step, std::int64_t batch_size) const override {
        return draw(RandomStream(seed_, "repeat.train", static_cast<std::uint64_t>(step)), batch_size);
    }

    std::int64_t eval_batches(std::int64_t) const override { return -1; }

    Batch eval_batch(std::int64_t index, std::int64_t batch_size) const override {
        Batch batch = draw(RandomStream(seed_, "repeat.eval", static_cast<std::uint64_t>(index)), batch_size);
        batch.truth = true_distribution(batch.targets);
        return batch;
    }

    std::vector<std::string> class_names() const override { return {"first", "repeat"}; }

    std::vector<Floor> floors() const override {
        const double none = std::log(static_cast<double>(rule_.vocab_size));
        const auto L = static_cast<double>(rule_.length());
        return {{"none", none}, {"copy", (L - 1) * none / (2 * L - 1)}};
    }

    std::string best_floor() const override { return "copy"; }

private:
    /// Inputs, targets and classes, each [B,T]. Row b depends on (seed, stream, step, b) and not on the batch's size.
    Batch draw(const RandomStream& random, std::int64_t batch_size) const {
        const std::int64_t T = rule_.seq_len;
        const std::int64_t L = rule_.length();
        const Shape shape{batch_size, T};
        Batch batch{Tensor::empty(shape, DType::i64),
                    Tensor::full(shape, -1, DType::i64),
                    Tensor::full(shape, -1, DType::i64),
                    {}};
        for (std::int64_t b = 0; b < batch_size; ++b) {
            auto* x = batch.inputs.data<std::int64_t>() + b * T;
            auto* y = batch.targets.data<std::int64_t>() + b * T;
            auto* determined = batch.classes.data<std::int64_t>() + b * T;
            for (std::int64_t t = 0; t < L; ++t) {
                x[t] = static_cast<std::int64_t>(
                    random.below(static_cast<std::uint64_t>(rule_.vocab_size), static_cast<std::uint64_t>(b * L + t)));
                x[t + L] = x[t];
            }
            for (std::int64_t t = 0; t + 1 < T; ++t) {
                y[t] = x[t + 1];
                determined[t] = t + 1 < L ? in_first : in_repeat;
            }
        }
        return batch;
    }

    /// P(y | inputs) [B,T,V]: uniform in the first half, one token in the second; zeros at the last position.
    Tensor true_distribution(const Tensor& targets) const {
        const std::int64_t T = rule_.seq_len;
        const std::int64_t V = rule_.vocab_size;
        Tensor truth = Tensor::zeros({targets.size(0), T, V}, DType::f64);
        for (std::int64_t b = 0; b < targets.size(0); ++b) {
            for (std::int64_t t = 0; t + 1 < T; ++t) {
                double* p = truth.data<double>() + (b * T + t) * V;
                if (t + 1 < rule_.length()) std::fill_n(p, V, 1 / static_cast<double>(V));
                else p[targets.data<std::int64_t>()[b * T + t]] = 1;
            }
        }
        return truth;
    }

    Rule rule_;
    std::uint64_t seed_;
};

class RepeatSettings : public TaskSettings {
public:
    void fields(Fields& fields) override {
        fields.integer("vocab_size", rule_.vocab_size, "different tokens", {.min = 2, .max = 4096});
        fields.integer("seq_len", rule_.seq_len, "tokens per sequence: the string twice", {.min = 2, .max = 1 << 20});
    }

    std::vector<Problem> check() const override {
        if (rule_.seq_len % 2 == 0) return {};
        return {{"seq_len", fmt::format("seq_len = {} must be even: a string and its repetition", rule_.seq_len)}};
    }

    std::unique_ptr<Task> build(std::uint64_t seed) const override { return std::make_unique<RepeatTask>(rule_, seed); }

private:
    Rule rule_;
};

const RegisterTask registered("repeat", "a random string, then the same string again",
                              [] { return std::make_unique<RepeatSettings>(); });

}  // namespace

}  // namespace headscope
