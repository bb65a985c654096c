// A task type for tests of configs, with one key of each kind; its data are a shape only.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "experiments/base/errors.h"
#include "experiments/config/config.h"

namespace headscope::experiments {

class ToyTask : public Task {
public:
    ToyTask(std::int64_t vocab_size, std::int64_t seq_len, std::int64_t batch_size)
        : vocab_size_(vocab_size), seq_len_(seq_len), batch_size_(batch_size) {}
    std::int64_t vocab_size() const override { return vocab_size_; }
    std::int64_t seq_len() const override { return seq_len_; }
    std::int64_t fixed_batch_size() const override { return batch_size_; }
    Batch train_batch(std::int64_t, std::int64_t) const override { return {}; }
    std::int64_t eval_batches(std::int64_t) const override { return 0; }
    Batch eval_batch(std::int64_t, std::int64_t) const override { return {}; }

private:
    std::int64_t vocab_size_, seq_len_, batch_size_;
};

struct ToySettings : TaskSettings {
    std::int64_t vocab_size = 7, seq_len = 12, low = 1, high = 5, fixed_batch = 0;
    double rate = 0.5;
    DataPath path;

    void fields(Fields& fields) override {
        fields.integer("vocab_size", vocab_size, "tokens", {.min = 1});
        fields.integer("seq_len", seq_len, "input length", {.min = 1});
        fields.integer("low", low, "", {.min = 0});
        fields.integer("high", high, "", {.min = 0});
        fields.integer("fixed_batch", fixed_batch, "", {.min = 0});
        fields.real("rate", rate, "", {.above = 0, .max = 1});
        fields.path("path", path, "a file");
    }
    std::vector<Problem> check() const override {
        if (low < high) return {};
        return {{"low", "must be below task.high"}};
    }
    std::unique_ptr<Task> build(std::uint64_t) const override {
        return std::make_unique<ToyTask>(vocab_size, seq_len, fixed_batch);
    }
};
inline const RegisterType<TaskSettings> registered_toy("toy", "for tests",
                                                       [] { return std::make_unique<ToySettings>(); });

inline const ToySettings& toy(const Config& config) { return dynamic_cast<const ToySettings&>(*config.task.settings); }

// The smallest config, on three lines; what a test adds begins on line 4.
inline const std::string minimal = "name = \"x\"\n[task]\ntype = \"toy\"\n";

inline std::string error_of(const std::string& text, const std::vector<std::string>& overrides = {}) {
    try {
        parse_config(text, "run.toml", overrides);
    } catch (const UsageError& error) {
        return error.what();
    }
    return "no error";
}

}  // namespace headscope::experiments
