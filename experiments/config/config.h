// A run's config: defaults < file < command line, checked as a whole.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "experiments/attentions/attention.h"
#include "experiments/config/sweep_section.h"
#include "experiments/feed_forwards/feed_forward.h"
#include "experiments/norms/norm.h"
#include "experiments/optimizers/optimizer.h"
#include "experiments/positions/position.h"
#include "experiments/schedules/schedule.h"
#include "experiments/tasks/task.h"
#include "nn/init.h"
#include "nn/transformer.h"

namespace headscope::experiments {

/// A registered type that a config chooses, and the keys that this type has of its own.
template <class Settings>
struct Choice {
    using SettingsType = Settings;
    std::string type;
    std::shared_ptr<Settings> settings = nullptr;  ///< null until the type is known
};

struct ModelConfig {
    std::int64_t d_model = 64, num_heads = 4, head_dim = 0, num_layers = 2, d_ff = 256, max_len = 0;
    std::string activation = "gelu", norm = "pre";
    // Each a key of [model], or a table of its own where the type has keys: [model.attention], ...
    Choice<AttentionSettings> attention{"softmax"};
    Choice<PositionSettings> position{"learned"};
    Choice<NormSettings> norm_type{"layer"};
    Choice<FeedForwardSettings> ffn{"mlp"};
    bool causal = true, bias = true, attention_bias = true, tie_embeddings = false, qk_norm = false;
    std::int64_t kv_heads = 0;  ///< groups of keys and values; follows num_heads where it is not given
    std::int64_t window = 0;    ///< 0: all
    double dropout = 0;
    bool head_dim_given = false, d_ff_given = false, max_len_given = false, kv_heads_given = false;
    void fields(Fields& fields);
};

struct InitConfig {
    std::string scheme = "xavier_uniform";
    double std = 0.02, embedding_std = 0.02, clone_noise = 0;
    std::vector<std::string> clone_heads;
    void fields(Fields& fields);
};

/// What [optimizer.groups.<role>] sets for the parameters of a role; below 0: not set.
struct RoleConfig {
    double lr_scale = -1, weight_decay = -1;
    void fields(Fields& fields);
};

struct OptimizerConfig : Choice<OptimizerSettings> {
    OptimizerConfig() : Choice{"adam"} {}
    double lr = 1e-3, weight_decay = 0;
    std::map<nn::ParameterRole, RoleConfig> groups = {{nn::ParameterRole::matrix, {}},
                                                      {nn::ParameterRole::bias, {}},
                                                      {nn::ParameterRole::scale, {}},
                                                      {nn::ParameterRole::embedding, {}},
                                                      {nn::ParameterRole::head, {}}};
    void fields(Fields& fields);
    /// Settings of the roles that have any of their own.
    std::map<nn::ParameterRole, optim::RoleSettings> role_settings() const;
};

struct ScheduleConfig : Choice<ScheduleSettings> {
    ScheduleConfig() : Choice{"constant"} {}
    std::int64_t warmup_steps = 0;
    void fields(Fields& fields);
};

struct TrainConfig {
    std::int64_t steps = 2000, batch_size = 32;
    bool batch_size_given = false;
    std::int64_t accumulate = 1;  ///< parts of a batch that go through the model one after the other
    double clip_norm = 0;         ///< 0 = off
    std::string dtype = "float32";
    void fields(Fields& fields);
};

struct EvalConfig {
    std::int64_t every = 200, batches = 8;
    std::int64_t patience = 0;  ///< 0 = off
    void fields(Fields& fields);
};

struct LogConfig {
    std::int64_t every = 10;
    std::int64_t attention = 0;  ///< attention maps at every so many steps; 0 = off
    std::int64_t attention_samples = 4;
    std::map<std::string, std::int64_t> probes;  ///< probe name -> every so many steps
    void fields(Fields& fields);
};

struct CheckpointConfig {
    std::int64_t every = 500, keep = 2;
    bool best = false;
    void fields(Fields& fields);
};

struct Config {
    std::string name;
    std::int64_t seed = 0;
    Choice<TaskSettings> task;
    ModelConfig model;
    InitConfig init;
    OptimizerConfig optimizer;
    ScheduleConfig schedule;
    TrainConfig train;
    EvalConfig eval;
    LogConfig log;
    CheckpointConfig checkpoint;

    SweepSection sweep;              ///< for whoever makes several runs of it
    std::string source;              ///< the file's text, as it was
    std::vector<std::string> notes;  ///< for the user, a line each: what is left out or looks like a mistake

    /// The keys above all tables.
    void fields(Fields& fields);

    /// The whole config as TOML, every key written out, in a fixed order; reading it gives the same Config.
    /// A value of 0 for max_len (a task whose input length is not known before build_experiment()) is left out.
    std::string resolved() const;
};

/// Takes a registered type with its defaults; leaves `settings` null when there is none of that name.
template <class Settings>
void choose(Choice<Settings>& choice, const std::string& type) {
    const Type<Settings>* found = find_type<Settings>(type);
    choice.type = type;
    choice.settings = found != nullptr ? found->settings() : nullptr;
}

/// Calls visit(path, choice) for every choice of a config: the one list of them. `path` is where the type stands,
/// without ".type" ("task", "model.attention").
template <class AnyConfig, class Visitor>
void for_each_choice(AnyConfig& config, Visitor&& visit) {
    visit("task", config.task);
    visit("model.attention", config.model.attention);
    visit("model.position", config.model.position);
    visit("model.norm_type", config.model.norm_type);
    visit("model.ffn", config.model.ffn);
    visit("optimizer", config.optimizer);
    visit("schedule", config.schedule);
}

/// Reads `path` and applies `overrides` ("model.d_model=32"; strings may go unquoted; "model.d_model=" unsets the
/// file's key; whole tables go before their keys). Where an override chooses a type (optimizer.type=sgd), the file's
/// keys of the type before (optimizer.beta1) are left out and named in Config::notes. Throws UsageError with *every*
/// problem found, a line each: file:line:column, what is wrong, the nearest known key or the values allowed. Throws
/// IoError when the file cannot be read, has more than 16 MB, or is none.
Config load_config(const std::string& path, const std::vector<std::string>& overrides = {});

/// The same of a config that a user names, which may come through a pipe: `headscope run <(make_config)`.
Config load_users_config(const std::string& path, const std::vector<std::string>& overrides);

/// The same from text; `path` names it in messages.
Config parse_config(const std::string& text, const std::string& path, const std::vector<std::string>& overrides = {});

/// What the schedule of a config may depend on besides its own keys.
ScheduleContext schedule_context(const Config& config);

/// SHA-256, as hex, of what makes a run the run it is: the types, and every key that differs from its default but those
/// that `resume` may change. So a new key is no other run, as long as its default is what was done before. What the
/// data hold is known by Task::data_sha256().
std::string config_identity(const Config& config);
/// What programs of log schema 1.0 took for it: the absolute paths of the data count too.
std::string config_identity_1_0(const Config& config);

/// The same of its runs of all seeds and names.
std::string config_family(Config config);

/// The files of data that a config names, by key ("task.path"); those that it leaves empty are not among them.
std::map<std::string, DataPath*> data_paths(Config& config);
/// Does a key of that name say where data are ("task.path", "task.absolute_path") in any type of task?
bool is_data_path(const std::string& path);
/// The overrides that say where data are.
std::vector<std::string> data_overrides(const std::vector<std::string>& overrides);

/// May `resume` change the key ("log.every")? True for train.steps and all of eval, log and checkpoint.
bool may_change_on_resume(const std::string& path);
/// Throws UsageError that lists every override which `resume` may not make: it may say where data are, too.
void check_resume_overrides(const std::vector<std::string>& overrides);
/// The same for verbs that look back at a run and change nothing: only where data are may be told.
void check_data_overrides(const std::vector<std::string>& overrides);

/// A run's config as it holds from some step on, see config_history.h.
struct ConfigFrom {
    std::int64_t step;
    Config config;
};

/// Everything checked that can be before a byte is written: config plus data.
struct Experiment {
    /// With what depends on the data settled: batch_size of a `tokens` file, max_len, and where the data were found.
    Config config;
    std::unique_ptr<Task> task;
    nn::TransformerOptions model;
    nn::InitOptions init;
    /// Where keys that may_change_on_resume() have other values at other steps, ascending; empty: they do not.
    std::vector<ConfigFrom> history = {};

    /// The config that holds for what describes the weights after `step` updates, and for the update that follows.
    const Config& config_at(std::int64_t step) const;
    /// What the user is to know before training: Config::notes and Task::notes().
    std::vector<std::string> notes() const;
};

/// Builds the task, settles what depends on it, and refuses a model that cannot fit in memory. Touches nothing on disk.
/// Throws UsageError, or IoError for data that cannot be read.
Experiment build_experiment(Config config);
/// The same without looking at memory, for whoever only wants to know shapes.
Experiment build_experiment_of_any_size(Config config);
/// The model of a config that a run has left, where all is settled: without its data. `vocab_size` is that of the run.
nn::TransformerOptions model_of(const Config& config, std::int64_t vocab_size);

}  // namespace headscope::experiments
