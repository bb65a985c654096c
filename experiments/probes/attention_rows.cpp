#include "experiments/probes/attention_rows.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "autograd/parallel.h"

namespace headscope::experiments {

namespace {

enum class RowKind { shares, zeros, no_shares };

/// Divides a row by its sum. `exact`: also where the sum is 1 but for rounding.
RowKind to_shares(std::vector<double>& row, bool exact) {
    constexpr double rounding = 1e-3;
    const double sum = std::accumulate(row.begin(), row.end(), 0.0);
    const bool negative = std::ranges::any_of(row, [](double weight) { return weight < 0; });
    if (negative || !std::isfinite(sum)) return RowKind::no_shares;
    if (sum == 0) return RowKind::zeros;
    if (exact || std::abs(sum - 1) > rounding)
        for (double& weight : row) weight /= sum;
    return RowKind::shares;
}

class MeanOverRows : public Accumulator {
public:
    MeanOverRows(const nn::Transformer& model, std::int64_t width, ReadRow read)
        : heads_(model.options().block.num_heads),
          width_(width),
          options_(model.options()),
          own_attention_(options_.block.attention_weights || options_.block.custom_attention),
          read_(std::move(read)),
          sums_(static_cast<std::size_t>(model.num_layers() * heads_ * width)),
          counts_(sums_.size()) {}

    void add(const Capture& capture) override {
        // One chunk per head: each sum is one thread's, in the order of the sequences.
        parallel_chunks(capture.num_layers() * heads_, [&](std::int64_t chunk) {
            const Tensor& weights = capture.layer(chunk / heads_).weights();
            dispatch_float(weights.dtype(), "mean_over_rows",
                           [&](auto scalar) { add_head<decltype(scalar)>(weights, capture.batch().inputs, chunk); });
        });
    }

    std::vector<double> values() const override {
        std::vector<double> means(sums_.size());
        for (std::size_t i = 0; i < means.size(); ++i) means[i] = sums_[i] / counts_[i];  // 0/0 = NaN
        return means;
    }

private:
    /// weights [B, H, T, T], tokens [B, T]; chunk = layer * H + head.
    template <class T>
    void add_head(const Tensor& weights, const Tensor& tokens, std::int64_t chunk) {
        const std::int64_t length = weights.size(3), head = chunk % heads_;
        std::vector<double> row(static_cast<std::size_t>(length));
        for (std::int64_t sequence = 0; sequence < weights.size(0); ++sequence)
            for (std::int64_t query = 0; query < length; ++query) {
                std::copy_n(weights.data<T>() + ((sequence * heads_ + head) * length + query) * length, length,
                            row.begin());
                const RowKind kind = to_shares(row, own_attention_);
                if (kind == RowKind::zeros) continue;
                if (kind == RowKind::no_shares) {  // all the head's values are NaN from now on
                    std::fill_n(sums_.data() + chunk * width_, width_, std::numeric_limits<double>::quiet_NaN());
                    continue;
                }
                read_({.query = query,
                       .length = length,
                       .visible = options_.visible_keys(query, length),
                       .weights = row.data(),
                       .tokens = tokens.data<std::int64_t>() + sequence * length},
                      sums_.data() + chunk * width_, counts_.data() + chunk * width_);
            }
    }

    std::int64_t heads_, width_;
    const nn::TransformerOptions& options_;
    bool own_attention_;  ///< not softmax, linear or uniform
    ReadRow read_;
    std::vector<double> sums_, counts_;  // [L, H, width]
};

class RowProbe : public CaptureProbe {
public:
    explicit RowProbe(RowMetric metric) : metric_(std::move(metric)) {}

    MetricSpec spec(const ProbeSetup& setup) const override {
        const auto [minimum, maximum] = metric_.range(setup);
        return {.name = metric_.name,
                .long_name = metric_.long_name,
                .units = metric_.units,
                .formula = metric_.formula + share_rule,
                .source = metric_.source,
                .invariance = "GL",
                .minimum = minimum,
                .maximum = maximum,
                .dimensions = {{"layer", setup.layers(), {}}, {"head", setup.heads(), {}}}};
    }

    std::vector<SequenceSource> sources() const override { return {metric_.sequences}; }

    std::unique_ptr<Accumulator> accumulate(const ProbeContext& context) const override {
        return mean_over_rows(context.model, 1, metric_.read);
    }

private:
    RowMetric metric_;
};

}  // namespace

std::unique_ptr<Accumulator> mean_over_rows(const nn::Transformer& model, std::int64_t width, ReadRow read) {
    return std::make_unique<MeanOverRows>(model, width, std::move(read));
}

RegisterRowMetric::RegisterRowMetric(const RowMetric& metric) {
    RegisterProbe(metric.name, [metric] { return std::make_unique<RowProbe>(metric); });
}

}  // namespace headscope::experiments
