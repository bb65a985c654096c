// attention_entropy: how widely each head spreads its attention.
//
//   attention_entropy[l, h] = mean over sequences and query positions of -sum_j p_j ln p_j,      0 ln 0 = 0
//
// where p is the softmax row of a query (before dropout), on the fixed evaluation batches.
// Shape [L, H], units nat, range [0, ln T]. Source: Shannon 1948, "A mathematical theory of communication".
// Invariance: GL. The weights depend on W_q W_k^T alone.
#include <cmath>

#include "autograd/parallel.h"
#include "experiments/probes/capture.h"

namespace headscope {

namespace {

template <class T>
double sum_of_entropies(const T* weights, std::int64_t count) {
    double sum = 0;
    for (std::int64_t i = 0; i < count; ++i) {
        const double p = static_cast<double>(weights[i]);
        if (p > 0) sum -= p * std::log(p);
    }
    return sum;
}

/// Sum over the rows of one head, in all sequences of weights [B, H, T, T].
double head_sum(const Tensor& weights, std::int64_t head) {
    const std::int64_t heads = weights.size(1);
    const std::int64_t count = weights.size(2) * weights.size(3);
    return dispatch_float(weights.dtype(), "attention_entropy", [&](auto scalar) {
        using T = decltype(scalar);
        double sum = 0;
        for (std::int64_t sequence = 0; sequence < weights.size(0); ++sequence)
            sum += sum_of_entropies(weights.data<T>() + (sequence * heads + head) * count, count);
        return sum;
    });
}

class MeanEntropy : public Accumulator {
public:
    explicit MeanEntropy(const nn::Transformer& model)
        : heads_(model.options().block.num_heads), sums_(static_cast<std::size_t>(model.num_layers() * heads_)) {}

    void add(const Capture& capture) override {
        // One chunk per head: each sum is one thread's, in the order of the batches.
        parallel_chunks(static_cast<std::int64_t>(sums_.size()), [&](std::int64_t chunk) {
            sums_[static_cast<std::size_t>(chunk)] += head_sum(capture.layer(chunk / heads_).weights(), chunk % heads_);
        });
        rows_ += capture.batch().inputs.numel();
    }

    std::vector<double> values() const override {
        std::vector<double> means = sums_;
        for (double& mean : means) mean /= static_cast<double>(rows_);
        return means;
    }

private:
    std::int64_t heads_, rows_ = 0;
    std::vector<double> sums_;
};

class AttentionEntropy : public CaptureProbe {
public:
    MetricSpec spec(const ProbeSetup& setup) const override {
        return {.name = "attention_entropy",
                .long_name = "mean entropy of a head's attention rows",
                .units = "nat",
                .formula = "mean over sequences and query positions of -sum p ln p, on the evaluation batches",
                .source = "Shannon 1948",
                .invariance = "GL",
                .minimum = 0,
                .dimensions = {{"layer", setup.layers(), {}}, {"head", setup.heads(), {}}}};
    }

    std::unique_ptr<Accumulator> accumulate(const ProbeContext& context) const override {
        return std::make_unique<MeanEntropy>(context.model);
    }
};

const RegisterProbe registered("attention_entropy", [] { return std::make_unique<AttentionEntropy>(); });

}  // namespace

}  // namespace headscope
