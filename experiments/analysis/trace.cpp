#include "experiments/analysis/trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "autograd/graph.h"
#include "autograd/ops.h"
#include "experiments/base/available_memory.h"
#include "experiments/base/errors.h"
#include "experiments/base/file_replacement.h"
#include "experiments/base/files.h"
#include "experiments/config/config.h"
#include "experiments/config/memory.h"
#include "experiments/storage/checkpoint.h"
#include "experiments/storage/hdf5.h"
#include "experiments/storage/run_folder.h"
#include "experiments/tasks/token_file.h"
#include "experiments/training/belonging.h"

namespace headscope::experiments {

namespace {

namespace fs = std::filesystem;

/// The weights, and the tokens that they are to read.
struct Traced {
    Checkpoint checkpoint;
    TokenFile tokens;
};

/// Different tokens that the weights of a checkpoint know.
std::int64_t vocab_size_of(const Checkpoint& checkpoint) {
    const auto embedding = checkpoint.model.find("embedding.weight");  // [V, d_model]
    if (embedding == checkpoint.model.end() || embedding->second.rank() != 2)
        throw IoError(
            fmt::format("trace: the checkpoint {} has no embedding.weight [V, d_model]; it is none of a model that "
                        "headscope trains",
                        checkpoint_name(checkpoint.step)));
    return embedding->second.size(0);
}

constexpr std::int64_t any_length = 0;  // of sequences: the model itself says what is too long for it

/// The state asked for, or the newest checkpoint that is whole. For a file of tokens, a checkpoint needs nothing but
/// the folder of checkpoints.
Traced load(const std::string& run, const std::vector<std::string>& overrides, std::optional<std::int64_t> step,
            const TraceSource& source, const RunHooks& hooks) {
    const std::string folder = RunPaths(run).checkpoints;
    const auto* const file = std::get_if<TraceFile>(&source);
    const auto* const text = std::get_if<TraceText>(&source);
    std::optional<PastRun> past;  // opened when the data are named, so that wrong ones are said to be wrong
    if (!overrides.empty() || file == nullptr) past = open_past_run(run, overrides);
    const auto tokens_at = [&](std::int64_t at, std::int64_t vocab_size) {
        if (file != nullptr) return read_token_file(file->path, vocab_size, any_length);
        if (text != nullptr) return tokens_of_text(*past->experiment.task, text->text);
        return tokens_of_evaluation(past->experiment, at, std::get<TraceEvaluation>(source));
    };
    const auto with_tokens = [&](Checkpoint checkpoint) {
        TokenFile tokens = tokens_at(checkpoint.step, vocab_size_of(checkpoint));
        return Traced{std::move(checkpoint), std::move(tokens)};
    };
    if (step) {
        const std::string path = folder + "/" + checkpoint_name(*step);
        if (path_exists(path)) return with_tokens(load_checkpoint(path));
        if (!past) past = open_past_run(run);
        TokenFile tokens = tokens_at(*step, past->experiment.task->vocab_size());
        return {state_at(*past, *step, hooks), std::move(tokens)};
    }
    std::vector<std::string> passed_over;
    std::optional<Checkpoint> newest = load_newest_good(folder, passed_over);
    if (!newest && passed_over.empty())
        throw UsageError("trace: " + run + " has no checkpoint yet; --step N computes the weights again");
    if (!newest) throw IoError(passed_over.back());
    if (hooks.on_message)
        for (const std::string& message : passed_over) hooks.on_message(message);
    return with_tokens(std::move(*newest));
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

void write_tensor(hdf5::File& file, const std::string& path, const Tensor& tensor) {
    const hdf5::Dims shape(tensor.shape().begin(), tensor.shape().end());
    if (tensor.dtype() == DType::i64) return file.write(path, shape, tensor.values<std::int64_t>());
    dispatch_float(tensor.dtype(), "trace",
                   [&](auto scalar) { file.write(path, shape, tensor.values<decltype(scalar)>()); });
}

/// The datasets of the result, filled batch by batch: [batches, ...] each.
class StackedDatasets {
public:
    explicit StackedDatasets(std::int64_t batches) : batches_(batches) {}

    /// The values of one batch. `long_name` is kept from the first.
    void put(const std::string& path, std::int64_t batch, const Tensor& values, const std::string& long_name) {
        Dataset& dataset = datasets_[path];
        if (!dataset.all.defined()) {
            std::vector<std::int64_t> sizes{batches_};
            sizes.insert(sizes.end(), values.shape().begin(), values.shape().end());
            count_memory(values);
            dataset = {Tensor::empty(Shape(sizes), values.dtype()), long_name};
        }
        const std::size_t size = static_cast<std::size_t>(values.numel()) * size_of(values.dtype());
        std::copy_n(values.bytes(), size, dataset.all.bytes() + static_cast<std::size_t>(batch) * size);
    }

    void write(hdf5::File& file) const {
        for (const auto& [path, dataset] : datasets_) {
            write_tensor(file, path, dataset.all);
            file.describe(path, "1", dataset.long_name);
        }
    }

private:
    struct Dataset {
        Tensor all;
        std::string long_name;
    };

    /// Throws when there is no room for all batches of such values, once here and twice as a file in memory.
    void count_memory(const Tensor& values) {
        const std::size_t size = static_cast<std::size_t>(values.numel()) * size_of(values.dtype());
        needed_ += 3 * static_cast<double>(batches_) * static_cast<double>(size);
        if (!available_ || needed_ <= *available_) return;
        throw UsageError(fmt::format(
            "trace: the values of {} batches take more memory than the {} available; trace fewer batches (--batches N "
            "of --eval), a shorter text, or sequences one file after the other",
            batches_, readable_bytes(*available_)));
    }

    std::int64_t batches_;
    std::optional<double> available_ = available_memory();
    double needed_ = 0;
    std::map<std::string, Dataset> datasets_;
};

/// Guests that keep what a pass shows.
class PassValues {
public:
    explicit PassValues(nn::Transformer& model) : model_(model), own_gradients_(model.blocks.size()) {
        for (const auto& [name, point] : model.named_points()) {
            if (name.ends_with(".attn.scores") && !nn::has_scores(model.blocks.front()->attn.options())) continue;
            guests_.push_back(point->look([this, name = name](const Tensor& value) { values_[name] = value; }));
        }
        for (std::size_t l = 0; l < own_gradients_.size(); ++l)
            guests_.push_back(model.blocks[l]->attn.heads.edit(
                [this, l](const Tensor& heads) {
                    Tensor hooked = heads;
                    hooked.register_hook([this, l](const Tensor& gradient) {
                        own_gradients_[l] = gradient;
                        return Tensor();
                    });
                    return heads;
                },
                {.first = true}));
    }

    void put(StackedDatasets& datasets, std::int64_t batch) const {
        const std::int64_t heads = model_.options().block.num_heads;
        for (const auto& [name, value] : values_) datasets.put("/points/" + name, batch, value, "value at " + name);
        datasets.put("/logits", batch, values_.at("logits"), "logits [batch, sequence, position, token]");
        for (std::size_t l = 0; l < own_gradients_.size(); ++l) {
            const std::string layer = fmt::format("/layers/{}/", l), attention = fmt::format("blocks.{}.attn.", l);
            const auto put_split = [&](const std::string& name, const std::string& point, const char* long_name) {
                datasets.put(layer + name, batch, split_heads(values_.at(attention + point), heads), long_name);
            };
            put_split("q", "q", "queries, after rotation [batch, sequence, head, position, d_k]");
            put_split("k", "k", "keys, after rotation [batch, sequence, head, position, d_k]");
            put_split("v", "v", "values [batch, sequence, head, position, d_v]");
            put_split("head_out", "heads", "heads' outputs before W_o [batch, sequence, head, position, d_v]");
            datasets.put(layer + "weights", batch, values_.at(attention + "weights"),
                         "attention weights after softmax [batch, sequence, head, query, key]");
            // O = P v, so dL/dP = dL/dO v^T.
            const Tensor v = split_heads(values_.at(attention + "v"), heads);
            const Tensor gradient = own_gradients_[l].defined()
                                        ? own_gradients_[l]
                                        : Tensor::zeros(values_.at(attention + "heads").shape(), v.dtype());
            datasets.put("/point_gradients/" + attention + "weights", batch,
                         matmul(split_heads(gradient, heads), v, false, true),
                         "gradient of the loss by the weights [batch, sequence, head, query, key]");
        }
    }

private:
    nn::Transformer& model_;
    std::map<std::string, Tensor> values_;
    std::vector<Tensor> own_gradients_;  // by layer: of the heads' outputs
    std::vector<nn::Guest> guests_;
};

/// Runs every batch forward and backward; the gradients of the parameters add up to those of the mean over all scored
/// targets. Returns that mean, 0 when there are none, as the loss op does.
double run_batches(nn::Transformer& model, const TokenFile& tokens, StackedDatasets& datasets) {
    PassValues values(model);
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
        values.put(datasets, index);
    }
    return loss_sum / all_scored;
}

void require_new(const std::string& out) {
    if (fs::exists(fs::symlink_status(out)))
        throw UsageError("trace: " + out + " exists already; give another name with -o");
}

}  // namespace

TraceResult trace_run(const std::string& run, const std::vector<std::string>& overrides,
                      std::optional<std::int64_t> step, const TraceSource& source, const std::string& out,
                      const RunHooks& hooks) {
    const RunPaths paths(run);
    if (!path_exists(paths.config))
        throw UsageError("trace: " + run + " holds no config.toml; name the folder of a run");
    require_new(out);
    check_data_overrides(overrides);
    const Config config = load_config(paths.config);
    const Traced traced = load(run, overrides, step, source, hooks);
    const Checkpoint& checkpoint = traced.checkpoint;
    const TokenFile& tokens = traced.tokens;
    // A checkpoint needs no log, unless the data of a run of schema 1.0 have moved.
    const auto belongs_by_log = [&] {
        if (!path_exists(paths.log)) return false;
        const LogReader log(paths.log);
        return belongs(checkpoint, config, &log);
    };
    if (!belongs(checkpoint, config, nullptr) && !belongs_by_log())
        throw UsageError(fmt::format("trace: the checkpoint of step {} in {} belongs to another config than {}",
                                     checkpoint.step, paths.checkpoints, paths.config));

    nn::Transformer model(model_of(config, vocab_size_of(checkpoint)));
    if (config.train.dtype == "float64") model.to(DType::f64);
    model.load_state_dict(checkpoint.model);
    model.eval();
    model.zero_grad();
    StackedDatasets datasets(tokens.batches());
    const double loss = run_batches(model, tokens, datasets);

    hdf5::File file = hdf5::File::create_in_memory();
    file.set_attribute("/", "schema_name", std::string("headscope.trace"));
    file.set_attribute("/", "schema_version", std::string("1.0"));
    file.set_attribute("/", "step", checkpoint.step);
    write_tensor(file, "/inputs", tokens.inputs);
    file.describe("/inputs", "1", "tokens [batch, sequence, position]");
    write_tensor(file, "/targets", tokens.targets);
    file.describe("/targets", "1", "tokens to predict, -1 = not scored [batch, sequence, position]");
    file.write("/loss", {}, std::span<const double>(&loss, 1));
    file.describe("/loss", "nat/token", "mean cross-entropy over all scored targets");
    file.make_group("/layers");  // there, and empty, in a model without layers
    datasets.write(file);
    for (const nn::Parameter& parameter : model.named_parameters()) {
        const Tensor& gradient = parameter.tensor.grad();
        write_tensor(file, "/gradients/" + parameter.name,
                     gradient.defined() ? gradient : Tensor::zeros(parameter.tensor.shape(), parameter.tensor.dtype()));
    }
    require_new(out);  // another trace may have been quicker
    write_file_atomically(out, file.image());
    return {loss, count_scored(tokens.targets), checkpoint.step};
}

}  // namespace headscope::experiments
