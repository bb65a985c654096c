#include "experiments/training/training_state.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/finite_watch.h"
#include "autograd/graph.h"
#include "autograd/ops/cross_entropy.h"
#include "autograd/profile.h"
#include "autograd/random.h"
#include "experiments/base/errors.h"
#include "experiments/tasks/micro_batches.h"
#include "experiments/training/gradient_tree.h"
#include "optim/clip.h"

namespace headscope::experiments {
namespace {

/// For `run --profile`.
void mark(const char* name) { Profile::mark(Profile::Phase::other, name); }

constexpr const char* mend =
    "; a smaller optimizer.lr, schedule.warmup_steps, train.clip_norm or an optimizer.eps above 0 may help";

bool has_scored_target(const Batch& batch) {
    return std::ranges::any_of(batch.targets.values<std::int64_t>(), [](std::int64_t target) { return target >= 0; });
}

std::string spelled(double value) { return std::isnan(value) ? "nan" : fmt::format("{:.6g}", value); }

/// "gelu [4, 12, 72] is not finite: nan at [0, 3, 5]"
std::string describe(const std::string& what, const Shape& shape, const NotFinite& element) {
    return fmt::format("{} {} is not finite: {} at [{}]", what, shape.str(), spelled(element.value),
                       fmt::join(element.at, ", "));
}

}  // namespace

TrainingState::TrainingState(const Experiment& experiment)
    : experiment_(experiment),
      config_(experiment.config),
      model_(build_model(experiment)),
      parameters_(model_->named_parameters()),
      optimizer_(config_.optimizer.settings->build(optim::group_by_role(
          parameters_, config_.optimizer.lr, config_.optimizer.weight_decay, config_.optimizer.role_settings()))),
      schedule_(config_.schedule.settings->build(schedule_context(config_))) {}

void TrainingState::restore(const Checkpoint& checkpoint) {
    model_->load_state_dict(checkpoint.model);
    optimizer_->load_state(checkpoint.optimizer);
    step_ = checkpoint.step;
    tokens_seen_ = checkpoint.tokens_seen;
}

Checkpoint TrainingState::checkpoint() const {
    Checkpoint checkpoint;
    checkpoint.step = step_;
    checkpoint.seed = config_.seed;
    checkpoint.tokens_seen = tokens_seen_;
    checkpoint.config_identity = config_identity(config_);
    checkpoint.data_sha256 = experiment_.task->data_sha256();
    checkpoint.model = model_->state_dict();
    checkpoint.optimizer = optimizer_->state();
    return checkpoint;
}

StepResult TrainingState::step(const Observers& observers) {
    const Batch batch = experiment_.task->train_batch(step_, config_.train.batch_size);
    mark("data");
    const double loss = compute_gradients(batch);
    mark("freeing the graph");
    for (Observer* observer : observers) observer->at_gradients(*this, batch);

    const double grad_norm = optimizer_->grad_norm();
    if (!std::isfinite(loss) || !std::isfinite(grad_norm)) fail_numerically(batch, loss, grad_norm);
    const double scale = config_.train.clip_norm > 0 ? optim::clip_scale(grad_norm, config_.train.clip_norm) : 1;

    const double lr = config_.optimizer.lr * schedule_->factor(step_, experiment_.config_at(step_).train.steps);
    optimizer_->set_lr(lr);
    for (Observer* observer : observers) observer->before_update(*this);
    optimizer_->step(scale);
    mark("optimizer");
    for (Observer* observer : observers) observer->after_update(*this, batch);

    ++step_;
    tokens_seen_ += batch.inputs.numel();
    return {has_scored_target(batch) ? loss : std::numeric_limits<double>::quiet_NaN(), lr, grad_norm};
}

/// Gradients of the batch's mean loss, which is returned.
double TrainingState::compute_gradients(const Batch& batch) {
    const std::int64_t parts = config_.train.accumulate;
    const std::vector<MicroBatch> split = split_batch(batch, parts);
    optimizer_->zero_grad();
    mark("optimizer");
    std::vector<double> losses;
    GradientTree tree(parts > 1 ? parameters_ : std::vector<nn::Parameter>{});
    for (std::int64_t part = 0; part < parts; ++part) {
        const MicroBatch& micro = split[static_cast<std::size_t>(part)];
        const RandomScope random(static_cast<std::uint64_t>(config_.seed),
                                 static_cast<std::uint64_t>(step_ * parts + part));
        const Tensor mean = cross_entropy(model_->forward(micro.inputs), micro.targets);
        losses.push_back(micro.weight * mean.item());
        backward(mean, {.gradient = Tensor::full({}, micro.weight, mean.dtype())});
        if (parts > 1) {
            tree.add_part();
            mark("sum of the parts");
        }
    }
    if (parts > 1) {
        tree.finish();
        mark("sum of the parts");
    }
    return tree_sum(losses);
}

void TrainingState::require_finite_weights() const {
    for (const nn::Parameter& parameter : parameters_) {
        const auto element = first_not_finite(parameter.tensor);
        if (!element) continue;
        const std::string since = step_ == 0 ? "from the start" : fmt::format("since update {}", step_ - 1);
        throw NumericError(fmt::format("step {}: {}, {} ({}){}", step_,
                                       describe(parameter.name, parameter.tensor.shape(), *element), since,
                                       config_.optimizer.type, mend));
    }
}

/// Says where the first NaN or infinity of a step came from. The step is done once more, under watch.
void TrainingState::fail_numerically(const Batch& batch, double loss, double grad_norm) {
    require_finite_weights();
    const FiniteWatch watch;
    compute_gradients(batch);
    std::string where = "no single tensor holds it";
    if (const auto& found = watch.found()) {
        const std::string op = found->backward ? fmt::format("a gradient from the backward of `{}`", found->op)
                                               : fmt::format("the output of `{}` number {}", found->op, found->number);
        std::vector<std::string> names;
        for (const Tensor& leaf : found->parameters)
            for (const nn::Parameter& parameter : parameters_)
                if (parameter.tensor.id() == leaf.id()) names.push_back(parameter.name);
        where = fmt::format("first, {}{}{}", describe(op, found->shape, found->element),
                            names.empty()     ? ""
                            : found->backward ? ", for "
                                              : ", made with ",
                            fmt::join(names, ", "));
    }
    throw NumericError(fmt::format("step {}: the loss is {}, the gradient norm {}; {}{}", step_, spelled(loss),
                                   spelled(grad_norm), where, mend));
}

std::unique_ptr<nn::Transformer> build_model(const Experiment& experiment) {
    const nn::DeferInit defer;
    auto model = std::make_unique<nn::Transformer>(experiment.model);
    if (experiment.config.train.dtype == "float64") model->to(DType::f64);
    nn::initialize(*model, experiment.init, static_cast<std::uint64_t>(experiment.config.seed));
    return model;
}

}  // namespace headscope::experiments
