#include "experiments/config/key_combinations.h"

#include <fmt/format.h>

#include <algorithm>

namespace headscope::experiments {

namespace {

constexpr std::size_t longest_name = 200;  // bytes; with the seed and the folder's own files it stays below NAME_MAX

void check_name(const Config& config, const ReadKeys& reading, Problems& problems) {
    if (!reading.good({"name"})) return;
    const SourcePosition place = reading.place_of({"name"});
    const bool has_control = std::any_of(config.name.begin(), config.name.end(), [](char c) {
        const auto byte = static_cast<unsigned char>(c);
        return byte < 0x20 || byte == 0x7f;
    });
    const char* wrong = config.name.empty()                          ? "is empty"
                        : config.name.find('/') != std::string::npos ? "has a slash"
                        : config.name.front() == '.'                 ? "begins with a dot"
                        : has_control                                ? "has a control character"
                        : config.name.size() > longest_name          ? "is longer than 200 bytes"
                                                                     : nullptr;
    if (wrong != nullptr) problems.add(place, fmt::format("name {}; it becomes the name of a folder", wrong));
}

void settle_head_dim(Config& config, const ReadKeys& reading, Problems& problems) {
    ModelConfig& model = config.model;
    if (model.head_dim_given || !reading.good({"model.d_model", "model.num_heads"})) return;
    if (model.d_model % model.num_heads != 0) {
        problems.add(reading.place_of({"model.num_heads", "model.d_model"}),
                     fmt::format("model.num_heads = {} does not divide model.d_model = {}; change one, or set "
                                 "model.head_dim",
                                 model.num_heads, model.d_model));
        return;
    }
    model.head_dim = model.d_model / model.num_heads;
}

void settle_max_len(Config& config, const ReadKeys& reading, Problems& problems) {
    ModelConfig& model = config.model;
    if (!config.task.settings || !reading.good({"task.seq_len", "model.max_len"})) return;
    Fields fields;
    config.task.settings->fields(fields);
    for (const Field& field : fields.list()) {
        if (field.key != "seq_len" || field.kind != Field::Kind::integer) continue;
        const std::int64_t seq_len = *static_cast<const std::int64_t*>(field.value);
        if (!model.max_len_given) {
            model.max_len = seq_len;
        } else if (model.max_len < seq_len) {
            problems.add(
                reading.place_of({"model.max_len"}),
                fmt::format("model.max_len = {} is shorter than task.seq_len = {}; leave model.max_len out, or "
                            "make it at least {}",
                            model.max_len, seq_len, seq_len));
        }
    }
}

/// What the config notes of its data files, as far as it is about the files that are given.
void settle_data_paths(Config& config, const ReadKeys& reading) {
    const auto from_command_line = [&](const std::string& key) { return reading.place_of({key}).source > 0; };
    for (const auto& [key, file] : data_paths(config)) {
        if (from_command_line(key)) file->absolute.clear();
        file->drop_foreign_notes();
        if (file->absolute.empty()) file->absolute = file->places().front();
    }
}

/// Was any key of a table ("task.") refused?
bool any_bad(const ReadKeys& reading, const std::string& table) {
    return std::any_of(reading.bad.begin(), reading.bad.end(),
                       [&](const std::string& path) { return path.starts_with(table); });
}

/// What an attention or a position says of its own keys, or with the key "type" of itself.
template <class Typed>
void check_typed(const std::string& path, const Typed& typed, const ModelConfig& model, const ReadKeys& reading,
                 Problems& problems) {
    if (!reading.good({"model.d_model", path.c_str()}) || any_bad(reading, path + ".")) return;
    for (const KeyProblem& problem : typed.settings->check({model.d_model, model.head_dim})) {
        const std::string key =
            problem.key == "type" ? fmt::format("{} = \"{}\"", path, typed.type) : path + "." + problem.key;
        problems.add(reading.place_of({path + "." + problem.key, path}), fmt::format("{} {}", key, problem.message));
    }
}

void check_model(const Config& config, const ReadKeys& reading, Problems& problems) {
    const ModelConfig& model = config.model;
    check_typed("model.attention", model.attention, model, reading, problems);
    check_typed("model.position", model.position, model, reading, problems);
    check_typed("model.norm_type", model.norm_type, model, reading, problems);
    check_typed("model.ffn", model.ffn, model, reading, problems);
    if (reading.good({"model.kv_heads", "model.num_heads"}) && model.kv_heads > model.num_heads)
        problems.add(reading.place_of({"model.kv_heads"}),
                     fmt::format("model.kv_heads = {} is more than model.num_heads = {}; a group needs a head",
                                 model.kv_heads, model.num_heads));
    if (reading.good({"model.window", "model.causal"}) && model.window > 0 && !model.causal)
        problems.add(reading.place_of({"model.window"}),
                     "model.window needs model.causal = true: it is counted back from each token");
    if (reading.good({"model.position", "model.attention"}) && model.position.type == "alibi" &&
        !model.attention.settings->takes_alibi()) {
        problems.add(
            reading.place_of({"model.attention", "model.position"}),
            fmt::format("model.position = \"alibi\" is added to the scores of a softmax, and model.attention = "
                        "\"{}\" has none; choose another position, or \"softmax\"",
                        model.attention.type));
    }
    if (reading.good({"model.init.clone_noise", "model.init.clone_heads"}) && config.init.clone_noise > 0 &&
        config.init.clone_heads.empty()) {
        problems.add(reading.place_of({"model.init.clone_noise"}),
                     "model.init.clone_noise does nothing without clones; set model.init.clone_heads, for example "
                     "[\"q\", \"k\", \"v\", \"o\"], or leave it out");
    }
}

// A batch size that the data fix is known only when they are read, see build_experiment_of_any_size().
void check_train(const Config& config, const ReadKeys& reading, Problems& problems) {
    const TrainConfig& train = config.train;
    if (!train.batch_size_given || !reading.good({"train.batch_size", "train.accumulate"})) return;
    if (train.batch_size % train.accumulate == 0) return;
    problems.add(reading.place_of({"train.accumulate", "train.batch_size"}),
                 fmt::format("train.accumulate = {} does not divide train.batch_size = {}; change one",
                             train.accumulate, train.batch_size));
}

void check_optimizer(const Config& config, const ReadKeys& reading, Problems& problems) {
    if (any_bad(reading, "optimizer.")) return;
    for (const KeyProblem& problem : config.optimizer.settings->check()) {
        problems.add(reading.place_of({"optimizer." + problem.key, "optimizer.type"}),
                     fmt::format("optimizer.{} {}", problem.key, problem.message));
    }
}

void check_schedule(const Config& config, const ReadKeys& reading, Problems& problems) {
    if (any_bad(reading, "schedule.") || !reading.good({"model.d_model"})) return;
    for (const KeyProblem& problem : config.schedule.settings->check(schedule_context(config))) {
        problems.add(reading.place_of({"schedule." + problem.key, "schedule.type"}),
                     fmt::format("schedule.{} {}", problem.key, problem.message));
    }
}

void note_long_warmup(Config& config, const ReadKeys& reading) {
    const std::int64_t warmup = config.schedule.warmup_steps, steps = config.train.steps;
    if (warmup == 0 || steps == 0 || warmup < steps || !reading.good({"schedule.warmup_steps", "train.steps"})) return;
    config.notes.push_back(
        fmt::format("schedule.warmup_steps = {} is not less than train.steps = {}: the learning rate rises until the "
                    "run ends; make one smaller or the other larger",
                    warmup, steps));
}

void check_task(const Config& config, const ReadKeys& reading, Problems& problems) {
    if (!config.task.settings || any_bad(reading, "task.")) return;
    for (const TaskSettings::Problem& problem : config.task.settings->check()) {
        problems.add(reading.place_of({"task." + problem.key, "task.type"}),
                     fmt::format("task.{}: {}", problem.key, problem.message));
    }
}

}  // namespace

void derive_and_check(Config& config, const ReadKeys& reading, Problems& problems) {
    check_name(config, reading, problems);
    settle_head_dim(config, reading, problems);
    if (!config.model.d_ff_given && reading.good({"model.d_model"})) config.model.d_ff = 4 * config.model.d_model;
    settle_max_len(config, reading, problems);
    settle_data_paths(config, reading);
    if (!config.model.kv_heads_given && reading.good({"model.num_heads"}))
        config.model.kv_heads = config.model.num_heads;
    check_model(config, reading, problems);
    check_train(config, reading, problems);
    check_optimizer(config, reading, problems);
    check_schedule(config, reading, problems);
    note_long_warmup(config, reading);
    check_task(config, reading, problems);
}

}  // namespace headscope::experiments
