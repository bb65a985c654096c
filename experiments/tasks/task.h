// A task: where tokens and targets come from. One file each in experiments/tasks/.
//
// Adding one whose sequences are drawn at random: see generated.h. Any other: write tasks/<type>.cpp with a
// TaskSettings and a Task, and end it with
//   static const RegisterType<TaskSettings> registered_<type>("<type>", "what it is in one line",
//                                        [] { return std::make_unique<MySettings>(); });
// Its test is tests/experiments/tasks/<type>_task_test.cpp; the build finds both.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "autograd/tensor.h"
#include "experiments/base/fields.h"
#include "experiments/base/registry.h"

namespace headscope::experiments {

struct Batch {
    Tensor inputs;   ///< i64 [B, T]
    Tensor targets;  ///< i64 [B, T]; -1 = not scored
    Tensor classes;  ///< i64 [B, T]: index into Task::class_names(), -1 = none; undefined when the task has no classes
    Tensor truth;    ///< f64 [B, T, V]: the true distribution of each target, where known; else undefined
};

/// A loss (nat per target) to compare a model's with.
struct Floor {
    std::string name;
    double loss;
};

/// What the log says of a task's data, at /task/<name>.
struct TaskNumber {
    std::string name;
    double value;
    std::string units, long_name;
};

/// What is known about each input token beyond its target, for whoever studies what a model has found out.
struct Annotation {
    std::string name;
    Tensor values;  ///< i64 [B, T]
};

class Task {
public:
    virtual ~Task() = default;
    virtual std::int64_t vocab_size() const = 0;
    virtual std::int64_t seq_len() const = 0;
    /// Sequences per batch when the data fix it (task `tokens`), else 0.
    virtual std::int64_t fixed_batch_size() const { return 0; }
    /// The batch of a step; a pure function of (seed, step).
    virtual Batch train_batch(std::int64_t step, std::int64_t batch_size) const = 0;
    /// How many evaluation batches of that size there are: 0 when there is no evaluation data, -1 when any number can
    /// be made.
    virtual std::int64_t eval_batches(std::int64_t batch_size) const = 0;
    /// Evaluation batch `index`, from data that training never touches.
    virtual Batch eval_batch(std::int64_t index, std::int64_t batch_size) const = 0;
    /// Whether evaluation batches come with Batch::truth.
    virtual bool knows_truth() const { return false; }
    /// SHA-256, as hex, of all that the task trains and evaluates on: of what its files hold, not of where they lie or
    /// how they are packed. The same for every seed. Empty for a task that draws its sequences: what it trains on
    /// follows from its keys and the seed. Cheap: computed once, when the data are read.
    virtual std::string data_sha256() const { return {}; }
    virtual std::vector<std::string> class_names() const { return {}; }
    /// What a model that knows only part of the rule, or all of it, cannot get below (in expectation).
    virtual std::vector<Floor> floors() const { return {}; }
    /// What else helps to read a loss and is no floor: models may get below it, or none gets there.
    virtual std::vector<Floor> references() const { return {}; }
    /// Whether the log keeps the references under /task/floors, marked as references.
    virtual bool references_among_floors() const { return false; }
    /// The floor that a perfect model reaches, by name; empty when unknown.
    virtual std::string best_floor() const { return {}; }
    virtual std::vector<TaskNumber> numbers() const { return {}; }
    /// What to know of the data before training on them, a line each.
    virtual std::vector<std::string> notes() const { return {}; }
    /// What each token stands for, V strings; empty when tokens are only numbers.
    virtual std::vector<std::string> vocabulary() const { return {}; }
    /// The tokens of a text; nothing when the task's tokens are no text. Throws UsageError naming the characters that
    /// have no token.
    virtual std::optional<std::vector<std::int64_t>> encode(const std::string&) const { return std::nullopt; }
    /// The gold structure of inputs [B, T] that a batch of this task has.
    virtual std::vector<Annotation> annotations(const Tensor&) const { return {}; }
};

/// The keys of [task] for one type.
class TaskSettings {
public:
    static constexpr KindText kind{"task", "tasks", "where tokens and targets come from: task.type"};
    virtual ~TaskSettings() = default;
    /// Declares every key but `type`.
    virtual void fields(Fields& fields) = 0;
    /// What is wrong between keys (each in range already): one sentence per problem, with the key it is about.
    using Problem = KeyProblem;
    virtual std::vector<Problem> check() const { return {}; }
    /// Reads and checks all data. A file is declared with Fields::path() and looked for with DataPath::require().
    /// Throws UsageError or IoError naming the file, the place and the mend.
    virtual std::unique_ptr<Task> build(std::uint64_t seed) const = 0;
};

}  // namespace headscope::experiments
