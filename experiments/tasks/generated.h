// The frame of tasks whose sequences are drawn at random, one by one and without end. It owns batches, random streams
// and registration; what a task adds is a rule: its keys, how to draw one sequence, and its floors. A whole task:
//
//   /// Tokens come in pairs: every second one is the one before it.
//   class PairsRule : public SequenceRule {
//   public:
//       void fields(Fields& fields) override {
//           fields.integer("vocab_size", vocab_size_, "different tokens", {.min = 2, .max = 4096});
//       }
//       std::int64_t vocab_size() const override { return vocab_size_; }
//       std::int64_t seq_len() const override { return 2; }
//       std::int64_t numbers() const override { return 1; }
//       void draw(const SequenceRandom& random, const Sequence& sequence) const override {
//           sequence.inputs[0] = sequence.inputs[1] = sequence.targets[0] = random.below(vocab_size_, 0);
//       }
//       Lines lines() const override { return {{{"none", std::log(vocab_size_)}, {"copy", 0}}, {}}; }
//
//   private:
//       std::int64_t vocab_size_ = 16;
//   };
//   const RegisterGenerated<PairsRule> registered_pairs("pairs", "each token twice");
#pragma once

#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "experiments/tasks/sampling.h"
#include "experiments/tasks/task.h"

namespace headscope::experiments {

/// One sequence of a batch.
struct Sequence {
    std::int64_t* inputs;   ///< [T], to be filled
    std::int64_t* targets;  ///< [T], -1 where draw() writes nothing
    std::int64_t* classes;  ///< [T], the same; null when the task has no classes
};

/// What a generated task is.
class SequenceRule {
public:
    virtual ~SequenceRule() = default;

    /// As in TaskSettings.
    virtual void fields(Fields& fields) = 0;
    virtual std::vector<KeyProblem> check() const { return {}; }

    /// Works out what all sequences of a run share. Called once, with keys that are in order, before what follows.
    virtual void prepare(std::uint64_t) {}

    virtual std::int64_t vocab_size() const = 0;
    virtual std::int64_t seq_len() const = 0;
    virtual std::vector<std::string> class_names() const { return {}; }

    /// How many random numbers a sequence may use: those of index 0 .. numbers()-1.
    virtual std::int64_t numbers() const = 0;
    virtual void draw(const SequenceRandom& random, const Sequence& sequence) const = 0;

    /// Whether evaluation scores against P(target | inputs); if not, against the targets.
    virtual bool knows_truth() const { return true; }
    /// P(target | inputs) of each scored target of a sequence that draw() gave; `truth` [T,V] is 0 before. Unless
    /// overridden, targets are certain.
    virtual void true_distribution(const Sequence& sequence, double* truth) const;

    struct Lines {
        std::vector<Floor> floors;  ///< the last, if any, is what a perfect model reaches
        std::vector<Floor> references;
    };
    /// Task::floors() and references(). May take a while: asked for once.
    virtual Lines lines() const = 0;

    virtual std::vector<Annotation> annotations(const Tensor&) const { return {}; }
};

/// The task of a rule. Row b of a batch is a function of (seed, split, step, b), whatever the batch's size; the streams
/// are `<name>.train` and `<name>.eval`. Prepares the rule.
std::unique_ptr<Task> make_generated_task(const std::string& name, std::unique_ptr<SequenceRule> rule,
                                          std::uint64_t seed);

template <class Rule>
class GeneratedSettings : public TaskSettings {
public:
    explicit GeneratedSettings(std::string name) : name_(std::move(name)) {}
    void fields(Fields& fields) override { rule_.fields(fields); }
    std::vector<Problem> check() const override { return rule_.check(); }
    std::unique_ptr<Task> build(std::uint64_t seed) const override {
        return make_generated_task(name_, std::make_unique<Rule>(rule_), seed);
    }

private:
    std::string name_;
    Rule rule_;
};

template <class Rule>
struct RegisterGenerated : RegisterType<TaskSettings> {
    RegisterGenerated(const std::string& name, const std::string& doc)
        : RegisterType<TaskSettings>(name, doc, [name] { return std::make_unique<GeneratedSettings<Rule>>(name); }) {}
};

/// -p ln p, continued to 0 at 0.
inline double entropy_term(double p) { return p > 0 ? -p * std::log(p) : 0.0; }

}  // namespace headscope::experiments
