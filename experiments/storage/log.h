// log.h5, schema 1.1: what a run leaves for its reader. A log of schema 1.0, which lacks data_sha256 and folder, is
// of 1.1 once it is continued.
//
// The file on disk is always closed and complete, so any tool opens it at any moment. It is published whole: the file
// that is there with all changes since, written to a temporary name, read back, fsync, rename, fsync of the folder.
// What that takes grows with the file; so rows are kept in the log's tail (log_tail.h) in between. Neither the file nor
// the rows are held in memory. Readers of ours go through open_log() of log_seal.h, which checks that the log is
// undamaged and adds the tail.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "experiments/base/metric.h"
#include "experiments/storage/log_place.h"

namespace headscope::experiments {

/// A scalar series of a group: /train/loss is Column{"loss", "nat/token", "..."} of group "train".
struct Column {
    std::string name;
    std::string units;
    std::string long_name;
    bool integer = false;  ///< i64 instead of f64
};

/// Where a log comes from when its run did not begin from scratch: root attributes lineage, parent, parent_run_id,
/// parent_config, parent_step, changes.
struct Lineage {
    std::string kind;           ///< "fork" or "replay"
    std::string parent;         ///< folder of the run it comes from, absolute
    std::string parent_run_id;  ///< the run_id of that run
    std::string parent_config;  ///< config_family() of that run: the same for its siblings of other seeds
    std::int64_t parent_step;   ///< where it begins: its first own row is that of this step
    std::string changes;        ///< the key=value given, separated by spaces
};

class Log {
public:
    /// Empty log, to be published at `place`, a path or a name in an open folder.
    explicit Log(const LogPlace& place);
    /// The log that is at `place`, continued, without the rows whose step is `first_step` or later.
    /// Throws IoError when it is damaged or of another schema.
    static std::unique_ptr<Log> reopen(const LogPlace& place, std::int64_t first_step);
    /// The rows before `first_step` of another run's log, as the beginning of a log that is published at `place`.
    static std::unique_ptr<Log> fork(const std::string& parent, std::int64_t first_step, const LogPlace& place);
    ~Log();
    Log(const Log&) = delete;
    Log& operator=(const Log&) = delete;

    // Root attributes and single values. Setting again overwrites. Attribute `folder` is there from the start: the
    // folder that the log is published in, absolute.
    void set_attribute(const std::string& name, const std::string& value);
    void set_attribute(const std::string& name, std::int64_t value);
    bool has_attribute(const std::string& name) const;
    /// A text; empty when there is none.
    std::string attribute(const std::string& name) const;
    /// Root attribute data_sha256: Task::data_sha256() of what is trained on from now on.
    void set_data(const std::string& sha256);
    /// Root attribute config_identity_1_0, for a log that began with schema 1.0 (LogReader::config_identity_1_0()).
    void set_config_identity_1_0(const std::string& identity);
    void set_lineage(const Lineage& lineage);
    /// /config: the whole config, every key written out, and the file as it was given.
    void set_config(const std::string& resolved, const std::string& source);
    /// /config/history: what `resume` changed, and from which step on, as TOML (config_history.h). Rows of other steps
    /// than the newest were not all made by /config/resolved then. Empty text: nothing was changed; no such dataset.
    void set_config_history(const std::string& history);
    /// /task/floors/<name>: the loss (nat) that a model which knows that much cannot get below. Attribute kind:
    /// "floor".
    void set_floor(const std::string& name, double loss);
    /// /task/references/<name>, or /task/floors/<name> when `among_floors`: one to compare with that is no floor.
    /// Attribute kind: "reference".
    void set_reference(const std::string& name, double loss, bool among_floors = false);
    /// /task/<name>: what else there is to say of the task's data.
    void set_task_number(const std::string& name, double value, const std::string& units, const std::string& long_name);
    /// /task/vocabulary: what each token stands for. U+0000, which strings in HDF5 cannot hold, stands there as U+2400,
    /// the symbol for it.
    void set_vocabulary(const std::vector<std::string>& tokens);
    // The same by path: a scalar string or f64 dataset, a one-dimensional string dataset; overwrite.
    void set_text(const std::string& path, const std::string& text, const std::string& long_name);
    void set_number(const std::string& path, double value, const std::string& units, const std::string& long_name);
    void set_texts(const std::string& path, const std::vector<std::string>& texts, const std::string& long_name);

    // Series. Declaring one that is there already (a resumed run) checks that it is the same and keeps its rows.
    void declare_series(const std::string& group, const std::vector<Column>& columns);
    /// Values in the order of the columns; integer columns are rounded from double exactly (|value| < 2^53).
    void append(const std::string& group, std::int64_t step, const std::vector<double>& values);
    /// /heads/<name>: value, step and the scales of its dimensions. f32, or f64 when `double_precision`. Attributes of
    /// group and value: formula, source, invariance, minimum, maximum, null_mean, null_std, null_draws,
    /// null_mean_error, null_std_error, and where the values are codes value_labels, what 0, 1, ... stand for, as one
    /// text "first, second,
    /// ...".
    void declare_metric(const MetricSpec& spec, bool double_precision);
    void append_metric(const std::string& name, std::int64_t step, const std::vector<double>& values);
    /// /parameters: names, and series norm and grad_norm over them.
    void declare_parameters(const std::vector<std::string>& names);
    void append_parameters(std::int64_t step, const std::vector<double>& norms, const std::vector<double>& grad_norms);
    /// /attention: `tokens` [S, T] of the samples, and the series weights [S, layers, heads, T, T], a row of which goes
    /// in by append("attention", ...). f32, or f64 when `double_precision`. A log that has samples must have the same.
    void declare_attention(const std::vector<std::int64_t>& tokens, std::int64_t seq_len, std::int64_t layers,
                           std::int64_t heads, bool double_precision);
    /// The tokens of the samples that the log has; empty when it has none.
    std::vector<std::int64_t> attention_tokens() const;
    /// /events: something that happened, with the time of day. Those of kind "resume", "fork" and "data" stay when a
    /// resumed run goes back before their step.
    void event(std::int64_t step, const std::string& kind, const std::string& message);

    /// From now on every row of the steps below this is there: attribute complete_until of what is published or saved.
    void set_complete_until(std::int64_t step);
    /// See LogFile::was_rewritten().
    bool was_rewritten() const;
    /// Writes the whole file; the one before stays until the rename. Throws IoError naming the path and the reason,
    /// also when another program has changed the file that was published last.
    void publish();
    /// All rows are on disk when this returns, in the file or in its tail. Takes as long as there are new rows.
    void save_rows();

private:
    struct State;
    explicit Log(std::unique_ptr<State> state);
    static std::unique_ptr<Log> continued(const std::string& from, std::int64_t first_step, const LogPlace& place,
                                          bool keep_history);
    std::unique_ptr<State> state_;
};

}  // namespace headscope::experiments
