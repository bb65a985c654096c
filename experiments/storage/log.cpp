#include "experiments/storage/log.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <ctime>
#include <filesystem>
#include <span>
#include <utility>

#include "experiments/base/errors.h"
#include "experiments/base/files.h"
#include "experiments/storage/hdf5.h"
#include "experiments/storage/log_file.h"
#include "experiments/storage/log_seal.h"
#include "experiments/storage/log_tables.h"
#include "experiments/storage/log_tail.h"

namespace headscope::experiments {

namespace {

constexpr const char* config_identity_1_0 = "config_identity_1_0";

/// The order of the datasets of /events.
enum EventColumn : std::size_t { event_time, event_kind, event_message };

void add_event(Table& events, std::int64_t step, std::int64_t time, const std::string& kind,
               const std::string& message) {
    events.pending_steps.push_back(step);
    events.datasets[event_time].pending.push_back(static_cast<double>(time));
    events.datasets[event_kind].pending_texts.push_back(kind);
    events.datasets[event_message].pending_texts.push_back(message);
}

}  // namespace

struct Log::State {
    explicit State(const LogPlace& place) : disk(place), tables(disk.path()) {}
    /// Begins with the log at `from`.
    State(const LogPlace& place, const std::string& from) : disk(place, from), tables(disk.path()) {}

    LogFile disk;
    LogTables tables;
    std::int64_t complete_until = 0;  ///< see Log::set_complete_until()

    hdf5::File& file() { return disk.hdf5(); }
    void append(const std::string& group, std::int64_t step, const std::vector<double>& values);
    void declare(const std::string& group, std::vector<GrowingDataset> datasets) {
        tables.declare(file(), group, std::move(datasets));
    }
    void note_folder();
    void declare_events();
    void drop_events(std::int64_t first_step, bool keep_history);
    void drop_rows(std::int64_t first_step);
    /// Makes room for a dataset that is written anew.
    void replace(const std::string& dataset);
    void add_scale(const std::string& group, const Dimension& dimension);
};

void Log::State::note_folder() {
    const std::filesystem::path folder = folder_of(disk.path());
    file().set_attribute("/", "folder", std::filesystem::absolute(folder).lexically_normal().string());
}

void Log::State::declare_events() {
    declare("/events", {{"time", "s", "seconds since 1970-01-01 00:00 UTC", hdf5::Type::i64},
                        {"kind", "1", "what happened", hdf5::Type::text},
                        {"message", "1", "what happened, in words", hdf5::Type::text}});
}

// Declared, so that all have a row per step. Events of the steps that are done again will happen again. That the run
// was forked or resumed, or given other data, will not.
void Log::State::drop_events(std::int64_t first_step, bool keep_history) {
    hdf5::File& log = file();
    const std::vector<std::int64_t> steps = log.read<std::int64_t>("/events/step"),
                                    times = log.read<std::int64_t>("/events/time");
    const std::vector<std::string> kinds = log.read_texts("/events/kind"), messages = log.read_texts("/events/message");
    for (const char* name : {"step", "time", "kind", "message"}) {
        log.truncate_rows(std::string("/events/") + name, 0);
    }
    for (std::size_t i = 0; i < steps.size(); ++i) {
        const bool history = kinds[i] == "resume" || kinds[i] == "fork" || kinds[i] == "data";
        if (steps[i] >= first_step && !(keep_history && history)) continue;
        add_event(tables.table("/events"), steps[i], times[i], kinds[i], messages[i]);
    }
}

void Log::State::replace(const std::string& dataset) {
    if (file().has_dataset(dataset)) file().remove(dataset);
}

void Log::State::add_scale(const std::string& group, const Dimension& dimension) {
    const std::string name = group + "/" + dimension.name;
    hdf5::File& log = file();
    if (log.has_dataset(name)) return;
    if (dimension.labels.empty()) {
        std::vector<std::int64_t> numbers(static_cast<std::size_t>(dimension.size));
        for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<std::int64_t>(i);
        log.write<std::int64_t>(name, {dimension.size}, numbers, hdf5::Layout::compressed);
    } else {
        log.write_texts(name, dimension.labels, hdf5::Layout::compressed);
    }
    log.make_scale(name, dimension.name);
    log.describe(name, "1", dimension.name);
}

void Log::State::drop_rows(std::int64_t first_step) {
    std::vector<std::string> groups;
    for (const std::string& group : file().children("/")) groups.push_back("/" + group);
    if (file().has_group("/heads")) {
        for (const std::string& metric : file().children("/heads")) groups.push_back("/heads/" + metric);
    }
    for (const std::string& group : groups) {
        if (group != "/events" && file().has_dataset(group + "/step"))
            experiments::drop_rows(file(), disk.path(), group, first_step);
    }
    complete_until = first_step;
}

Log::Log(const LogPlace& place) : state_(std::make_unique<State>(place)) {
    set_attribute("schema_name", std::string(log_schema_name));
    set_attribute("schema_version", std::string(log_schema_version));
    state_->note_folder();
    state_->declare_events();
}

Log::Log(std::unique_ptr<State> state) : state_(std::move(state)) {}

Log::~Log() = default;

std::unique_ptr<Log> Log::continued(const std::string& from, std::int64_t first_step, const LogPlace& place,
                                    bool keep_history) {
    auto state = std::make_unique<State>(place, from);
    state->drop_rows(first_step);
    state->declare_events();
    state->drop_events(first_step, keep_history);
    state->file().set_attribute("/", "schema_version", std::string(log_schema_version));
    state->note_folder();
    return std::unique_ptr<Log>(new Log(std::move(state)));
}

std::unique_ptr<Log> Log::reopen(const LogPlace& place, std::int64_t first_step) {
    return continued(place.folder.path_of(place.name), first_step, place, true);
}

std::unique_ptr<Log> Log::fork(const std::string& parent, std::int64_t first_step, const LogPlace& place) {
    auto log = continued(parent, first_step, place, false);
    // What older checkpoints of the parent are known by is no matter of the fork, which has none of them.
    if (log->has_attribute(config_identity_1_0)) log->set_config_identity_1_0("");
    return log;
}

// --- attributes and single values ---

void Log::set_attribute(const std::string& name, const std::string& value) {
    state_->file().set_attribute("/", name, value);
}

void Log::set_attribute(const std::string& name, std::int64_t value) { state_->file().set_attribute("/", name, value); }

bool Log::was_rewritten() const { return state_->disk.was_rewritten(); }

std::string Log::attribute(const std::string& name) const {
    return has_attribute(name) ? state_->file().text_attribute("/", name) : "";
}

bool Log::has_attribute(const std::string& name) const { return state_->file().has_attribute("/", name); }

void Log::set_data(const std::string& sha256) { set_attribute("data_sha256", sha256); }

void Log::set_config_identity_1_0(const std::string& identity) { set_attribute(config_identity_1_0, identity); }

void Log::set_lineage(const Lineage& lineage) {
    set_attribute("lineage", lineage.kind);
    set_attribute("parent", lineage.parent);
    set_attribute("parent_run_id", lineage.parent_run_id);
    set_attribute("parent_config", lineage.parent_config);
    set_attribute("parent_step", lineage.parent_step);
    set_attribute("changes", lineage.changes);
}

void Log::set_config(const std::string& resolved, const std::string& source) {
    set_text("/config/resolved", resolved, "the whole config, every key written out");
    set_text("/config/source", source, "the config file as it was given");
}

void Log::set_config_history(const std::string& history) {
    const std::string path = "/config/history";
    if (history.empty()) state_->replace(path);
    else set_text(path, history, "what `resume` changed of the config, and from which step on; TOML");
}

void Log::set_floor(const std::string& name, double loss) {
    const std::string path = "/task/floors/" + name;
    set_number(path, loss, "nat", "lowest loss of models that know only `" + name + "`");
    state_->file().set_attribute(path, "kind", std::string("floor"));
}

void Log::set_reference(const std::string& name, double loss, bool among_floors) {
    const std::string path = (among_floors ? "/task/floors/" : "/task/references/") + name;
    set_number(path, loss, "nat", "loss to compare with, no floor: `" + name + "`");
    state_->file().set_attribute(path, "kind", std::string("reference"));
}

void Log::set_task_number(const std::string& name, double value, const std::string& units,
                          const std::string& long_name) {
    set_number("/task/" + name, value, units, long_name);
}

void Log::set_vocabulary(const std::vector<std::string>& tokens) {
    std::vector<std::string> texts;
    for (const std::string& token : tokens) {
        std::string& text = texts.emplace_back();
        for (const char byte : token) byte == '\0' ? text += "\u2400" : text += byte;
    }
    set_texts("/task/vocabulary", texts, "what each token stands for");
}

void Log::set_text(const std::string& path, const std::string& text, const std::string& long_name) {
    state_->replace(path);
    state_->file().write_text(path, text);
    state_->file().describe(path, "1", long_name);
}

void Log::set_number(const std::string& path, double value, const std::string& units, const std::string& long_name) {
    state_->replace(path);
    state_->file().write<double>(path, {}, std::span<const double>(&value, 1));
    state_->file().describe(path, units, long_name);
}

void Log::set_texts(const std::string& path, const std::vector<std::string>& texts, const std::string& long_name) {
    state_->replace(path);
    state_->file().write_texts(path, texts, hdf5::Layout::compressed);
    state_->file().make_scale(path, path.substr(path.rfind('/') + 1));
    state_->file().describe(path, "1", long_name);
}

// --- series ---

void Log::declare_series(const std::string& group, const std::vector<Column>& columns) {
    std::vector<GrowingDataset> datasets;
    for (const Column& column : columns) {
        const hdf5::Type type = column.integer ? hdf5::Type::i64 : hdf5::Type::f64;
        datasets.push_back({column.name, column.units, column.long_name, type});
    }
    state_->declare("/" + group, std::move(datasets));
}

void Log::append(const std::string& group, std::int64_t step, const std::vector<double>& values) {
    state_->append("/" + group, step, values);
}

void Log::declare_metric(const MetricSpec& spec, bool double_precision) {
    const std::string group = "/heads/" + spec.name, path = group + "/value";
    GrowingDataset value{"value", spec.units, spec.long_name, double_precision ? hdf5::Type::f64 : hdf5::Type::f32};
    for (const Dimension& dimension : spec.dimensions) {
        state_->add_scale(group, dimension);
        value.scales.push_back(dimension.name);
        value.row_shape.push_back(dimension.size);
    }
    state_->declare(group, {std::move(value)});
    hdf5::File& file = state_->file();
    for (const std::string& object : {group, path}) {  // of the group too: xarray makes them those of its Dataset
        file.set_attribute(object, "formula", spec.formula);
        file.set_attribute(object, "source", spec.source);
        file.set_attribute(object, "invariance", spec.invariance);
        file.set_attribute(object, "minimum", spec.minimum);
        file.set_attribute(object, "maximum", spec.maximum);
        file.set_attribute(object, "null_mean", spec.null_mean);
        file.set_attribute(object, "null_std", spec.null_std);
        file.set_attribute(object, "null_draws", spec.null_draws);
        file.set_attribute(object, "null_mean_error", spec.null_mean_error);
        file.set_attribute(object, "null_std_error", spec.null_std_error);
        if (!spec.value_labels.empty())
            file.set_attribute(object, "value_labels", fmt::format("{}", fmt::join(spec.value_labels, ", ")));
    }
}

void Log::append_metric(const std::string& name, std::int64_t step, const std::vector<double>& values) {
    state_->append("/heads/" + name, step, values);
}

void Log::declare_parameters(const std::vector<std::string>& names) {
    const std::string path = "/parameters/name";
    if (!state_->file().has_dataset(path)) set_texts(path, names, "dotted path of the parameter");
    if (state_->file().read_texts(path) != names) {
        throw IoError(state_->disk.path() + ": " + path +
                      " lists other parameters than this run has; the log is of another run");
    }
    GrowingDataset norm{"norm", "1", "norm of the parameter", hdf5::Type::f32};
    norm.scales = {"name"};
    norm.row_shape = {static_cast<std::int64_t>(names.size())};
    GrowingDataset grad_norm = norm;
    grad_norm.name = "grad_norm";
    grad_norm.units = "nat";
    grad_norm.long_name = "norm of the parameter's gradient, before clipping";
    state_->declare("/parameters", {norm, grad_norm});
}

void Log::append_parameters(std::int64_t step, const std::vector<double>& norms,
                            const std::vector<double>& grad_norms) {
    if (norms.size() != grad_norms.size()) {
        throw Error(fmt::format("log: {} norms but {} gradient norms of parameters", norms.size(), grad_norms.size()));
    }
    std::vector<double> values = norms;
    values.insert(values.end(), grad_norms.begin(), grad_norms.end());
    state_->append("/parameters", step, values);
}

void Log::declare_attention(const std::vector<std::int64_t>& tokens, std::int64_t seq_len, std::int64_t layers,
                            std::int64_t heads, bool double_precision) {
    const std::string group = "/attention", path = group + "/tokens";
    const std::int64_t samples = static_cast<std::int64_t>(tokens.size()) / seq_len;
    GrowingDataset weights{"weights", "1", "attention weight, after softmax and before dropout",
                           double_precision ? hdf5::Type::f64 : hdf5::Type::f32};
    for (const auto& [name, size] : {std::pair{"sample", samples}, std::pair{"layer", layers}, std::pair{"head", heads},
                                     std::pair{"query", seq_len}, std::pair{"key", seq_len}}) {
        state_->add_scale(group, {name, size, {}});
        weights.scales.emplace_back(name);
        weights.row_shape.push_back(size);
    }
    state_->declare(group, {std::move(weights)});
    if (!state_->file().has_dataset(path)) {
        state_->file().write<std::int64_t>(path, {samples, seq_len}, tokens, hdf5::Layout::compressed);
        state_->file().describe(path, "1", "token at each position of the samples");
        state_->file().attach_scale(path, 0, group + "/sample");
        state_->file().attach_scale(path, 1, group + "/query");
    }
    if (attention_tokens() != tokens)
        throw IoError(state_->disk.path() + ": " + path +
                      " holds other samples than this run has; the log is of another run");
}

std::vector<std::int64_t> Log::attention_tokens() const {
    const std::string path = "/attention/tokens";
    return state_->file().has_dataset(path) ? state_->file().read<std::int64_t>(path) : std::vector<std::int64_t>();
}

void Log::event(std::int64_t step, const std::string& kind, const std::string& message) {
    add_event(state_->tables.table("/events"), step, std::time(nullptr), kind, message);
}

// --- on disk ---

void Log::State::append(const std::string& group, std::int64_t step, const std::vector<double>& values) {
    constexpr std::size_t most_values = 1 << 19;  // 4 MiB
    tables.append(group, step, values);
    if (tables.pending_values() >= most_values) disk.add_rows(tables.take_rows(complete_until));
}

void Log::set_complete_until(std::int64_t step) { state_->complete_until = step; }

void Log::publish() {
    LogTables& tables = state_->tables;
    state_->disk.publish(tables.has_rows() ? tables.take_rows(state_->complete_until) : std::vector<std::byte>(),
                         state_->complete_until);
}

void Log::save_rows() {
    if (!state_->disk.published()) return publish();
    state_->disk.add_rows(state_->tables.take_rows(state_->complete_until));
    state_->disk.sync_tail();
}

}  // namespace headscope::experiments
