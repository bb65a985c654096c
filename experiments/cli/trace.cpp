#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>

#include "autograd/graph.h"
#include "autograd/ops.h"
#include "experiments/base/errors.h"
#include "experiments/base/files.h"
#include "experiments/cli/progress.h"
#include "experiments/cli/verbs.h"
#include "experiments/config/config.h"
#include "experiments/storage/checkpoint.h"
#include "experiments/storage/hdf5.h"
#include "experiments/storage/run_folder.h"
#include "experiments/tasks/token_file.h"
#include "experiments/training/past_run.h"

namespace headscope::experiments::cli {

namespace {

namespace fs = std::filesystem;

/// The state asked for, or the newest checkpoint that is whole.
Checkpoint load(const TraceArguments& arguments, const std::atomic<bool>& stop) {
    const std::string folder = RunPaths(arguments.run).checkpoints;
    if (arguments.step >= 0) {
        const std::string path = folder + "/" + checkpoint_name(arguments.step);
        if (path_exists(path)) return load_checkpoint(path);  // needs no log
        ProgressPrinter printer(stderr);
        return state_at(open_past_run(arguments.run), arguments.step, past_run_hooks(printer, stop));
    }
    std::vector<std::string> passed_over;
    const std::optional<Checkpoint> newest = load_newest_good(folder, passed_over);
    if (!newest && passed_over.empty())
        throw UsageError("trace: " + arguments.run + " has no checkpoint yet; --step N computes the weights again");
    if (!newest) throw IoError(passed_over.back());
    for (const std::string& message : passed_over) std::fputs(("headscope: " + message + "\n").c_str(), stderr);
    return *newest;
}

/// Batch `index` of [batches, B, T] as [B, T].
Tensor batch_of(const Tensor& tokens, std::int64_t index) {
    const std::int64_t B = tokens.size(1), T = tokens.size(2);
    Tensor batch = Tensor::empty({B, T}, DType::i64);
    std::copy_n(tokens.data<std::int64_t>() + index * B * T, B * T, batch.data<std::int64_t>());
    return batch;
}

std::int64_t count_scored(const Tensor& targets) {
    const auto values = targets.values<std::int64_t>();
    return std::count_if(values.begin(), values.end(), [](std::int64_t target) { return target >= 0; });
}

/// [B, T, H*d] -> [B, H, T, d]
Tensor split_heads(const Tensor& x, std::int64_t heads) {
    return permute(reshape(x, {x.size(0), x.size(1), heads, -1}), {0, 2, 1, 3});
}

/// One dataset of the result, filled batch by batch: [batches, ...].
class Stacked {
public:
    Stacked(std::string path, std::string units, std::string long_name)
        : path_(std::move(path)), units_(std::move(units)), long_name_(std::move(long_name)) {}

    void put(std::int64_t index, std::int64_t batches, const Tensor& values) {
        if (!all_.defined()) {
            std::vector<std::int64_t> sizes = {batches};
            sizes.insert(sizes.end(), values.shape().begin(), values.shape().end());
            all_ = Tensor::empty(Shape(sizes), values.dtype());
        }
        const std::size_t size = static_cast<std::size_t>(values.numel()) * size_of(values.dtype());
        std::copy_n(values.bytes(), size, all_.bytes() + static_cast<std::size_t>(index) * size);
    }

    void write(hdf5::File& file) const {
        write_tensor(file, path_, all_);
        file.describe(path_, units_, long_name_);
    }

    static void write_tensor(hdf5::File& file, const std::string& path, const Tensor& tensor) {
        const hdf5::Dims shape(tensor.shape().begin(), tensor.shape().end());
        dispatch_float(tensor.dtype(), "trace",
                       [&](auto scalar) { file.write(path, shape, tensor.values<decltype(scalar)>()); });
    }

private:
    std::string path_, units_, long_name_;
    Tensor all_;
};

std::vector<Stacked> layer_datasets(std::int64_t layer) {
    const std::string group = fmt::format("/layers/{}/", layer);
    return {{group + "q", "1", "queries, after rotation [batch, sequence, head, position, d_k]"},
            {group + "k", "1", "keys, after rotation [batch, sequence, head, position, d_k]"},
            {group + "v", "1", "values [batch, sequence, head, position, d_v]"},
            {group + "weights", "1", "attention weights after softmax [batch, sequence, head, query, key]"},
            {group + "head_out", "1", "heads' outputs before W_o [batch, sequence, head, position, d_v]"}};
}

/// Runs every batch forward and backward; the gradients of the parameters add up to those of the mean over all scored
/// targets of the file. Returns that mean.
double run_batches(nn::Transformer& model, const TokenFile& tokens, std::vector<Stacked>& datasets) {
    const std::int64_t heads = model.options().block.num_heads;
    std::vector<nn::AttentionRecord> records(model.blocks.size());
    for (std::size_t layer = 0; layer < records.size(); ++layer) model.blocks[layer]->attn.watch(&records[layer]);
    const auto all_scored = static_cast<double>(std::max<std::int64_t>(count_scored(tokens.targets), 1));
    double loss_sum = 0;
    for (std::int64_t index = 0; index < tokens.batches(); ++index) {
        const Tensor targets = batch_of(tokens.targets, index);
        const Tensor logits = model.forward(batch_of(tokens.inputs, index));
        const Tensor loss = cross_entropy(logits, targets);
        const double share = static_cast<double>(count_scored(targets)) / all_scored;
        backward(loss, {.gradient = Tensor::full({}, share, loss.dtype())});

        const NoGrad no_grad;
        const Tensor losses = cross_entropy_each(logits, targets);
        for (const double each : losses.values<double>()) loss_sum += each;
        auto dataset = datasets.begin();
        (dataset++)->put(index, tokens.batches(), logits);
        for (const nn::AttentionRecord& record : records) {
            for (const Tensor& part : {record.q, record.k, record.v})
                (dataset++)->put(index, tokens.batches(), split_heads(part, heads));
            (dataset++)->put(index, tokens.batches(), record.weights);
            (dataset++)->put(index, tokens.batches(), split_heads(record.head_out, heads));
        }
    }
    return loss_sum / all_scored;
}

}  // namespace

void trace(const TraceArguments& arguments, const std::atomic<bool>& stop) {
    const RunPaths paths(arguments.run);
    if (!path_exists(paths.config))
        throw UsageError("trace: " + arguments.run + " holds no config.toml; name the folder of a run");
    if (fs::exists(fs::symlink_status(arguments.out)))
        throw UsageError("trace: " + arguments.out + " exists already; give another name with -o");
    const Experiment experiment = build_experiment_of_any_size(load_config(paths.config));
    constexpr std::int64_t any_length = 0;  // the model itself says what is too long for it
    const TokenFile tokens = read_token_file(arguments.tokens, experiment.task->vocab_size(), any_length);
    const Checkpoint checkpoint = load(arguments, stop);
    if (checkpoint.config_identity != config_identity(experiment.config))
        throw UsageError(fmt::format("trace: the checkpoint of step {} in {} belongs to another config than {}",
                                     checkpoint.step, paths.checkpoints, paths.config));

    nn::Transformer model(experiment.model);
    if (experiment.config.train.dtype == "float64") model.to(DType::f64);
    model.load_state_dict(checkpoint.model);
    model.eval();
    model.zero_grad();
    std::vector<Stacked> datasets = {{"/logits", "1", "logits [batch, sequence, position, token]"}};
    for (std::int64_t layer = 0; layer < model.num_layers(); ++layer)
        for (Stacked& dataset : layer_datasets(layer)) datasets.push_back(std::move(dataset));
    const double loss = run_batches(model, tokens, datasets);

    hdf5::File file = hdf5::File::create_in_memory();
    file.set_attribute("/", "schema_name", std::string("headscope.trace"));
    file.set_attribute("/", "schema_version", std::string("1.0"));
    file.set_attribute("/", "step", checkpoint.step);
    file.write("/loss", {}, std::span<const double>(&loss, 1));
    file.describe("/loss", "nat/token", "mean cross-entropy over all scored targets");
    for (const Stacked& dataset : datasets) dataset.write(file);
    for (const NamedTensor& parameter : model.named_parameters()) {
        const Tensor& gradient = parameter.tensor.grad();
        Stacked::write_tensor(
            file, "/gradients/" + parameter.name,
            gradient.defined() ? gradient : Tensor::zeros(parameter.tensor.shape(), parameter.tensor.dtype()));
    }
    write_file_atomically(arguments.out, file.image());
    fmt::print("{}: loss {:.6f} over {} scored targets, weights of step {}\n", arguments.out, loss,
               count_scored(tokens.targets), checkpoint.step);
}

}  // namespace headscope::experiments::cli
