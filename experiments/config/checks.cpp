#include "experiments/config/checks.h"

#include <fmt/format.h>

#include <algorithm>

namespace headscope {

namespace {

constexpr std::size_t longest_name = 200;  // bytes; with the seed and the folder's own files it stays below NAME_MAX

void check_name(const Config& config, const Reading& reading, Problems& problems) {
    if (!reading.good({"name"})) return;
    const Place place = reading.place_of({"name"});
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

void settle_head_dim(Config& config, const Reading& reading, Problems& problems) {
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

void settle_max_len(Config& config, const Reading& reading, Problems& problems) {
    ModelConfig& model = config.model;
    if (!config.task || !reading.good({"task.seq_len", "model.max_len"})) return;
    Fields fields;
    config.task->fields(fields);
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

void check_model(const Config& config, const Reading& reading, Problems& problems) {
    const ModelConfig& model = config.model;
    if (reading.good({"model.d_model", "model.position"}) && model.position == "sinusoidal" && model.d_model % 2 != 0) {
        problems.add(reading.place_of({"model.position"}),
                     fmt::format("model.position = \"sinusoidal\" pairs sines with cosines and needs an even "
                                 "model.d_model, got {}",
                                 model.d_model));
    }
    if (reading.good({"model.init.clone_noise", "model.init.clone_heads"}) && config.init.clone_noise > 0 &&
        config.init.clone_heads.empty()) {
        problems.add(reading.place_of({"model.init.clone_noise"}),
                     "model.init.clone_noise does nothing without clones; set model.init.clone_heads, for example "
                     "[\"q\", \"k\", \"v\", \"o\"], or leave it out");
    }
}

void check_optimizer(const Config& config, const Reading& reading, Problems& problems) {
    const OptimizerConfig& optimizer = config.optimizer;
    if (optimizer.type == "sgd" && optimizer.nesterov && optimizer.momentum == 0 &&
        reading.good({"optimizer.type", "optimizer.momentum", "optimizer.nesterov"})) {
        problems.add(reading.place_of({"optimizer.nesterov"}),
                     "optimizer.nesterov needs momentum; set optimizer.momentum above 0");
    }
}

void check_task(const Config& config, const Reading& reading, Problems& problems) {
    if (!config.task) return;
    const bool any_bad = std::any_of(reading.bad.begin(), reading.bad.end(),
                                     [](const std::string& path) { return path.rfind("task.", 0) == 0; });
    if (any_bad) return;
    for (const TaskSettings::Problem& problem : config.task->check()) {
        problems.add(reading.place_of({"task." + problem.key, "task.type"}),
                     fmt::format("task.{}: {}", problem.key, problem.message));
    }
}

}  // namespace

void settle_and_check(Config& config, const Reading& reading, Problems& problems) {
    check_name(config, reading, problems);
    settle_head_dim(config, reading, problems);
    if (!config.model.d_ff_given && reading.good({"model.d_model"})) config.model.d_ff = 4 * config.model.d_model;
    settle_max_len(config, reading, problems);
    check_model(config, reading, problems);
    check_optimizer(config, reading, problems);
    check_task(config, reading, problems);
}

}  // namespace headscope
