// Task `tokens`: batches from an HDF5 file (token_file.h), one a step, in order, beginning again at the end.
//
// Evaluation batches come from the file `eval_path`, of the same seq_len; without it there are none. Each file must
// have a scored target; single batches may have none.
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "experiments/base/errors.h"
#include "experiments/tasks/task.h"
#include "experiments/tasks/token_file.h"

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

class TokensTask : public Task {
public:
    TokensTask(TokenFile train, std::optional<TokenFile> eval, std::int64_t vocab_size)
        : train_(std::move(train)), eval_(std::move(eval)), vocab_size_(vocab_size) {}

    std::int64_t vocab_size() const override { return vocab_size_; }
    std::int64_t seq_len() const override { return train_.inputs.size(2); }
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
};

class TokensSettings : public TaskSettings {
public:
    void fields(Fields& fields) override {
        Field& path = fields.text("path", path_, "HDF5 file with /inputs and /targets, int64 [batches, B, T]");
        path.required = true;
        path.path = true;
        fields.text("eval_path", eval_path_, "a file like it for evaluation; none when empty").path = true;
        fields.integer("vocab_size", vocab_size_, "different tokens", {.min = 1, .max = 1 << 24}).required = true;
        fields.integer("seq_len", seq_len_, "tokens per sequence: the file's T", {.min = 1, .max = 1 << 20}).required =
            true;
    }

    std::unique_ptr<Task> build(std::uint64_t) const override {
        TokenFile train = read_token_file(path_, vocab_size_, seq_len_);
        require_scored_target(train, path_);
        std::optional<TokenFile> eval;
        if (!eval_path_.empty()) {
            eval = read_token_file(eval_path_, vocab_size_, seq_len_);
            require_scored_target(*eval, eval_path_);
        }
        return std::make_unique<TokensTask>(std::move(train), std::move(eval), vocab_size_);
    }

private:
    std::string path_;
    std::string eval_path_;
    std::int64_t vocab_size_ = 0;
    std::int64_t seq_len_ = 0;
};

const RegisterType<TaskSettings> registered_tokens("tokens", "batches from an HDF5 file, in order",
                                                   [] { return std::make_unique<TokensSettings>(); });

}  // namespace

}  // namespace headscope::experiments
