#include "experiments/cli/kinds.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <map>
#include <memory>

#include "experiments/config/config.h"
#include "experiments/config/field_text.h"
#include "experiments/config/nearest.h"
#include "experiments/config/sections.h"
#include "experiments/errors.h"
#include "experiments/probes/probe.h"

namespace headscope::cli {

namespace {

std::string without_trailing_spaces(const std::string& line) { return line.substr(0, line.find_last_not_of(' ') + 1); }

std::string default_of(const Field& field) {
    if (field.required) return "(required)";
    if (field.kind == Field::Kind::integer_table) return "(empty)";
    // A value out of its own range stands for one that other keys decide.
    if (field.kind == Field::Kind::integer && *static_cast<std::int64_t*>(field.value) < field.integer_range.min)
        return "(see below)";
    return value_of(field);
}

/// Two lines per key: its type, default and range, and below it what it means.
std::string keys_text(const std::string& table, const Fields& fields) {
    std::string text;
    for (const Field& field : fields.list()) {
        if (field.key == "type") continue;  // the entry's own name
        const std::string range = range_of(field);
        text +=
            without_trailing_spaces(fmt::format("  {:<32}{:<18}default {}{}", join_path(table, field.key),
                                                type_of(field), default_of(field), range.empty() ? "" : ", " + range)) +
            "\n";
        if (!field.doc.empty()) text += fmt::format("      {}\n", field.doc);
    }
    return text.empty() ? "  no keys\n" : text;
}

/// The keys of a table when its `type` is a registered one: what all types have, then its own.
template <class Settings>
std::string typed_keys_text(const std::string& table, Settings& settings) {
    Fields fields;
    settings.fields(fields);
    return keys_text(table, fields);
}

Kind tasks() {
    Kind kind{"tasks", "where tokens and targets come from: task.type", {}};
    for (const TaskType& type : task_types()) {
        kind.entries.push_back({type.name, type.doc, [type] { return typed_keys_text("task", *type.settings()); }});
    }
    return kind;
}

Kind optimizers() {
    Kind kind{"optimizers", "update rules: optimizer.type", {}};
    for (const OptimizerType& type : optimizer_types()) {
        kind.entries.push_back({type.name, type.doc, [type] {
                                    OptimizerConfig config{.type = type.name, .settings = type.settings()};
                                    return typed_keys_text("optimizer", config);
                                }});
    }
    return kind;
}

Kind schedules() {
    Kind kind{"schedules", "how the learning rate goes on: schedule.type", {}};
    for (const ScheduleType& type : schedule_types()) {
        kind.entries.push_back({type.name, type.doc, [type] {
                                    ScheduleConfig config{.type = type.name, .settings = type.settings()};
                                    return typed_keys_text("schedule", config);
                                }});
    }
    return kind;
}

/// The parts of a model of which there are several: the keys of [model] that are a choice.
Kind modules() {
    Kind kind{"modules", "parts of the model of which there are several", {}};
    ModelConfig config;
    Fields fields;
    config.fields(fields);
    for (const Field& field : fields.list()) {
        if (field.kind != Field::Kind::choice) continue;
        kind.entries.push_back({field.key, fmt::format("{}: {}", field.doc, fmt::join(field.choices, ", ")),
                                [key = field.key, choices = field.choices, value = value_of(field)] {
                                    return fmt::format("  model.{} = {} by default; one of {}\n", key, value,
                                                       quoted_list(choices));
                                }});
    }
    return kind;
}

/// A small model for the shapes and nulls that depend on one: the defaults of [model].
nn::TransformerOptions default_model() {
    const ModelConfig config;
    nn::TransformerOptions options;
    options.num_layers = config.num_layers;
    options.block.d_model = config.d_model;
    options.block.num_heads = config.num_heads;
    options.block.head_dim = config.d_model / config.num_heads;
    return options;
}

std::string probe_text(const std::string& name) {
    const nn::TransformerOptions model = default_model();
    const std::unique_ptr<Probe> probe = make_probe(name);
    const MetricSpec spec = probe->spec(model);
    std::string dimensions = "step";
    for (const Dimension& dimension : spec.dimensions) {
        dimensions += ", " + dimension.name;
        if (!dimension.labels.empty()) dimensions += fmt::format(" ({})", fmt::join(dimension.labels, " "));
    }
    const char* const reads = probe->needs_gradients() ? "gradients: on steps that train, before clipping"
                              : probe->needs_records() ? "activations of the evaluation batches"
                                                       : "weights";
    std::string text = fmt::format(
        "  log.probes.{} = N      at every N steps, to /heads/{}/value\n\n  formula     {}\n  dimensions  {}\n"
        "  units       {}\n  range       {} to {}\n  reads       {}\n  source      {}\n  invariance  {}\n",
        name, name, spec.formula, dimensions, spec.units, spec.minimum, spec.maximum, reads, spec.source,
        spec.invariance);
    if (std::isnan(spec.null_mean)) return text + "  null        none\n";
    return text +
           fmt::format("  null        mean {:.4g}, standard deviation {:.4g}, for d_model = {} and head_dim = {}\n",
                       spec.null_mean, spec.null_std, model.block.d_model, model.block.head_dim);
}

Kind probes() {
    Kind kind{"probes", "per-head measurements: keys of [log.probes]", {}};
    for (const std::string& name : probe_names()) {
        kind.entries.push_back(
            {name, make_probe(name)->spec(default_model()).long_name, [name] { return probe_text(name); }});
    }
    return kind;
}

/// The tables of a config whose keys are always the same.
Kind tables() {
    const std::map<std::string, std::string> docs{{"model", "the transformer"},
                                                  {"model.init", "how its weights start"},
                                                  {"train", "how long and on how much"},
                                                  {"eval", "evaluation on data that training never sees"},
                                                  {"log", "what goes into log.h5, and how often"},
                                                  {"checkpoint", "what is kept to go on from"}};
    Kind kind{"tables", "tables of a config whose keys do not depend on a type", {}};
    Config config;
    for (const Section& section : sections_of(config)) {
        const auto doc = docs.find(section.name);
        if (doc == docs.end()) continue;
        kind.entries.push_back({section.name, doc->second, [name = section.name] {
                                    Config defaults;
                                    for (const Section& own : sections_of(defaults))
                                        if (own.name == name) return keys_text(name, own.fields);
                                    return std::string();
                                }});
    }
    return kind;
}

}  // namespace

std::vector<Kind> kinds() { return {tasks(), modules(), optimizers(), schedules(), probes(), tables()}; }

Kind find_kind(const std::string& verb, const std::string& name) {
    std::vector<std::string> names;
    for (const Kind& kind : kinds()) {
        if (kind.name == name) return kind;
        names.push_back(kind.name);
    }
    throw UsageError(fmt::format("{}: unknown kind \"{}\"{}", verb, name, suggestion(name, names)));
}

}  // namespace headscope::cli
