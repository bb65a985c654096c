#include "experiments/analysis/scored_logits.h"

#include <algorithm>
#include <boost/math/tools/roots.hpp>
#include <cmath>
#include <limits>

#include "autograd/parallel.h"

namespace headscope::experiments {
namespace {

constexpr double unscored = std::numeric_limits<double>::quiet_NaN();

/// What one target says at an inverse temperature beta: with p = softmax(beta * z), q its true distribution,
///   loss = log sum_v exp(beta z_v) - beta sum_v q_v z_v      slope = d loss / d beta = sum_v (p_v - q_v) z_v
struct Row {
    double loss, target_loss, slope;
};

/// `truth` may be null: then the target is certain.
template <class T>
Row read_row(const T* z, const double* truth, std::int64_t target, std::int64_t vocab, double beta) {
    const auto largest = static_cast<double>(*std::max_element(z, z + vocab));
    double total = 0, weighted = 0, expected = 0;
    for (std::int64_t v = 0; v < vocab; ++v) {
        const double logit = static_cast<double>(z[v]) - largest;
        const double weight = std::exp(beta * logit);
        total += weight;
        weighted += weight * logit;
        if (truth != nullptr) expected += truth[v] * logit;
    }
    const double of_target = static_cast<double>(z[target]) - largest, log_total = std::log(total);
    if (truth == nullptr) expected = of_target;
    return {log_total - beta * expected, log_total - beta * of_target, weighted / total - expected};
}

}  // namespace

Losses Losses::none(std::size_t classes) {
    const std::vector<double> each(classes, unscored);
    return {unscored, each, unscored, unscored, each};
}

void ScoredLogits::add(const Tensor& logits, const Batch& batch) {
    Part part{logits, &batch, {}};
    const auto targets = batch.targets.values<std::int64_t>();
    for (std::int64_t row = 0; row < std::ssize(targets); ++row)
        if (targets[static_cast<std::size_t>(row)] >= 0) part.rows.push_back(row);
    count_ += std::ssize(part.rows);
    parts_.push_back(std::move(part));
}

ScoredLogits::Means ScoredLogits::means_at(double inverse_temperature) const {
    Means means{0, 0, std::vector<double>(classes_, 0.0)};
    std::vector<std::int64_t> class_count(classes_, 0);
    std::vector<Row> rows;
    for (const Part& part : parts_) {
        const std::int64_t vocab = part.logits.size(-1), grain = 1 + (1 << 12) / vocab;
        const std::int64_t* target = part.batch->targets.data<std::int64_t>();
        const double* truth = part.batch->truth.defined() ? part.batch->truth.data<double>() : nullptr;
        rows.resize(part.rows.size());
        dispatch_float(part.logits.dtype(), "ScoredLogits", [&](auto zero) {
            const auto* const logits = part.logits.data<decltype(zero)>();
            parallel_for(std::ssize(part.rows), grain, [&](std::int64_t begin, std::int64_t end) {
                for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
                    const std::int64_t row = part.rows[i];
                    rows[i] = read_row(logits + row * vocab, truth != nullptr ? truth + row * vocab : nullptr,
                                       target[row], vocab, inverse_temperature);
                }
            });
        });
        const std::int64_t* const classes =
            part.batch->classes.defined() ? part.batch->classes.data<std::int64_t>() : nullptr;
        for (std::size_t i = 0; i < rows.size(); ++i) {
            means.loss += rows[i].loss;
            means.slope += rows[i].slope;
            const std::int64_t own = classes != nullptr ? classes[part.rows[i]] : -1;
            if (own < 0) continue;
            means.class_loss[static_cast<std::size_t>(own)] += rows[i].target_loss;
            ++class_count[static_cast<std::size_t>(own)];
        }
    }
    means.loss /= static_cast<double>(count_);  // 0 / 0, where there are none, is NaN
    means.slope /= static_cast<double>(count_);
    for (std::size_t c = 0; c < classes_; ++c) means.class_loss[c] /= static_cast<double>(class_count[c]);
    return means;
}

// The loss is convex in beta, so its slope rises and crosses 0 once, or never between the limits.
double ScoredLogits::best_inverse_temperature() const {
    const auto slope = [&](double beta) { return means_at(beta).slope; };
    if (!(slope(smallest_inverse_temperature) < 0)) return smallest_inverse_temperature;
    if (!(slope(largest_inverse_temperature) > 0)) return largest_inverse_temperature;
    constexpr int bits = 45;
    std::uintmax_t most_calls = 200;
    const auto [low, high] = boost::math::tools::bracket_and_solve_root(
        slope, 1.0, 2.0, true, boost::math::tools::eps_tolerance<double>(bits), most_calls);
    return low + (high - low) / 2;
}

Losses ScoredLogits::losses() const {
    const Means plain = means_at(1);
    if (!std::isfinite(plain.loss)) {
        Losses losses = Losses::none(classes_);
        losses.loss = plain.loss;
        losses.class_loss = plain.class_loss;
        return losses;
    }
    const double beta = best_inverse_temperature();
    const Means refit = means_at(beta);
    // Nothing to gain, or no more than rounding.
    if (refit.loss >= plain.loss) return {plain.loss, plain.class_loss, 1, plain.loss, plain.class_loss};
    return {plain.loss, plain.class_loss, beta, refit.loss, refit.class_loss};
}

}  // namespace headscope::experiments
