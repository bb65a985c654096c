// What a model loses when one of its heads is taken out, on fixed evaluation batches and in evaluation mode.
//
// A head's output z [B, T, d_v], before W_o, is replaced; everything after it is computed anew, b_o included.
//   zero      z becomes 0
//   mean      z becomes its mean over all sequences and positions
//   resample  z becomes that of the next sequence at the same position; the last sequence takes the first's
// Two controls say what a change is worth:
//   another head   of the same layer, chosen at random, ablated in the same way
//   a direction    what the head adds to the layer's output, r = z W_o^h, stays, and |r| u is subtracted at every
//                  position instead, u a random unit vector of R^d_model: as large a change, of no meaning
// Source: Michel et al. 2019, "Are sixteen heads really better than one?" (zero); Wang et al. 2022, "Interpretability
// in the wild" (mean); Chan et al. 2022, "Causal scrubbing" (resample).
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "experiments/analysis/scored_logits.h"
#include "experiments/tasks/task.h"
#include "nn/transformer.h"

namespace headscope::experiments {

enum class Ablation { zero, mean, resample };
inline constexpr std::array ablations{Ablation::zero, Ablation::mean, Ablation::resample};
/// "zero", "mean" or "resample".
const char* name_of(Ablation ablation);

struct AblationOptions {
    std::int64_t seed = 0;   ///< of the controls; the run's
    std::int64_t draws = 5;  ///< random directions per head
    /// Called after each forward pass over all batches. May throw, to end it.
    std::function<void(std::int64_t done, std::int64_t passes)> on_pass = {};
};

/// What the numbers of an ablation depend on besides the weights.
struct AblationShape {
    std::int64_t layers = 0, heads = 0, draws = 0, eval_batches = 0;
    std::vector<std::string> classes;  ///< the task's target classes
};

AblationShape ablation_shape(const nn::TransformerOptions& model, const Task& task, const std::vector<Batch>& batches,
                             std::int64_t draws);

struct AblationResult : AblationShape {
    std::int64_t step = 0;                   ///< updates of the weights; for the caller to fill in
    Losses baseline;                         ///< nothing ablated
    std::vector<Losses> ablated;             ///< [layers, heads, ablations]
    std::vector<Losses> directions;          ///< [layers, heads, draws]
    std::vector<std::int64_t> control_head;  ///< [layers, heads]: the other head; -1 where there is none
    std::vector<double> importance;          ///< [layers, heads]: probe `importance` of these weights and batches
    std::array<double, ablations.size()> spearman{};  ///< rank correlation of importance and delta over all heads

    const Losses& of(std::int64_t layer, std::int64_t head, Ablation ablation) const;
    /// Its loss above the baseline's.
    double delta(std::int64_t layer, std::int64_t head, Ablation ablation) const;
    /// The same of the control head; NaN where there is none.
    double control_delta(std::int64_t layer, std::int64_t head, Ablation ablation) const;
    const Losses& direction(std::int64_t layer, std::int64_t head, std::int64_t draw) const;
    double direction_delta(std::int64_t layer, std::int64_t head, std::int64_t draw) const;
};

/// Ablates every head of the model, one at a time. Resampling needs two sequences; its losses are NaN with one. The
/// model may have guests of others; weights, gradients and mode are as before in the end, also when on_pass throws.
/// Same bits for any number of threads. Throws Error when there is no batch.
AblationResult ablate_heads(nn::Transformer& model, const Task& task, const std::vector<Batch>& batches,
                            const AblationOptions& options);

/// The random unit vectors of R^d_model that the direction control of a head uses: `draw` 0, 1, ... Stream
/// "ablation.direction" of the seed.
std::vector<double> random_direction(const nn::Transformer& model, std::int64_t seed, std::int64_t layer,
                                     std::int64_t head, std::int64_t draw);

}  // namespace headscope::experiments
