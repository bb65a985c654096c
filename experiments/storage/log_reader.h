// Reads log.h5: the one place, beside the writer (log.h), that knows paths inside a log. scripts/headscope.py is its
// twin in Python.
//
//   const LogReader log = LogReader::of_run("runs/a-s0", "inspect");
//   const Series loss = log.series("eval/loss");         // loss.steps, loss.values
//   const Metric overlap = log.metric("overlap");        // rows of [L, 4, H, H]
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "experiments/storage/hdf5.h"
#include "experiments/storage/log.h"

namespace headscope::experiments {

/// A column of a group of scalar series, f64 whatever the log's type.
struct Series {
    std::string units, long_name;
    std::vector<std::int64_t> steps;
    std::vector<double> values;  ///< one for each step
};

/// What a number of a metric's row is about.
struct MetricPlace {
    std::int64_t layer = -1, head = -1;  ///< -1: the metric has no such axis
    bool own_pair = false;               ///< of a head with itself, in a metric of pairs of heads (axis head_other)
    std::string label = {};              ///< its places on all other axes, "far q"
};

/// A per-head metric, /heads/<name>.
struct Metric {
    std::string name, units, long_name;
    std::vector<std::int64_t> steps;
    std::vector<std::string> dimensions;           ///< of a row: "layer", "head", ...
    hdf5::Dims shape;                              ///< of a row
    std::vector<std::vector<std::string>> labels;  ///< for each dimension; none where its places are 0, 1, 2, ...
    std::vector<std::string> value_labels;         ///< what the values 0, 1, ... stand for; empty: they are numbers
    std::vector<double> values;                    ///< all rows, one behind the other
    double minimum, maximum;                       ///< of its range
    double null_mean, null_std;                    ///< for random matrices; NaN when the metric has no null

    std::size_t row_size() const;
    /// Of each number of a row, in the order of its values.
    std::vector<MetricPlace> places() const;
    /// The values of the newest row; none without a row.
    std::vector<double> last_row() const;
};

struct LoggedEvent {
    std::int64_t step, time;  ///< seconds since 1970
    std::string kind, message;
};

struct NamedNumber {
    std::string name;
    double value;
};

class LogReader {
public:
    /// The log at `path`. Throws IoError when it cannot be read, is damaged, or is not a log of a schema known here.
    explicit LogReader(const std::string& path);
    /// RUN/log.h5. Throws UsageError, beginning with `verb`, when there is no such folder or no log in it.
    static LogReader of_run(const std::string& run, const std::string& verb);

    // --- the run ---

    std::string state() const;  ///< "running", "finished" or "failed"
    std::string run_id() const;
    std::int64_t seed() const;
    std::string config_sha256() const;
    /// Task::data_sha256() of what the run trains on. Nothing in a log of schema 1.0, which does not know.
    std::optional<std::string> data_sha256() const;
    /// Every row of the steps below this is there. Nothing in a log of an older program, which does not say.
    std::optional<std::int64_t> complete_until() const;
    /// The folder that it was written in, absolute; empty in a log of schema 1.0.
    std::string folder() const;
    /// In a log that began with schema 1.0: the config_sha256 of the checkpoints of that time. Else empty.
    std::string config_identity_1_0() const;
    std::string resolved_config() const;  ///< TOML
    /// Where resolved_config() stands, for messages: "<log>: /config/resolved".
    std::string resolved_config_place() const;
    /// What `resume` changed, as TOML, see config_history.h; empty when one config holds for all rows. And where it
    /// stands.
    std::string config_history() const;
    std::string config_history_place() const;
    /// Where a run comes from that did not start from scratch. What the log does not say is empty, the step -1.
    std::optional<Lineage> lineage() const;
    /// How the program, compiler and machine at hand differ from those that the log was last written with, a sentence
    /// each. Every one is a reason why bits may differ.
    std::vector<std::string> differences_to_this_program() const;
    /// The same of those with which the run was resumed, from its events.
    std::vector<std::string> differences_noted() const;

    // --- scalar series ---

    /// Columns of a group ("train", "eval"), sorted, without `step`; none when there is no such group.
    std::vector<std::string> columns(const std::string& group) const;
    bool has_series(const std::string& name) const;
    /// "train/loss". Throws IoError when it has another number of values than steps.
    Series series(const std::string& name) const;
    /// The last value; NaN without a row, or without the series.
    double last_value(const std::string& name) const;
    /// The steps of a group; none when there is no such group.
    std::vector<std::int64_t> steps(const std::string& group) const;
    /// The last of them; -1 without a row.
    std::int64_t last_step(const std::string& group) const;

    // --- what else there is ---

    /// Names of the metrics under /heads, sorted, whether or not this program knows them.
    std::vector<std::string> metrics() const;
    bool has_metric(const std::string& name) const;
    /// Throws IoError when it is no metric.
    Metric metric(const std::string& name) const;
    std::vector<std::string> parameter_names() const;
    std::vector<LoggedEvent> events() const;
    /// The losses that models which know that much cannot get below.
    std::vector<NamedNumber> floors() const;
    /// Other losses to compare with, those marked as such under /task/floors included.
    std::vector<NamedNumber> references() const;

private:
    explicit LogReader(hdf5::File file, std::string path) : file_(std::move(file)), path_(std::move(path)) {}
    std::string root_text(const std::string& name) const;
    /// The losses of a group that are of that kind; those of earlier versions, which do not say, are of kind `own`.
    std::vector<NamedNumber> losses(const std::string& group, const std::string& own, const std::string& kind) const;

    hdf5::File file_;
    std::string path_;
};

/// How far a run has come, as far as its log and its checkpoints show.
std::int64_t steps_done(const std::string& run, const LogReader& log);

}  // namespace headscope::experiments
