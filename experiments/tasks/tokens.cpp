// Task `tokens`: batches from an HDF5 file (token_file.h), one a step, in order, beginning again at the end; or, with
// `stream`, windows of a row of tokens (stream_task.h). What follows is about the former.
//
// Evaluation batches come from the file `eval_path`, of the same seq_len; without it there are none. Each file must
// have a scored target; single batches may have none.
//
// The data's digest is that of the training file and then, if there is one, the evaluation file: of each the three
// sizes batches, B, T, the inputs and the targets, as 64-bit little-endian integers.
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "experiments/base/errors.h"
#include "experiments/base/sha256.h"
#include "experiments/tasks/stream_task.h"
#include "experiments/tasks/task.h"
#include "experiments/tasks/token_file.h"
#include "experiments/tasks/token_stream.h"

namespace headscope::experiments {

namespace {

/// Batch `index` of a file: both [B,T].
Batch batch_of(const TokenFile& file, std::int64_t index) {
    const std::int64_t T = file.inputs.size(2);
    const std::int64_t size = file.batch_size() * T;
    Batch batch{
        Tensor::empty({file.batch_size(), T}, DType::i64), Tensor::empty({file.batch_size(), T}, DType::i64), {}, {}};
    std::copy_n(file.inputs.data<std::int64_t>() + index * size, size, batch.inputs.data<std::int64_t>());
    std::copy_n(file.targets.data<std::int64_t>() + index * size, size, batch.targets.data<std::int64_t>());
    return batch;
}

/// Such a file trains nothing and measures nothing. (headscope trace takes it.)
void require_scored_target(const TokenFile& file, const std::string& path) {
    const auto targets = file.targets.values<std::int64_t>();
    if (std::ranges::any_of(targets, [](std::int64_t target) { return target >= 0; })) return;
    throw UsageError(fmt::format(
        "tokens: {}: /targets holds no scored target, only -1; write the token to predict at each scored position",
        path));
}

void add_to(Sha256& digest, const TokenFile& file) {
    const std::vector<std::int64_t> sizes(file.inputs.shape().begin(), file.inputs.shape().end());
    digest.add(std::as_bytes(std::span(sizes)));
    digest.add(std::as_bytes(file.inputs.values<std::int64_t>()));
    digest.add(std::as_bytes(file.targets.values<std::int64_t>()));
}

class TokensTask : public Task {
public:
    TokensTask(TokenFile train, std::optional<TokenFile> eval, std::int64_t vocab_size)
        : train_(std::move(train)), eval_(std::move(eval)), vocab_size_(vocab_size) {
        Sha256 digest;
        add_to(digest, train_);
        if (eval_) add_to(digest, *eval_);
        digest_ = digest.hex();
    }

    std::int64_t vocab_size() const override { return vocab_size_; }
    std::int64_t seq_len() const override { return train_.inputs.size(2); }
    std::string data_sha256() const override { return digest_; }
    std::int64_t fixed_batch_size() const override { return train_.batch_size(); }
    Batch train_batch(std::int64_t step, std::int64_t) const override {
        return batch_of(train_, step % train_.batches());
    }
    std::int64_t eval_batches(std::int64_t) const override { return eval_ ? eval_->batches() : 0; }
    Batch eval_batch(std::int64_t index, std::int64_t) const override { return batch_of(*eval_, index); }

private:
    TokenFile train_;
    std::optional<TokenFile> eval_;
    std::int64_t vocab_size_;
    std::string digest_;
};

class TokensSettings : public TaskSettings {
public:
    void fields(Fields& fields) override {
        fields
            .path("path", path_,
                  "HDF5 file with /inputs and /targets, integers [batches, B, T]; of a stream: with /tokens, integers "
                  "[n]")
            .required = true;
        fields.path("eval_path", eval_path_, "a file like it for evaluation; none when empty");
        fields.integer("vocab_size", vocab_size_, "different tokens", {.min = 1, .max = 1 << 24}).required = true;
        fields
            .integer("seq_len", seq_len_, "tokens per sequence: the file's T; of a stream: any",
                     {.min = 1, .max = 1 << 20})
            .required = true;
        fields.boolean("stream", stream_,
                       "cut one row of tokens into windows, shuffled anew each time through, train.batch_size a step");
    }

    std::unique_ptr<Task> build(std::uint64_t seed) const override {
        return stream_ ? build_stream(seed) : build_batches();
    }

private:
    std::unique_ptr<Task> build_stream(std::uint64_t seed) const {
        const auto read = [this](const DataPath& path, const char* key) {
            return read_token_stream(path.require("tokens", key), vocab_size_, seq_len_);
        };
        TokenRow train = read(path_, "task.path");
        std::optional<TokenRow> eval;
        if (!eval_path_.given.empty()) eval = read(eval_path_, "task.eval_path");
        return make_stream_task(std::move(train), std::move(eval), vocab_size_, seq_len_, seed);
    }

    std::unique_ptr<Task> build_batches() const {
        const auto read = [this](const DataPath& path, const char* key) {
            const std::string place = path.require("tokens", key);
            TokenFile file = read_token_file(place, vocab_size_, seq_len_);
            require_scored_target(file, place);
            return file;
        };
        TokenFile train = read(path_, "task.path");
        std::optional<TokenFile> eval;
        if (!eval_path_.given.empty()) eval = read(eval_path_, "task.eval_path");
        return std::make_unique<TokensTask>(std::move(train), std::move(eval), vocab_size_);
    }

    DataPath path_, eval_path_;
    std::int64_t vocab_size_ = 0;
    std::int64_t seq_len_ = 0;
    bool stream_ = false;
};

const RegisterType<TaskSettings> registered_tokens(
    "tokens", "batches from an HDF5 file, in order, or windows of a stream of tokens",
    [] { return std::make_unique<TokensSettings>(); });

}  // namespace

}  // namespace headscope::experiments
