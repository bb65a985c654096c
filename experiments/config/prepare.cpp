#include <fmt/format.h>

#include "experiments/base/available_memory.h"
#include "experiments/base/errors.h"
#include "experiments/config/config.h"
#include "experiments/config/memory.h"

namespace headscope::experiments {

namespace {

nn::Activation activation_of(const std::string& name) {
    if (name == "relu") return nn::Activation::relu;
    if (name == "silu") return nn::Activation::silu;
    return nn::Activation::gelu;
}

nn::NormPlacement norm_of(const std::string& name) {
    if (name == "none") return nn::NormPlacement::none;
    if (name == "post") return nn::NormPlacement::post;
    return nn::NormPlacement::pre;
}

nn::InitScheme scheme_of(const std::string& name) {
    if (name == "xavier_normal") return nn::InitScheme::xavier_normal;
    if (name == "kaiming_uniform") return nn::InitScheme::kaiming_uniform;
    if (name == "normal") return nn::InitScheme::normal;
    if (name == "orthogonal") return nn::InitScheme::orthogonal;
    if (name == "pytorch") return nn::InitScheme::pytorch;
    return nn::InitScheme::xavier_uniform;
}

}  // namespace

nn::TransformerOptions model_of(const Config& config, std::int64_t vocab_size) {
    const ModelConfig& model = config.model;
    nn::TransformerOptions options;
    options.vocab_size = vocab_size;
    options.max_len = model.max_len;
    options.num_layers = model.num_layers;
    options.causal = model.causal;
    options.tie_embeddings = model.tie_embeddings;
    options.block.d_model = model.d_model;
    options.block.num_heads = model.num_heads;
    options.block.head_dim = model.head_dim;
    options.block.d_ff = model.d_ff;
    options.block.activation = activation_of(model.activation);
    options.block.norm = norm_of(model.norm);
    options.block.bias = model.bias;
    options.block.attention_bias = model.attention_bias;
    options.block.dropout = model.dropout;
    options.block.qk_norm = model.qk_norm;
    options.block.kv_heads = model.kv_heads;
    options.window = model.window;
    options.block.make_norm = [norm = model.norm_type.settings](std::int64_t width) { return norm->build(width); };
    options.block.make_ffn = [ffn = model.ffn.settings](const nn::FeedForwardOptions& own) { return ffn->build(own); };
    model.attention.settings->configure(options.block);
    model.position.settings->configure(options);
    return options;
}

namespace {

nn::InitOptions init_options(const InitConfig& init) {
    nn::InitOptions options;
    options.scheme = scheme_of(init.scheme);
    options.std = init.std;
    options.embedding_std = init.embedding_std;
    options.clone_noise = init.clone_noise;
    for (const std::string& projection : init.clone_heads) options.clone_heads.push_back(projection.front());
    return options;
}

/// Other matrices are bounded by the ranges of their keys.
void refuse_uncountable(const nn::TransformerOptions& model) {
    constexpr double most = 9e18;
    const double elements = static_cast<double>(model.block.num_heads) * static_cast<double>(model.head_dim()) *
                            static_cast<double>(model.block.d_model);
    if (elements < most) return;
    throw UsageError(
        fmt::format("model: a training step needs about {} of memory, more than is available; the largest part is one "
                    "W_q with {}; make model.num_heads, model.head_dim or model.d_model smaller",
                    readable_bytes(4 * elements), readable_bytes(4 * elements)));
}

void note_places(Config& config) {
    for (const auto& [key, file] : data_paths(config))
        if (const std::optional<std::string> place = file->found()) file->absolute = *place;
}

// The data may fix the batch size, and the input length decides how many positions there must be.
void settle_by_task(Config& config, const Task& task) {
    const std::int64_t fixed = task.fixed_batch_size();
    if (fixed > 0) {
        if (config.train.batch_size_given && config.train.batch_size != fixed) {
            throw UsageError(fmt::format(
                "train.batch_size = {}, but the data of task \"{}\" come in batches of {}; leave train.batch_size out",
                config.train.batch_size, config.task.type, fixed));
        }
        config.train.batch_size = fixed;
    }
    if (config.train.batch_size % config.train.accumulate != 0) {
        throw UsageError(fmt::format("train.accumulate = {} does not divide batches of {} sequences; change it",
                                     config.train.accumulate, config.train.batch_size));
    }
    if (task.eval_batches(config.train.batch_size) == 0 && (config.eval.patience > 0 || config.checkpoint.best)) {
        throw UsageError(fmt::format(
            "{} needs evaluation data, and the task \"{}\" of this config has none; give it some, or leave the key out",
            config.eval.patience > 0 ? "eval.patience" : "checkpoint.best", config.task.type));
    }
    if (!config.model.max_len_given) config.model.max_len = task.seq_len();
    if (config.model.max_len < task.seq_len()) {
        throw UsageError(
            fmt::format("model.max_len = {} is shorter than the task's sequences of {}; make it at least {}",
                        config.model.max_len, task.seq_len(), task.seq_len()));
    }
}

}  // namespace

Experiment build_experiment_of_any_size(Config config) {
    Experiment experiment;
    note_places(config);
    experiment.task = config.task.settings->build(static_cast<std::uint64_t>(config.seed));
    settle_by_task(config, *experiment.task);
    experiment.model = model_of(config, experiment.task->vocab_size());
    refuse_uncountable(experiment.model);
    experiment.init = init_options(config.init);
    experiment.config = std::move(config);
    return experiment;
}

Experiment build_experiment(Config config) {
    Experiment experiment = build_experiment_of_any_size(std::move(config));
    const std::optional<double> available = available_memory();
    if (available) refuse_if_too_large(estimate_memory(experiment), *available);
    return experiment;
}

}  // namespace headscope::experiments
