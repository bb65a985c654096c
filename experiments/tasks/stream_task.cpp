#include "experiments/tasks/stream_task.h"

#include <utility>
#include <vector>

#include "experiments/base/sha256.h"
#include "experiments/tasks/shuffle.h"
#include "experiments/tasks/windows.h"

namespace headscope::experiments {

namespace {

class StreamTask : public Task {
public:
    StreamTask(TokenRow train, std::optional<TokenRow> eval, std::int64_t vocab_size, std::int64_t seq_len,
               std::uint64_t seed)
        : train_(std::move(train)),
          eval_(std::move(eval)),
          vocab_size_(vocab_size),
          seq_len_(seq_len),
          windows_((train_.size() - 1) / seq_len),
          shuffle_(seed, "tokens.train", windows_) {
        if (eval_) evaluation_ = EvaluationWindows(eval_->size(), seq_len);
        digest_ = sha256_of_stream(train_);
        if (eval_) digest_ = sha256(digest_ + sha256_of_stream(*eval_));
    }

    std::int64_t vocab_size() const override { return vocab_size_; }
    std::int64_t seq_len() const override { return seq_len_; }
    std::string data_sha256() const override { return digest_; }

    Batch train_batch(std::int64_t step, std::int64_t batch_size) const override {
        std::vector<std::int64_t> starts(static_cast<std::size_t>(batch_size));
        for (std::int64_t b = 0; b < batch_size; ++b) {
            const std::int64_t number = step * batch_size + b;
            starts[static_cast<std::size_t>(b)] = shuffle_.at(number / windows_, number % windows_) * seq_len_;
        }
        return cut(train_, starts);
    }

    std::int64_t eval_batches(std::int64_t batch_size) const override { return evaluation_.batches(batch_size); }
    Batch eval_batch(std::int64_t index, std::int64_t batch_size) const override {
        return cut(*eval_, evaluation_.starts(index, batch_size));
    }

private:
    Batch cut(const TokenRow& stream, const std::vector<std::int64_t>& starts) const {
        return cut_windows(starts, seq_len_, [&](std::int64_t first, std::int64_t count, std::int64_t* out) {
            stream.copy(first, count, out);
        });
    }

    TokenRow train_;
    std::optional<TokenRow> eval_;
    std::int64_t vocab_size_, seq_len_;
    std::int64_t windows_;  ///< of the training stream
    Shuffle shuffle_;
    EvaluationWindows evaluation_;
    std::string digest_;
};

}  // namespace

std::unique_ptr<Task> make_stream_task(TokenRow train, std::optional<TokenRow> eval, std::int64_t vocab_size,
                                       std::int64_t seq_len, std::uint64_t seed) {
    return std::make_unique<StreamTask>(std::move(train), std::move(eval), vocab_size, seq_len, seed);
}

}  // namespace headscope::experiments
