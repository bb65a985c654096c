#include "experiments/cli/kinds.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>

#include "experiments/base/errors.h"
#include "experiments/base/nearest.h"
#include "experiments/config/config.h"
#include "experiments/config/field_text.h"
#include "experiments/config/sections.h"
#include "experiments/probes/probe.h"

namespace headscope::experiments::cli {

namespace {

std::string without_trailing_spaces(const std::string& line) { return line.substr(0, line.find_last_not_of(' ') + 1); }

std::string default_of(const Field& field) {
    if (field.required) return "(required)";
    if (field.kind == Field::Kind::integer_table) return "(empty)";
    if (is_unset(field)) return "(see below)";
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

/// The keys of the section at `path` when its type is `type`: what all types have, then its own.
std::string type_text(const std::string& path, const std::string& type) {
    Config config;
    for_each_choice(config, [&](const std::string& other, auto& choice) {
        if (other == path) choose(choice, type);
    });
    for (const Section& section : sections_of(config))
        if (section.name == path) return keys_text(path, section.fields);
    throw Error("type_text: there is no section " + path);
}

/// A kind for each choice of a config: its types.
std::vector<Kind> kinds_of_choices() {
    std::vector<Kind> kinds;
    const Config config;
    for_each_choice(config, [&](const std::string& path, const auto& choice) {
        using Settings = typename std::decay_t<decltype(choice)>::SettingsType;
        Kind kind{Settings::kind.plural, Settings::kind.doc, {}};
        for (const Type<Settings>& type : types<Settings>())
            kind.entries.push_back({type.name, type.doc, [path, name = type.name] { return type_text(path, name); }});
        kinds.push_back(kind);
    });
    return kinds;
}

/// The other parts of a model of which there are several: the keys of [model] that are a plain choice.
Kind modules() {
    Kind kind{"modules", "other parts of the model of which there are several", {}};
    ModelConfig config;
    Fields fields;
    config.fields(fields);
    for (const Field& field : fields.list()) {
        if (field.kind != Field::Kind::choice || field.typed) continue;
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

/// For that model, and a task of as many positions and classes as its axes need to be seen.
MetricSpec example_spec(const Probe& probe, const nn::TransformerOptions& model) {
    return probe.spec({model, 32, {"..."}});
}

/// When a probe runs, and what that costs.
std::string stage_text(const Probe& probe) {
    switch (probe.stage()) {
        case ProbeStage::weights: return "weights, before the step and after the last";
        case ProbeStage::activations: return "activations, before the step and after the last";
        case ProbeStage::gradients: return "gradients, on steps that train, before clipping";
        case ProbeStage::update: return "update, on steps that train: the weights before and after";
    }
    throw Error("stage_text: no such stage");
}

/// The passes through the model that it needs beyond the step's own.
std::string passes_text(const Probe& probe) {
    const auto* capture = dynamic_cast<const CaptureProbe*>(&probe);
    if (capture == nullptr) return probe.makes_passes() ? "forward and backward, its own" : "none";
    std::vector<std::string> sources;
    for (const SequenceSource source : capture->sources()) {
        if (source == SequenceSource::evaluation) sources.emplace_back("evaluation batches");
        if (source == SequenceSource::repeated) sources.emplace_back("repeated random tokens");
        if (source == SequenceSource::random_periods) sources.emplace_back("random tokens of random periods");
    }
    return fmt::format("forward{}, over {}", capture->needs_activation_gradients() ? " and backward" : "",
                       fmt::join(sources, " and "));
}

std::string probe_text(const std::string& name) {
    const nn::TransformerOptions model = default_model();
    const std::unique_ptr<Probe> probe = make_probe(name);
    const MetricSpec spec = example_spec(*probe, model);
    std::string dimensions = "step";
    for (const Dimension& dimension : spec.dimensions) {
        dimensions += ", " + dimension.name;
        if (!dimension.labels.empty()) dimensions += fmt::format(" ({})", fmt::join(dimension.labels, " "));
    }
    std::string text = fmt::format(
        "  log.probes.{} = N      at every N steps, to /heads/{}/value\n\n  formula     {}\n  dimensions  {}\n"
        "  units       {}\n  range       {} to {}\n  stage       {}\n  passes      {}\n  source      {}\n  invariance  "
        "{}\n",
        name, name, spec.formula, dimensions, spec.units, spec.minimum, spec.maximum, stage_text(*probe),
        passes_text(*probe), spec.source, spec.invariance);
    if (!spec.value_labels.empty()) {
        text += "  values      ";
        for (std::size_t code = 0; code < spec.value_labels.size(); ++code)
            text += fmt::format("{}{} {}", code > 0 ? ", " : "", code, spec.value_labels[code]);
        text += "\n";
    }
    if (std::isnan(spec.null_mean)) return text + "  null        none\n";
    text += fmt::format("  null        mean {:.4g}, standard deviation {:.4g}, for d_model = {} and head_dim = {}\n",
                        spec.null_mean, spec.null_std, model.block.d_model, model.block.head_dim);
    if (spec.null_draws == 0) return text + "              closed form\n";
    return text + fmt::format("              measured on {} draws; standard errors {:.2g} and {:.2g}\n",
                              spec.null_draws, spec.null_mean_error, spec.null_std_error);
}

Kind probes() {
    Kind kind{"probes", "per-head measurements: keys of [log.probes]", {}};
    for (const std::string& name : probe_names()) {
        kind.entries.push_back(
            {name, example_spec(*make_probe(name), default_model()).long_name, [name] { return probe_text(name); }});
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

/// A name and what it is, per line.
template <class Named>
std::string lines_of(const std::vector<Named>& all) {
    std::size_t width = 0;
    for (const Named& one : all) width = std::max(width, one.name.size());
    std::string text;
    for (const Named& one : all) text += fmt::format("{:<{}}  {}\n", one.name, width, one.doc);
    return text;
}

}  // namespace

std::vector<Kind> kinds() {
    std::vector<Kind> all = kinds_of_choices();
    for (const Kind& kind : {modules(), probes(), tables()}) all.push_back(kind);
    return all;
}

Kind find_kind(const std::string& verb, const std::string& name) {
    std::vector<std::string> names;
    for (const Kind& kind : kinds()) {
        if (kind.name == name || kind.name == name + "s") return kind;
        names.push_back(kind.name);
    }
    throw UsageError(fmt::format("{}: unknown kind \"{}\"{}", verb, name, suggestion(name, names)));
}

std::string list_text(const std::string& kind) {
    if (kind.empty()) return lines_of(kinds());
    return lines_of(find_kind("list", kind).entries);
}

std::string describe_text(const std::string& kind, const std::string& name) {
    const Kind known = find_kind("describe", kind);
    std::vector<std::string> names;
    for (const KindEntry& entry : known.entries) {
        if (entry.name == name) return fmt::format("{}: {}\n\n{}", entry.name, entry.doc, entry.describe());
        names.push_back(entry.name);
    }
    throw UsageError(
        fmt::format("describe: there is no \"{}\" among the {}{}", name, known.name, suggestion(name, names)));
}

}  // namespace headscope::experiments::cli
