#include "experiments/training/attention_maps.h"

#include <algorithm>

#include "experiments/probes/capture.h"

namespace headscope::experiments {
namespace {

/// The first `count` sequences, one after the other; fewer when there are not so many.
std::vector<std::int64_t> first_sequences(const std::vector<Batch>& batches, std::int64_t count) {
    std::vector<std::int64_t> tokens;
    for (const Batch& batch : batches) {
        const std::int64_t taken = std::min(count, batch.inputs.size(0));
        const std::int64_t* const first = batch.inputs.data<std::int64_t>();
        tokens.insert(tokens.end(), first, first + taken * batch.inputs.size(1));
        count -= taken;
    }
    return tokens;
}

}  // namespace

AttentionMaps::AttentionMaps(const Experiment& experiment, const std::vector<Batch>& batches, Log& log) : log_(log) {
    const std::int64_t T = experiment.task->seq_len();
    std::vector<std::int64_t> tokens = log.attention_tokens();
    if (tokens.empty()) tokens = first_sequences(batches, experiment.config.log.attention_samples);
    log.declare_attention(tokens, T, experiment.model.num_layers, experiment.model.block.num_heads,
                          experiment.config.train.dtype == "float64");
    samples_.inputs = Tensor::empty({static_cast<std::int64_t>(tokens.size()) / T, T}, DType::i64);
    std::copy(tokens.begin(), tokens.end(), samples_.inputs.data<std::int64_t>());
}

void AttentionMaps::measure(nn::Transformer& model, std::int64_t step) {
    const Capture capture(model, samples_, SequenceSource::evaluation, false);
    std::vector<double> row;
    for (std::int64_t sample = 0; sample < samples_.inputs.size(0); ++sample)
        for (std::int64_t layer = 0; layer < capture.num_layers(); ++layer) {
            const Tensor& weights = capture.layer(layer).weights();  // [S, H, T, T]
            const std::int64_t maps = weights.numel() / weights.size(0);
            dispatch_float(weights.dtype(), "attention maps", [&](auto zero) {
                const auto* const first = weights.data<decltype(zero)>() + sample * maps;
                row.insert(row.end(), first, first + maps);
            });
        }
    log_.append("attention", step, row);
}

}  // namespace headscope::experiments
