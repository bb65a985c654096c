// A probe: one per-head measurement, taken while training and written to /heads/<name>.
//
// Adding one: write probes/<name>.cpp with a Probe, end it with
//   static const RegisterProbe registered("<name>", [] { return std::make_unique<MyProbe>(); });
// and its test tests/experiments/<name>_test.cpp; the build finds both.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "experiments/tasks/task.h"
#include "nn/transformer.h"

namespace headscope {

/// An axis of a metric after the row axis.
struct Dimension {
    std::string name;  ///< layer, head, head_other, projection, ...
    std::int64_t size;
    std::vector<std::string> labels;  ///< of a categorical axis ("q", "k", "v", "o"); empty: 0, 1, 2, ...
};

struct MetricSpec {
    std::string name;       ///< key under [log.probes] and group under /heads
    std::string long_name;  ///< what is measured, for a plot's axis
    std::string units;      ///< "1", "nat", ...
    std::string formula;
    std::string source;      ///< where the formula is from
    std::string invariance;  ///< "GL", "orthogonal" or "none"
    double minimum = -std::numeric_limits<double>::infinity();
    double maximum = std::numeric_limits<double>::infinity();
    std::vector<Dimension> dimensions;
    /// For random matrices of that shape; NaN when the metric has no null.
    double null_mean = std::numeric_limits<double>::quiet_NaN();
    double null_std = std::numeric_limits<double>::quiet_NaN();
};

/// What a probe may look at. It changes nothing.
struct ProbeContext {
    nn::Transformer& model;
    std::int64_t step;
    /// Fixed evaluation batches (the first training batch when the task has no evaluation data).
    const std::vector<Batch>& eval_batches;
    /// What a forward pass over eval_batches[i] left, per layer; made once per step, and only when some probe asks.
    std::function<const std::vector<std::vector<nn::AttentionRecord>>&()> eval_records;
};

class Probe {
public:
    virtual ~Probe() = default;
    /// Name, axes and meaning for a given model.
    virtual MetricSpec spec(const nn::TransformerOptions& model) const = 0;
    /// True when it reads gradients: it then runs after backward and before clipping, on steps that train. Otherwise it
    /// also runs on the weights after the last step.
    virtual bool needs_gradients() const = 0;
    /// True when it asks for eval_records, whose memory is then part of what a run needs.
    virtual bool needs_records() const { return false; }
    /// The values, row-major over the spec's dimensions; f64 inside, rounded on writing. NaN = not measured.
    virtual std::vector<double> measure(const ProbeContext& context) const = 0;
};

/// Names of all registered probes, sorted.
std::vector<std::string> probe_names();
/// Throws UsageError when there is none of that name.
std::unique_ptr<Probe> make_probe(const std::string& name);

struct RegisterProbe {
    explicit RegisterProbe(std::string name, std::function<std::unique_ptr<Probe>()> make);
};

}  // namespace headscope
