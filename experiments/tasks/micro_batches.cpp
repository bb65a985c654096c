#include "experiments/tasks/micro_batches.h"

#include <algorithm>
#include <span>
#include <string>

namespace headscope::experiments {

namespace {

Tensor rows_of(const Tensor& tokens, std::int64_t begin, std::int64_t count) {
    const std::int64_t width = tokens.size(1);
    const std::span<const std::int64_t> all = tokens.values<std::int64_t>();
    return Tensor::from<std::int64_t>(
        {count, width}, all.subspan(static_cast<std::size_t>(begin * width), static_cast<std::size_t>(count * width)));
}

double count_scored(const Tensor& targets) {
    const auto values = targets.values<std::int64_t>();
    return static_cast<double>(std::count_if(values.begin(), values.end(), [](std::int64_t t) { return t >= 0; }));
}

}  // namespace

std::vector<MicroBatch> split_batch(const Batch& batch, std::int64_t parts) {
    const std::int64_t size = batch.inputs.size(0);
    if (parts < 1 || size % parts != 0)
        throw Error("split_batch: " + std::to_string(parts) + " parts do not divide a batch of " +
                    std::to_string(size) + " sequences");
    if (parts == 1) return {{batch.inputs, batch.targets, 1}};
    const double scored = count_scored(batch.targets);
    std::vector<MicroBatch> split;
    for (std::int64_t part = 0; part < parts; ++part) {
        const std::int64_t rows = size / parts;
        const Tensor targets = rows_of(batch.targets, part * rows, rows);
        const double weight = scored > 0 ? count_scored(targets) / scored : 1 / static_cast<double>(parts);
        split.push_back({rows_of(batch.inputs, part * rows, rows), targets, weight});
    }
    return split;
}

}  // namespace headscope::experiments
