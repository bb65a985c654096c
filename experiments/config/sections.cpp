#include "experiments/config/sections.h"

#include "experiments/probes/probe.h"

namespace headscope::experiments {

namespace {

// Sizes are bounded so that a product of two of them fits 64 bits; what does not fit in memory is refused later.
constexpr std::int64_t largest_size = 1'000'000'000;
constexpr std::int64_t largest_step = 1'000'000'000'000;
constexpr IntegerRange sizes{.min = 1, .max = largest_size};
constexpr IntegerRange every_so_many{.min = 1, .max = largest_step};

}  // namespace

void Config::fields(Fields& fields) {
    fields.text("name", name, "names the run and its folder").required = true;
    fields.integer("seed", seed, "decides all random numbers", {.min = 0});
}

void ModelConfig::fields(Fields& fields) {
    fields.integer("d_model", d_model, "width of the residual stream", sizes);
    fields.integer("num_heads", num_heads, "attention heads per layer", sizes);
    fields.integer("head_dim", head_dim, "width of an attention head; default d_model / num_heads", sizes).given =
        &head_dim_given;
    fields.integer("num_layers", num_layers, "blocks; 0 = the embedding is read out at once",
                   {.min = 0, .max = 1'000'000});
    fields
        .integer("d_ff", d_ff, "width of the feed-forward half; default 4 d_model; 0 = attention only",
                 {.min = 0, .max = 4 * largest_size})
        .given = &d_ff_given;
    fields.choice("activation", activation, {"gelu", "relu", "silu"}, "of the feed-forward half");
    fields
        .choice("position", position.type, registry<PositionSettings>().names(),
                "how a model knows where a token stands")
        .typed = true;
    fields.choice("norm", norm, {"none", "pre", "post"}, "where the layer norms stand");
    fields
        .choice("attention", attention.type, registry<AttentionSettings>().names(),
                "how queries and keys become weights")
        .typed = true;
    fields.choice("norm_type", norm_type.type, registry<NormSettings>().names(), "how the norms normalise").typed =
        true;
    fields.choice("ffn", ffn.type, registry<FeedForwardSettings>().names(), "the feed-forward half").typed = true;
    fields.boolean("qk_norm", qk_norm, "q and k of every head divided by their root mean square, before rotation");
    fields.integer("kv_heads", kv_heads, "groups of keys and values that heads share; default num_heads", sizes).given =
        &kv_heads_given;
    fields.integer("window", window, "a token sees itself and so many before it less one; 0 = all",
                   {.min = 0, .max = largest_size});
    fields.boolean("causal", causal, "a token sees only itself and those before it");
    fields.boolean("bias", bias, "biases of every Linear");
    fields.boolean("attention_bias", attention_bias, "biases of W_q, W_k, W_v, W_o");
    fields.real("dropout", dropout, "probability", {.min = 0, .below = 1});
    fields.boolean("tie_embeddings", tie_embeddings, "the output layer uses the embedding's weight");
    fields.integer("max_len", max_len, "rows of position.weight; default task.seq_len", sizes).given = &max_len_given;
}

void InitConfig::fields(Fields& fields) {
    fields.choice("scheme", scheme,
                  {"xavier_uniform", "xavier_normal", "kaiming_uniform", "normal", "orthogonal", "pytorch"},
                  "how the weight of each Linear starts");
    fields.real("std", std, "standard deviation of scheme normal", {.min = 0});
    fields.real("embedding_std", embedding_std, "standard deviation of embedding and position", {.min = 0});
    fields.text_list("clone_heads", clone_heads, {"q", "k", "v", "o"},
                     "projections in which all attention heads start as head 0");
    fields.real("clone_noise", clone_noise, "times N(0,1), added to every cloned head", {.min = 0});
}

void OptimizerConfig::fields(Fields& fields) {
    fields.choice("type", type, registry<OptimizerSettings>().names(), "update rule");
    fields.real("lr", lr, "learning rate", {.min = 0});
    fields.real("weight_decay", weight_decay, "pull of every parameter towards 0", {.min = 0});
    if (settings) settings->fields(fields);
}

void RoleConfig::fields(Fields& fields) {
    fields.real("lr_scale", lr_scale, "times the learning rate; default 1", {.min = 0});
    fields.real("weight_decay", weight_decay, "in place of optimizer.weight_decay", {.min = 0});
}

std::map<nn::ParameterRole, optim::RoleSettings> OptimizerConfig::role_settings() const {
    std::map<nn::ParameterRole, optim::RoleSettings> settings;
    for (const auto& [role, own] : groups) {
        if (own.lr_scale < 0 && own.weight_decay < 0) continue;
        optim::RoleSettings& role_settings = settings[role];
        if (own.lr_scale >= 0) role_settings.lr_scale = own.lr_scale;
        if (own.weight_decay >= 0) role_settings.weight_decay = own.weight_decay;
    }
    return settings;
}

void ScheduleConfig::fields(Fields& fields) {
    fields.choice("type", type, registry<ScheduleSettings>().names(), "how the learning rate goes on after warm-up");
    fields.integer("warmup_steps", warmup_steps,
                   "steps over which it grows from 0; what the type does begins with step 0 all the same, so that "
                   "linear and cosine "
                   "do not reach lr",
                   {.min = 0, .max = largest_step});
    if (settings) settings->fields(fields);
}

void TrainConfig::fields(Fields& fields) {
    fields.integer("steps", steps, "updates", {.min = 0, .max = largest_step});
    fields.integer("batch_size", batch_size, "sequences per step", sizes).given = &batch_size_given;
    fields.integer("accumulate", accumulate, "equal parts of a batch that go through the model one after the other",
                   sizes);
    fields.real("clip_norm", clip_norm, "largest norm of the whole gradient; 0 = off", {.min = 0});
    fields.choice("dtype", dtype, {"float32", "float64"}, "of parameters and all arithmetic");
}

void EvalConfig::fields(Fields& fields) {
    fields.integer("every", every, "evaluate at every so many steps", every_so_many);
    fields.integer("batches", batches, "batches per evaluation", sizes);
    fields.integer("patience", patience, "stop after so many evaluations without a lower loss; 0 = off",
                   {.min = 0, .max = largest_size});
}

void LogConfig::fields(Fields& fields) {
    fields.integer("every", every, "a row of /train at every so many steps", every_so_many);
    fields.integer("attention", attention, "the whole attention maps at every so many steps; 0 = off",
                   {.min = 0, .max = largest_step});
    fields.integer("attention_samples", attention_samples,
                   "sequences that maps are logged of; a resumed run keeps those of its log", {.min = 1, .max = 64});
    fields.integer_table("probes", probes, probe_names(), "probes and at every how many steps", every_so_many);
}

void CheckpointConfig::fields(Fields& fields) {
    fields.integer("every", every, "write one at every so many steps", every_so_many);
    fields.integer("keep", keep, "newest so many stay; 0 = all", {.min = 0, .max = largest_size});
    fields.boolean("best", best, "also keep the weights of the lowest evaluation loss, as checkpoints/best.h5");
}

const Field* Section::find(const std::string& key) const {
    for (const Field& field : fields.list()) {
        if (field.key == key) return &field;
    }
    return nullptr;
}

std::vector<std::string> Section::keys() const {
    std::vector<std::string> keys;
    for (const Field& field : fields.list()) keys.push_back(field.key);
    return keys;
}

std::vector<Section> sections_of(Config& config) {
    Fields task;
    task.choice("type", config.task.type, registry<TaskSettings>().names(), "where tokens and targets come from")
        .required = true;
    if (config.task.settings) config.task.settings->fields(task);

    const auto fields_of = [](auto& settings) {
        Fields fields;
        settings.fields(fields);
        return fields;
    };
    std::vector<Section> sections{{"", fields_of(config)}, {"task", task}, {"model", fields_of(config.model)}};
    for_each_choice(config, [&](const std::string& path, auto& choice) {
        if (!path.starts_with("model.")) return;  // the others have a table with a key `type`
        Fields own;
        if (choice.settings) choice.settings->fields(own);
        sections.push_back({path, own, &choice.type});
    });
    sections.push_back({"model.init", fields_of(config.init)});
    sections.push_back({"optimizer", fields_of(config.optimizer)});
    sections.push_back({"optimizer.groups", {}});
    for (auto& [role, own] : config.optimizer.groups)
        sections.push_back({std::string("optimizer.groups.") + nn::name_of(role), fields_of(own)});
    sections.push_back({"schedule", fields_of(config.schedule)});
    sections.push_back({"train", fields_of(config.train)});
    sections.push_back({"eval", fields_of(config.eval)});
    sections.push_back({"log", fields_of(config.log)});
    sections.push_back({"checkpoint", fields_of(config.checkpoint)});
    return sections;
}

std::vector<std::string> typed_keys(Config& config) {
    std::vector<std::string> paths;
    for (const Section& section : sections_of(config)) {
        if (section.type != nullptr) paths.push_back(section.name);
    }
    return paths;
}

std::string join_path(const std::string& section, const std::string& key) {
    return section.empty() ? key : section + "." + key;
}

namespace {

/// The types that have a key of that name of their own.
template <class Settings>
std::vector<std::string> owners_of(const std::string& key, const Choice<Settings>&) {
    std::vector<std::string> owners;
    for (const Type<Settings>& type : types<Settings>()) {
        Section own;
        const auto settings = type.settings();
        settings->fields(own.fields);
        if (own.find(key) != nullptr) owners.push_back(type.name);
    }
    return owners;
}

}  // namespace

std::vector<std::string> types_with(const std::string& section, const std::string& key) {
    std::vector<std::string> owners;
    const Config config;
    for_each_choice(config, [&](const std::string& path, const auto& choice) {
        if (path == section) owners = owners_of(key, choice);
    });
    return owners;
}

}  // namespace headscope::experiments
