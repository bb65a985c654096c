#include "experiments/training/evaluation.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/graph.h"
#include "autograd/ops/cross_entropy.h"

namespace headscope::experiments {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

/// While one lives, the model is in evaluation mode.
class EvaluationMode {
public:
    explicit EvaluationMode(nn::Transformer& model) : model_(model), was_training_(model.is_training()) {
        model.eval();
    }
    ~EvaluationMode() { model_.train(was_training_); }
    EvaluationMode(const EvaluationMode&) = delete;
    EvaluationMode& operator=(const EvaluationMode&) = delete;

private:
    nn::Transformer& model_;
    bool was_training_;
};

struct Mean {
    double sum = 0;
    std::int64_t count = 0;
    void add(double value) {
        sum += value;
        ++count;
    }
    double value() const { return count > 0 ? sum / static_cast<double>(count) : nan; }
};

/// -sum over v of truth[v] * log softmax(logits)[v].
double expected_loss(const double* truth, const double* logits, std::int64_t vocab) {
    const double largest = *std::max_element(logits, logits + vocab);
    // Beside very large logits log(total) would lose its digits.
    const double shift = std::abs(largest) < 0x1p26 ? 0 : largest;
    double total = 0;
    double expected = 0;
    for (std::int64_t v = 0; v < vocab; ++v) {
        total += std::exp(logits[v] - largest);
        expected += truth[v] * (logits[v] - shift);
    }
    return (largest - shift) + std::log(total) - expected;  // the truth sums to 1
}

/// The floor that a perfect model reaches, or NaN.
double best_loss(const Task& task) {
    for (const Floor& floor : task.floors())
        if (floor.name == task.best_floor()) return floor.loss;
    return nan;
}

}  // namespace

std::vector<Batch> evaluation_batches(const Experiment& experiment) {
    return evaluation_batches(experiment, experiment.config.eval.batches);
}

std::vector<Batch> evaluation_batches(const Experiment& experiment, std::int64_t wanted) {
    const std::int64_t size = experiment.config.train.batch_size;
    const std::int64_t available = experiment.task->eval_batches(size);
    std::vector<Batch> batches;
    for (std::int64_t i = 0; i < (available < 0 ? wanted : std::min(wanted, available)); ++i)
        batches.push_back(experiment.task->eval_batch(i, size));
    return batches;
}

std::vector<Column> evaluation_columns(const Task& task) {
    const bool truth = task.knows_truth();
    std::vector<Column> columns{
        {"loss", "nat/token", truth ? "evaluation loss, against true distributions" : "evaluation loss"},
        {"accuracy", "1", "share of scored targets with the largest logit"}};
    if (!task.best_floor().empty())
        columns.push_back({"excess", "nat/token", "evaluation loss above floor `" + task.best_floor() + "`"});
    for (const std::string& name : task.class_names())
        columns.push_back({"loss_" + name, "nat/token",
                           "evaluation loss of targets of class `" + name + (truth ? "`, as drawn" : "`")});
    return columns;
}

std::vector<double> evaluation_row(const Task& task, const Evaluation& evaluation) {
    std::vector<double> row{evaluation.loss, evaluation.accuracy};
    if (!task.best_floor().empty()) row.push_back(evaluation.excess);
    row.insert(row.end(), evaluation.class_loss.begin(), evaluation.class_loss.end());
    return row;
}

Evaluation evaluate(nn::Transformer& model, const Task& task, const std::vector<Batch>& batches,
                    const std::function<void()>& before_batch) {
    const NoGrad no_grad;
    const EvaluationMode mode(model);
    Mean loss;
    Mean accuracy;
    std::vector<Mean> by_class(task.class_names().size());
    for (const Batch& batch : batches) {
        if (before_batch) before_batch();
        const Tensor logits = model.forward(batch.inputs);
        const Tensor losses = cross_entropy_each(logits, batch.targets);
        const Tensor wide = logits.to(DType::f64);
        const std::int64_t vocab = logits.size(-1);
        const std::int64_t* target = batch.targets.data<std::int64_t>();
        const std::int64_t* target_class = batch.classes.defined() ? batch.classes.data<std::int64_t>() : nullptr;
        const double* truth = batch.truth.defined() ? batch.truth.data<double>() : nullptr;
        for (std::int64_t i = 0; i < batch.targets.numel(); ++i) {
            if (target[i] < 0) continue;
            const double* row = wide.data<double>() + i * vocab;
            const double plain = losses.data<double>()[i];
            loss.add(truth != nullptr ? expected_loss(truth + i * vocab, row, vocab) : plain);
            accuracy.add(std::max_element(row, row + vocab) - row == target[i] ? 1.0 : 0.0);
            if (target_class != nullptr && target_class[i] >= 0)
                by_class[static_cast<std::size_t>(target_class[i])].add(plain);
        }
    }
    Evaluation result{loss.value(), accuracy.value(), loss.value() - best_loss(task), {}};
    for (const Mean& mean : by_class) result.class_loss.push_back(mean.value());
    return result;
}

}  // namespace headscope::experiments
