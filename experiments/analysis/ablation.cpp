#include "experiments/analysis/ablation.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "autograd/graph.h"
#include "autograd/ops.h"
#include "autograd/random.h"
#include "experiments/analysis/rank_correlation.h"
#include "experiments/probes/extra_pass.h"
#include "experiments/probes/probe.h"

namespace headscope::experiments {
namespace {

/// Calls write(values of one head at one position, sequence, position) for all positions of a copy of heads
/// [B, T, H*width].
template <class Write>
Tensor rewrite_head(const Tensor& heads, std::int64_t head, std::int64_t width, Write&& write) {
    Tensor edited = heads.clone();
    const std::int64_t length = heads.size(1), all = heads.size(2);
    dispatch_float(heads.dtype(), "ablation", [&](auto zero) {
        auto* const values = edited.data<decltype(zero)>();
        for (std::int64_t b = 0; b < heads.size(0); ++b)
            for (std::int64_t t = 0; t < length; ++t) write(values + (b * length + t) * all + head * width, b, t);
    });
    return edited;
}

/// Passes over the evaluation batches, plain and edited. Nobody but this calls the model, in evaluation mode and
/// without a graph.
class Passes {
public:
    Passes(nn::Transformer& model, const std::vector<Batch>& batches, std::size_t classes,
           const AblationOptions& options)
        : model_(model), batches_(batches), classes_(classes), options_(options) {
        const auto heads = static_cast<std::size_t>(model.options().block.num_heads);
        const std::size_t edited = model.blocks.size() * heads;
        for (const Batch& batch : batches) sequences_ += batch.inputs.size(0);
        passes_ = 1 + static_cast<std::int64_t>(edited * (resamples() ? 3 : 2)) +
                  static_cast<std::int64_t>(edited) * options.draws;
    }

    /// Whether there is another sequence to take from.
    bool resamples() const { return sequences_ > 1; }

    /// The plain pass, on which the others build: it comes first.
    Losses baseline();
    Losses ablated(std::int64_t layer, std::int64_t head, Ablation ablation);
    Losses direction(std::int64_t layer, std::int64_t head, std::int64_t draw);

private:
    /// What heads say on the evaluation data, side by side.
    struct Statistics {
        std::vector<double> sum;    ///< [H*d_v], over all sequences and positions
        std::vector<Tensor> first;  ///< of each batch, what they say on its first sequence [T, H*d_v]
        std::int64_t count = 0;
    };

    Losses run();
    nn::MultiHeadAttention& attention(std::int64_t layer) const {
        return model_.blocks[static_cast<std::size_t>(layer)]->attn;
    }
    static void observe(const Tensor& heads, Statistics& statistics);
    Tensor replace(const Tensor& heads, std::int64_t layer, std::int64_t head, Ablation ablation) const;

    nn::Transformer& model_;
    const std::vector<Batch>& batches_;
    std::size_t classes_;
    const AblationOptions& options_;
    std::int64_t sequences_ = 0, passes_ = 0, done_ = 0;
    std::size_t batch_ = 0;  ///< the one that the model is reading
    std::vector<Statistics> statistics_;
};

Losses Passes::run() {
    ScoredLogits scored(classes_);
    for (batch_ = 0; batch_ < batches_.size(); ++batch_)
        scored.add(model_.forward(batches_[batch_].inputs), batches_[batch_]);
    Losses losses = scored.losses();
    if (options_.on_pass) options_.on_pass(++done_, passes_);
    return losses;
}

void Passes::observe(const Tensor& heads, Statistics& statistics) {
    const std::int64_t width = heads.size(2), rows = heads.numel() / width;
    statistics.sum.resize(static_cast<std::size_t>(width), 0.0);
    dispatch_float(heads.dtype(), "ablation", [&](auto zero) {
        const auto* const values = heads.data<decltype(zero)>();
        for (std::int64_t row = 0; row < rows; ++row)
            for (std::int64_t c = 0; c < width; ++c)
                statistics.sum[static_cast<std::size_t>(c)] += static_cast<double>(values[row * width + c]);
    });
    statistics.count += rows;
    statistics.first.push_back(reshape(slice(heads, 0, 0, 1), {heads.size(1), width}));
}

Losses Passes::baseline() {
    statistics_.assign(model_.blocks.size(), {});
    std::vector<nn::Guest> guests;
    for (std::size_t l = 0; l < statistics_.size(); ++l)
        guests.push_back(
            model_.blocks[l]->attn.heads.look([this, l](const Tensor& heads) { observe(heads, statistics_[l]); }));
    return run();
}

// A head reads what the layers before it say, which no edit of its own layer changes. So what it says on the next
// sequence is beside it in the same pass; only the last sequence of a batch looks into another batch.
Tensor Passes::replace(const Tensor& heads, std::int64_t layer, std::int64_t head, Ablation ablation) const {
    const Statistics& statistics = statistics_[static_cast<std::size_t>(layer)];
    const std::int64_t width = attention(layer).head_dim(), first = head * width, all = heads.size(2);
    const Tensor& after = statistics.first[(batch_ + 1) % batches_.size()];
    return rewrite_head(heads, head, width, [&](auto* values, std::int64_t b, std::int64_t t) {
        using T = std::remove_pointer_t<decltype(values)>;
        if (ablation == Ablation::zero) {
            std::fill_n(values, width, T{});
        } else if (ablation == Ablation::mean) {
            for (std::int64_t c = 0; c < width; ++c)
                values[c] = static_cast<T>(statistics.sum[static_cast<std::size_t>(first + c)] /
                                           static_cast<double>(statistics.count));
        } else {
            const T* const next = b + 1 < heads.size(0) ? heads.data<T>() + ((b + 1) * heads.size(1) + t) * all + first
                                                        : after.data<T>() + t * all + first;
            std::copy_n(next, width, values);
        }
    });
}

Losses Passes::ablated(std::int64_t layer, std::int64_t head, Ablation ablation) {
    if (ablation == Ablation::resample && !resamples()) return Losses::none(classes_);
    const nn::Guest guest =
        attention(layer).heads.edit([&](const Tensor& heads) { return replace(heads, layer, head, ablation); });
    return run();
}

Losses Passes::direction(std::int64_t layer, std::int64_t head, std::int64_t draw) {
    const std::vector<double> values = random_direction(model_, options_.seed, layer, head, draw);
    const std::int64_t width = attention(layer).head_dim();
    const Tensor W_o = head_slice(attention(layer), head, nn::Projection::o).values();  // [d_model, d_v]
    const Tensor u = Tensor::from<double>({std::ssize(values)}, values).to(W_o.dtype());
    Tensor r;  // what the head adds [B, T, d_model]
    const nn::Guest look = attention(layer).heads.look(
        [&](const Tensor& heads) { r = linear(slice(heads, -1, head * width, (head + 1) * width), W_o); });
    const nn::Guest guest =
        attention(layer).output.edit([&](const Tensor& output) { return output - sqrt(sum(r * r, {-1}, true)) * u; });
    return run();
}

/// A head of the same layer, never `head` itself; -1 when it is the only one.
std::int64_t other_head(std::int64_t seed, std::int64_t layer, std::int64_t head, std::int64_t heads) {
    if (heads < 2) return -1;
    const RandomStream random(static_cast<std::uint64_t>(seed), "ablation.control");
    const auto chosen = static_cast<std::int64_t>(
        random.below(static_cast<std::uint64_t>(heads - 1), static_cast<std::uint64_t>(layer * heads + head)));
    return chosen < head ? chosen : chosen + 1;
}

std::size_t place(std::int64_t layer, std::int64_t heads, std::int64_t head, std::int64_t count, std::int64_t i) {
    return static_cast<std::size_t>((layer * heads + head) * count + i);
}

}  // namespace

const char* name_of(Ablation ablation) {
    switch (ablation) {
        case Ablation::zero: return "zero";
        case Ablation::mean: return "mean";
        case Ablation::resample: return "resample";
    }
    return "?";
}

AblationShape ablation_shape(const nn::TransformerOptions& model, const Task& task, const std::vector<Batch>& batches,
                             std::int64_t draws) {
    return {model.num_layers, model.block.num_heads, draws, std::ssize(batches), task.class_names()};
}

const Losses& AblationResult::of(std::int64_t layer, std::int64_t head, Ablation ablation) const {
    return ablated[place(layer, heads, head, std::ssize(ablations), static_cast<std::int64_t>(ablation))];
}

double AblationResult::delta(std::int64_t layer, std::int64_t head, Ablation ablation) const {
    return of(layer, head, ablation).loss - baseline.loss;
}

double AblationResult::control_delta(std::int64_t layer, std::int64_t head, Ablation ablation) const {
    const std::int64_t other = control_head[place(layer, heads, head, 1, 0)];
    return other < 0 ? std::numeric_limits<double>::quiet_NaN() : delta(layer, other, ablation);
}

const Losses& AblationResult::direction(std::int64_t layer, std::int64_t head, std::int64_t draw) const {
    return directions[place(layer, heads, head, draws, draw)];
}

double AblationResult::direction_delta(std::int64_t layer, std::int64_t head, std::int64_t draw) const {
    return direction(layer, head, draw).loss - baseline.loss;
}

// Numbered so that more draws leave the first ones as they are.
std::vector<double> random_direction(const nn::Transformer& model, std::int64_t seed, std::int64_t layer,
                                     std::int64_t head, std::int64_t draw) {
    const nn::BlockOptions& block = model.options().block;
    const RandomStream random(static_cast<std::uint64_t>(seed), "ablation.direction");
    const std::int64_t first = ((draw * model.num_layers() + layer) * block.num_heads + head) * block.d_model;
    std::vector<double> direction(static_cast<std::size_t>(block.d_model));
    double square = 0;
    for (std::size_t i = 0; i < direction.size(); ++i) {
        direction[i] = random.normal(static_cast<std::uint64_t>(first) + i);
        square += direction[i] * direction[i];
    }
    for (double& value : direction) value /= std::sqrt(square);
    return direction;
}

AblationResult ablate_heads(nn::Transformer& model, const Task& task, const std::vector<Batch>& batches,
                            const AblationOptions& options) {
    if (batches.empty()) throw Error("ablate_heads: there are no evaluation batches to measure a loss on");
    AblationResult result;
    static_cast<AblationShape&>(result) = ablation_shape(model.options(), task, batches, options.draws);
    with_own_gradients(model, [&] {
        const NoGrad no_grad;
        model.eval();
        Passes passes(model, batches, result.classes.size(), options);
        result.baseline = passes.baseline();
        for (std::int64_t layer = 0; layer < result.layers; ++layer)
            for (std::int64_t head = 0; head < result.heads; ++head) {
                for (const Ablation ablation : ablations)
                    result.ablated.push_back(passes.ablated(layer, head, ablation));
                for (std::int64_t draw = 0; draw < options.draws; ++draw)
                    result.directions.push_back(passes.direction(layer, head, draw));
                result.control_head.push_back(other_head(options.seed, layer, head, result.heads));
            }
    });
    result.importance =
        make_probe("importance")
            ->measure(
                {.model = model, .step = result.step, .seed = options.seed, .task = task, .eval_batches = batches});
    for (const Ablation ablation : ablations) {
        std::vector<double> deltas;
        for (std::int64_t layer = 0; layer < result.layers; ++layer)
            for (std::int64_t head = 0; head < result.heads; ++head)
                deltas.push_back(result.delta(layer, head, ablation));
        result.spearman[static_cast<std::size_t>(ablation)] = rank_correlation(result.importance, deltas);
    }
    return result;
}

}  // namespace headscope::experiments
