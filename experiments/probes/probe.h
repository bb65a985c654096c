// A probe: one per-head measurement, taken while training and written to /heads/<name>.
//
// There are two kinds. Most read the model as it is at some stage of a step (class Probe: measure). Those that look at
// what heads do are shown captured forward passes, one batch after the other (class CaptureProbe: accumulate), so that
// memory holds one batch at a time and one pass serves all of them.
//
// Adding one: write probes/<name>.cpp with a Probe or CaptureProbe, end it with
//   static const RegisterProbe registered_<name>("<name>", [] { return std::make_unique<MyProbe>(); });
// and its test tests/experiments/probes/<name>_test.cpp; the build finds both. A family of metrics may share a file.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "experiments/base/metric.h"
#include "experiments/tasks/task.h"
#include "nn/transformer.h"

namespace headscope::experiments {

class Capture;  // capture.h

/// What a metric's axes and nulls depend on. It refers to `model`, which must outlive it.
struct ProbeSetup {
    const nn::TransformerOptions& model;
    std::int64_t seq_len;
    std::vector<std::string> classes;  ///< the task's target classes

    std::int64_t layers() const { return model.num_layers; }
    std::int64_t heads() const { return model.block.num_heads; }
    std::int64_t d_model() const { return model.block.d_model; }
    std::int64_t head_dim() const {
        return model.block.head_dim != 0 ? model.block.head_dim : model.block.d_model / model.block.num_heads;
    }
};

/// When a probe runs. Row s is about the weights after s updates, whatever the stage.
enum class ProbeStage {
    weights,      ///< before step s, and after the last: reads weights
    activations,  ///< at the same place: is shown captured forward passes (CaptureProbe)
    gradients,    ///< after the backward pass of step s, before clipping: reads weights and their gradients
    update,       ///< after update s, gradients as the optimizer left them: reads the weights before and after it
};
/// "weights", "activations", ...
const char* name_of(ProbeStage stage);

/// What a probe may look at. It changes nothing: parameters, gradients, modes and random numbers are as before.
struct ProbeContext {
    nn::Transformer& model;
    std::int64_t step;
    std::int64_t seed;
    const Task& task;
    /// Fixed evaluation batches (the first training batch when the task has no evaluation data). They may differ in
    /// their number of sequences.
    const std::vector<Batch>& eval_batches;
    /// Stages gradients and update: the step's batch, and the number of micro-batches it was taken in
    /// (train.accumulate; split_batch() of micro_batches.h makes them).
    const Batch* batch = nullptr;
    std::int64_t micro_batches = 1;
    /// ProbeStage update: the values of a parameter before it. Its argument is a parameter of the model (a handle:
    /// HeadSlice::weight will do); throws Error for anything else.
    std::function<const Tensor&(const Tensor& parameter)> before = {};
};

class Probe {
public:
    virtual ~Probe() = default;
    /// Name, axes and meaning.
    virtual MetricSpec spec(const ProbeSetup& setup) const = 0;
    virtual ProbeStage stage() const = 0;
    /// True when it runs forward or backward passes of its own (extra_pass.h), whose cost is that of training steps.
    virtual bool makes_passes() const { return false; }
    /// The values, row-major over the spec's dimensions; f64 inside, rounded on writing. NaN = not measured.
    virtual std::vector<double> measure(const ProbeContext& context) const = 0;
};

/// Where captured sequences come from. The same in every step of a run.
enum class SequenceSource {
    evaluation,      ///< ProbeContext::eval_batches
    repeated,        ///< random tokens, then the same again, repeated_batch() (sequences.h)
    random_periods,  ///< the same with a period of its own for each sequence, random_periods_batch()
};

/// What a CaptureProbe sums up, batch by batch.
class Accumulator {
public:
    virtual ~Accumulator() = default;
    virtual void add(const Capture& capture) = 0;
    /// As Probe::measure.
    virtual std::vector<double> values() const = 0;
};

class CaptureProbe : public Probe {
public:
    ProbeStage stage() const final { return ProbeStage::activations; }
    bool makes_passes() const final { return true; }
    /// Whose captures it is shown, all batches of one source after those of another, in the order of enum
    /// SequenceSource.
    virtual std::vector<SequenceSource> sources() const { return {SequenceSource::evaluation}; }
    /// True when it reads gradients of captured activations: a backward pass then follows each forward pass.
    virtual bool needs_activation_gradients() const { return false; }
    /// Starts a measurement. The context outlives it.
    virtual std::unique_ptr<Accumulator> accumulate(const ProbeContext& context) const = 0;
    /// Runs the passes for this probe alone.
    std::vector<double> measure(const ProbeContext& context) const final;
};

/// Measures several probes on shared passes: each source's batches go through the model once, one batch in memory at a
/// time. Returns what each one's measure() would, to the bit. `added` is called when probe i has been shown a capture.
std::vector<std::vector<double>> measure_together(const std::vector<const CaptureProbe*>& probes,
                                                  const ProbeContext& context,
                                                  const std::function<void(std::size_t i)>& added = {});

/// Names of all registered probes, sorted.
std::vector<std::string> probe_names();
/// Throws UsageError when there is none of that name.
std::unique_ptr<Probe> make_probe(const std::string& name);

struct RegisterProbe {
    explicit RegisterProbe(std::string name, std::function<std::unique_ptr<Probe>()> make);
};

}  // namespace headscope::experiments
