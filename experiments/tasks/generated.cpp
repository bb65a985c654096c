#include "experiments/tasks/generated.h"

#include <mutex>
#include <utility>

#include "autograd/random.h"

namespace headscope::experiments {

namespace {

class GeneratedTask : public Task {
public:
    GeneratedTask(const std::string& name, std::unique_ptr<SequenceRule> rule, std::uint64_t seed)
        : train_stream_(name + ".train"), eval_stream_(name + ".eval"), rule_(std::move(rule)), seed_(seed) {
        rule_->prepare(seed);
    }

    std::int64_t vocab_size() const override { return rule_->vocab_size(); }
    std::int64_t seq_len() const override { return rule_->seq_len(); }
    std::vector<std::string> class_names() const override { return rule_->class_names(); }

    Batch train_batch(std::int64_t step, std::int64_t batch_size) const override {
        return draw(train_stream_, step, batch_size, false);
    }
    std::int64_t eval_batches(std::int64_t) const override { return -1; }
    Batch eval_batch(std::int64_t index, std::int64_t batch_size) const override {
        return draw(eval_stream_, index, batch_size, rule_->knows_truth());
    }

    bool knows_truth() const override { return rule_->knows_truth(); }
    std::vector<Floor> floors() const override { return lines().floors; }
    std::vector<Floor> references() const override { return lines().references; }
    std::string best_floor() const override {
        return lines().floors.empty() ? std::string() : lines().floors.back().name;
    }
    std::vector<Annotation> annotations(const Tensor& inputs) const override { return rule_->annotations(inputs); }

private:
    Batch draw(const std::string& stream, std::int64_t step, std::int64_t batch_size, bool with_truth) const {
        const RandomStream random(seed_, stream, static_cast<std::uint64_t>(step));
        const std::int64_t T = seq_len();
        const Shape shape{batch_size, T};
        Batch batch{Tensor::empty(shape, DType::i64), Tensor::full(shape, -1, DType::i64), {}, {}};
        if (!class_names().empty()) batch.classes = Tensor::full(shape, -1, DType::i64);
        if (with_truth) batch.truth = Tensor::zeros({batch_size, T, vocab_size()}, DType::f64);
        for (std::int64_t b = 0; b < batch_size; ++b) {
            const Sequence sequence{batch.inputs.data<std::int64_t>() + b * T,
                                    batch.targets.data<std::int64_t>() + b * T,
                                    batch.classes.defined() ? batch.classes.data<std::int64_t>() + b * T : nullptr};
            rule_->draw({random, b * rule_->numbers()}, sequence);
            if (with_truth) rule_->true_distribution(sequence, batch.truth.data<double>() + b * T * vocab_size());
        }
        return batch;
    }

    const SequenceRule::Lines& lines() const {
        std::call_once(lines_known_, [&] { lines_ = rule_->lines(); });
        return lines_;
    }

    std::string train_stream_, eval_stream_;
    std::unique_ptr<SequenceRule> rule_;
    std::uint64_t seed_;
    mutable std::once_flag lines_known_;
    mutable SequenceRule::Lines lines_;
};

}  // namespace

void SequenceRule::true_distribution(const Sequence& sequence, double* truth) const {
    for (std::int64_t t = 0; t < seq_len(); ++t)
        if (sequence.targets[t] >= 0) truth[t * vocab_size() + sequence.targets[t]] = 1;
}

std::unique_ptr<Task> make_generated_task(const std::string& name, std::unique_ptr<SequenceRule> rule,
                                          std::uint64_t seed) {
    return std::make_unique<GeneratedTask>(name, std::move(rule), seed);
}

}  // namespace headscope::experiments
