#include "experiments/training/recorder.h"

#include <algorithm>
#include <set>

#include "autograd/allocator.h"
#include "autograd/parallel.h"
#include "autograd/profile.h"
#include "experiments/base/environment.h"
#include "experiments/base/sha256.h"
#include "experiments/config/config_history.h"
#include "experiments/training/training_state.h"
#include "optim/clip.h"

namespace headscope::experiments {
namespace {

using Clock = std::chrono::steady_clock;

void describe_run(Log& log, const Experiment& experiment) {
    const Config& config = experiment.config;
    const std::string resolved = config.resolved();
    if (!log.has_attribute("run_id")) {  // a resumed run stays the run it was
        log.set_attribute("run_id", new_run_id());
        log.set_attribute("created", utc_now());
    }
    log.set_attribute("software_version", software_version());
    log.set_attribute("git_commit", git_commit());
    log.set_attribute("compiler", compiler());
    log.set_attribute("isa", instruction_set());
    log.set_attribute("cpu", cpu_model());
    log.set_attribute("threads", static_cast<std::int64_t>(num_threads()));
    log.set_attribute("seed", config.seed);
    log.set_attribute("config_sha256", sha256(std::as_bytes(std::span(resolved))));
    log.set_data(experiment.task->data_sha256());
    log.set_config(resolved, config.source);
    log.set_config_history(write_config_history(experiment.history));
}

/// The config, and what held at other steps.
std::vector<const Config*> all_configs(const Experiment& experiment) {
    std::vector<const Config*> configs{&experiment.config};
    for (const ConfigFrom& part : experiment.history) configs.push_back(&part.config);
    return configs;
}

bool due(std::int64_t step, std::int64_t every) { return every > 0 && step % every == 0; }

}  // namespace

Recorder::Recorder(const Experiment& experiment, nn::Transformer& model, std::unique_ptr<Log> log)
    : experiment_(experiment),
      model_(model),
      parameters_(model.named_parameters()),
      log_(std::move(log)),
      next_publish_(Clock::now()),
      started_(Clock::now()) {
    const Task& task = *experiment.task;
    const Config& config = experiment.config;
    for (const Config* each : all_configs(experiment))
        if (!eval_batches_.contains(each->eval.batches))
            eval_batches_[each->eval.batches] = evaluation_batches(experiment, each->eval.batches);
    if (eval_batches_.begin()->second.empty())
        first_train_batch_.push_back(task.train_batch(0, config.train.batch_size));

    describe_run(*log_, experiment);
    log_->declare_series("train", {{"loss", "nat/token", "training loss of the step's batch"},
                                   {"lr", "1", "learning rate of the step"},
                                   {"grad_norm", "1", "global gradient norm before clipping"},
                                   {"tokens_seen", "1", "tokens read, this step's included", true},
                                   {"elapsed", "s", "time trained"}});
    log_->declare_series("eval", evaluation_columns(task));
    if (model.num_layers() > 0) declare_head_metrics();  // else there is no head to measure
    std::vector<std::string> names;
    for (const nn::Parameter& parameter : parameters_) names.push_back(parameter.name);
    log_->declare_parameters(names);
    for (const Floor& floor : task.floors()) log_->set_floor(floor.name, floor.loss);
    for (const Floor& reference : task.references())
        log_->set_reference(reference.name, reference.loss, task.references_among_floors());
    for (const TaskNumber& number : task.numbers())
        log_->set_task_number(number.name, number.value, number.units, number.long_name);
    if (!task.vocabulary().empty()) log_->set_vocabulary(task.vocabulary());
    set_state("running");
    publish();
}

void Recorder::declare_head_metrics() {
    const ProbeSetup setup{experiment_.model, experiment_.task->seq_len(), experiment_.task->class_names()};
    std::set<std::string> probes;
    bool attention = false;
    for (const Config* each : all_configs(experiment_)) {
        for (const auto& [name, every] : each->log.probes) probes.insert(name);
        attention = attention || each->log.attention > 0;
    }
    for (const std::string& name : probes) {
        probes_.push_back({name, "probe " + name, make_probe(name)});
        log_->declare_metric(probes_.back().probe->spec(setup), experiment_.config.train.dtype == "float64");
    }
    if (attention) attention_maps_.emplace(experiment_, probe_batches(0), *log_);
}

std::optional<double> Recorder::evaluate(std::int64_t step,
                                         const std::function<void(std::int64_t, double, double)>& on_eval) {
    const std::vector<Batch>& batches = eval_batches(step);
    if (batches.empty()) return std::nullopt;
    const Evaluation result = experiments::evaluate(model_, *experiment_.task, batches, between_passes_);
    log_->append("eval", step, evaluation_row(*experiment_.task, result));
    if (on_eval) on_eval(step, result.loss, result.accuracy);
    return result.loss;
}

const std::vector<Batch>& Recorder::eval_batches(std::int64_t step) const {
    return eval_batches_.at(experiment_.config_at(step).eval.batches);
}

const std::vector<Batch>& Recorder::probe_batches(std::int64_t step) const {
    return first_train_batch_.empty() ? eval_batches(step) : first_train_batch_;
}

ProbeContext Recorder::context(std::int64_t step) const {
    return {.model = model_,
            .step = step,
            .seed = experiment_.config.seed,
            .task = *experiment_.task,
            .eval_batches = probe_batches(step),
            .micro_batches = experiment_.config.train.accumulate};
}

std::vector<const Recorder::DueProbe*> Recorder::due_probes(std::int64_t step, ProbeStage stage) const {
    std::vector<const DueProbe*> found;
    const std::map<std::string, std::int64_t>& wanted = settings(step).probes;
    for (const DueProbe& entry : probes_) {
        if (entry.probe->stage() != stage) continue;
        const auto every = wanted.find(entry.name);
        if (every != wanted.end() && due(step, every->second)) found.push_back(&entry);
    }
    return found;
}

void Recorder::append(const DueProbe& entry, std::int64_t step, const std::vector<double>& values) {
    log_->append_metric(entry.name, step, values);
    Profile::mark(Profile::Phase::other, entry.profile_name);
}

void Recorder::measure(const ProbeContext& context, ProbeStage stage) {
    for (const DueProbe* entry : due_probes(context.step, stage))
        append(*entry, context.step, entry->probe->measure(context));
}

void Recorder::measure_activations(const ProbeContext& context) {
    const std::vector<const DueProbe*> entries = due_probes(context.step, ProbeStage::activations);
    if (entries.empty()) return;
    std::vector<const CaptureProbe*> probes;
    for (const DueProbe* entry : entries) probes.push_back(&dynamic_cast<const CaptureProbe&>(*entry->probe));
    const auto values = measure_together(probes, context, [&](std::size_t i) {
        Profile::mark(Profile::Phase::other, entries[i]->profile_name);
        if (between_passes_) between_passes_();
    });
    for (std::size_t i = 0; i < entries.size(); ++i) append(*entries[i], context.step, values[i]);
}

void Recorder::at_weights(TrainingState& state) {
    const std::int64_t step = state.steps_done();
    measure(context(step), ProbeStage::weights);
    measure_activations(context(step));
    if (!attention_maps_ || !due(step, settings(step).attention)) return;
    attention_maps_->measure(model_, step);
    Profile::mark(Profile::Phase::other, "attention maps");
}

void Recorder::at_gradients(TrainingState& state, const Batch& batch) {
    const std::int64_t step = state.steps_done();
    ProbeContext trained = context(step);
    trained.batch = &batch;
    measure(trained, ProbeStage::gradients);
    if (!due(step, settings(step).every)) return;
    std::vector<Tensor> weights;
    std::vector<Tensor> gradients;
    for (const nn::Parameter& parameter : parameters_) {
        weights.push_back(parameter.tensor);
        gradients.push_back(parameter.tensor.grad());
    }
    log_->append_parameters(step, optim::norms(weights), optim::norms(gradients));
    Profile::mark(Profile::Phase::other, "log");
}

void Recorder::before_update(TrainingState& state) {
    if (due_probes(state.steps_done(), ProbeStage::update).empty()) return;
    if (before_.empty())
        for (const nn::Parameter& parameter : parameters_)
            before_.push_back(Tensor::empty(parameter.tensor.shape(), parameter.tensor.dtype()));
    for (std::size_t i = 0; i < parameters_.size(); ++i) before_[i].copy_(parameters_[i].tensor);
    Profile::mark(Profile::Phase::other, "copy of the weights");
}

const Tensor& Recorder::before(const Tensor& parameter) const {
    for (std::size_t i = 0; i < parameters_.size(); ++i)
        if (parameters_[i].tensor.id() == parameter.id()) return before_[i];
    throw Error("ProbeContext::before: the tensor is no parameter of the model; pass the handle that the model has");
}

void Recorder::after_update(TrainingState& state, const Batch& batch) {
    ProbeContext after = context(state.steps_done());
    after.batch = &batch;
    after.before = [this](const Tensor& parameter) -> const Tensor& { return before(parameter); };
    measure(after, ProbeStage::update);
}

void Recorder::after_step(TrainingState& state, const StepResult& result) {
    const std::int64_t step = state.steps_done() - 1;
    log_->set_complete_until(state.steps_done());
    if (!due(step, settings(step).every)) return;
    log_->append("train", step,
                 {result.loss, result.lr, result.grad_norm, static_cast<double>(state.tokens_seen()), elapsed()});
}

void Recorder::start_clock(double seconds_before) {
    started_ = Clock::now();
    elapsed_before_ = seconds_before;
}

double Recorder::elapsed() const {
    return elapsed_before_ + std::chrono::duration<double>(Clock::now() - started_).count();
}

void Recorder::event(std::int64_t step, const std::string& kind, const std::string& message) {
    log_->event(step, kind, message);
}

void Recorder::set_state(const std::string& state) {
    log_->set_attribute("state", state);
    log_->set_attribute("peak_memory", static_cast<std::int64_t>(allocator::stats().peak));
}

void Recorder::publish() {
    constexpr Clock::duration least = std::chrono::seconds(1);
    const auto start = Clock::now();
    log_->publish();
    const auto now = Clock::now();
    publish_interval_ = std::clamp(200 * (now - start), least, std::max(least, 4 * publish_interval_));
    next_publish_ = now + publish_interval_;
}

void Recorder::save_rows() { log_->save_rows(); }

void Recorder::publish_if_due() {
    if (Clock::now() >= next_publish_) publish();
}

}  // namespace headscope::experiments
