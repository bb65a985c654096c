// The logits of a model at the scored targets of fixed batches, and their loss: as they are, and after temperature
// scaling.
//
// A model with a part taken out is often overconfident: its loss is above that of a model trained without the part.
// Dividing all logits by one temperature, chosen for the lowest loss on the same data, removes this (Guo et al. 2017,
// "On calibration of modern neural networks").
#pragma once

#include <cstdint>
#include <vector>

#include "experiments/tasks/task.h"

namespace headscope::experiments {

/// In nat per scored target; NaN where no target was scored.
struct Losses {
    double loss;                           ///< against the true distribution where the task knows it, else targets
    std::vector<double> class_loss;        ///< against the targets of each target class
    double inverse_temperature;            ///< beta: the lowest `loss` is that of softmax(beta * logits)
    double loss_refit;                     ///< that loss
    std::vector<double> class_loss_refit;  ///< class_loss of softmax(beta * logits)

    /// All values are NaN.
    static Losses none(std::size_t classes);
};

/// Limits of the inverse temperature. Beyond them the loss no longer changes: it is ln V, or that of argmax.
inline constexpr double smallest_inverse_temperature = 0x1p-20;
inline constexpr double largest_inverse_temperature = 0x1p20;

class ScoredLogits {
public:
    /// `classes`: how many target classes the task has.
    explicit ScoredLogits(std::size_t classes) : classes_(classes) {}

    /// logits [B, T, V]. The batch must outlive this.
    void add(const Tensor& logits, const Batch& batch);

    /// Sums are in f64 and in the order of the targets. loss_refit is never above loss.
    Losses losses() const;

private:
    struct Part {
        Tensor logits;
        const Batch* batch;
        std::vector<std::int64_t> rows;  ///< which of the B*T targets are scored
    };
    /// Means over the scored targets, at one inverse temperature.
    struct Means {
        double loss, slope;  ///< slope: of the loss, by the inverse temperature
        std::vector<double> class_loss;
    };
    Means means_at(double inverse_temperature) const;
    double best_inverse_temperature() const;

    std::size_t classes_;
    std::int64_t count_ = 0;
    std::vector<Part> parts_;
};

}  // namespace headscope::experiments
