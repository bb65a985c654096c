// What the names of a condition stand for in one run: by its log and its config.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "experiments/analysis/flat_config.h"
#include "experiments/analysis/head_condition.h"
#include "experiments/storage/log_reader.h"

namespace headscope::experiments {

/// A row of a run and a head.
struct HeadPlace {
    std::int64_t step, layer, head;
};

class HeadValues {
public:
    /// Reads each metric that `names` has once. `log` is not needed afterwards. Throws IoError when the log is damaged.
    HeadValues(const LogReader& log, const std::string& run, const std::vector<ConditionName>& names);
    HeadValues(const HeadValues&) = delete;
    HeadValues& operator=(const HeadValues&) = delete;

    /// Why names()[i] stands for nothing in this run, and what may be meant; empty when it does.
    const std::string& problem(std::size_t name) const { return names_.at(name).problem; }
    /// Does a name stand for nothing?
    bool has_problem() const;
    const ConditionType& type(std::size_t name) const { return names_.at(name).type; }

    std::int64_t layers() const { return layers_; }
    std::int64_t heads() const { return heads_; }  ///< of a layer
    std::int64_t seed() const { return seed_; }

    /// The metrics that are named, in their order, each once.
    std::vector<std::string> metrics() const;
    /// The number of rows of one of them.
    std::size_t rows_of(const std::string& metric) const { return metrics_.at(metric).steps.size(); }
    /// The steps at which all of them have a row; none without a metric.
    const std::vector<std::int64_t>& steps() const { return steps_; }

    /// The value of each name for a head at steps()[row]. They live as long as this object.
    void take(std::size_t row, std::int64_t layer, std::int64_t head, std::vector<ConditionValue>& values) const;

private:
    enum class Source { nothing, step, layer, head, constant, metric };
    struct NameInRun {
        Source source = Source::nothing;
        std::string problem = {};
        ConditionType type = {};
        ConditionValue constant = 0.0;
        const Metric* metric = nullptr;
        std::vector<double> values = {};     ///< of the metric, [rows, L, H]
        std::vector<std::size_t> rows = {};  ///< of the metric, by place in steps()
    };

    NameInRun resolve(const ConditionName& name);
    NameInRun of_config(const std::string& key);
    NameInRun of_metric(const ConditionName& name);
    /// Its values, [rows, L, H]: of pairs of heads the mean over the other heads; what has no axis of heads is the same
    /// for all. `label`: places on the other axes.
    std::vector<double> per_head(const Metric& metric, const std::string& label) const;
    std::string unknown(const std::string& name) const;
    void find_steps();

    const LogReader* log_;
    std::vector<Setting> config_;
    std::deque<std::string> texts_;  ///< what values of the config point to
    std::map<std::string, Metric> metrics_;
    std::vector<NameInRun> names_;
    std::vector<std::int64_t> steps_;
    std::int64_t layers_ = 0, heads_ = 0, seed_ = 0;
};

}  // namespace headscope::experiments
