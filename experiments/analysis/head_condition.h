// A condition on heads, as `headscope find` takes it: what is logged of a head, and the config of its run.
//
//   role == "induction" and step < 300
//   grad_norm[q] > 0.1 or not (model.num_heads == 8 and importance <= 1e-3)
//
//   condition   = conjunction { "or" conjunction }
//   conjunction = negation { "and" negation }
//   negation    = "not" negation | comparison
//   comparison  = operand [ ( "==" | "!=" | "<" | "<=" | ">" | ">=" ) operand ]
//   operand     = "(" condition ")" | number | "text" | 'text' | "true" | "false" | name [ "[" label { "," label } "]"
//   ]
//
// A name is made of letters, digits and _, with dots between its parts; a label is text up to a comma or bracket, in
// quotes or without. What names stand for is the caller's business. NaN compares false, with != too
// (so `not` of that is true).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace headscope::experiments {

/// Number, text or truth. A text that was not measured is the number NaN.
using ConditionValue = std::variant<double, std::string_view, bool>;

enum class ConditionKind { number, text, truth };

/// A name that a condition uses: grad_norm_by_class[near, q].
struct ConditionName {
    std::string name;
    std::vector<std::string> labels;  ///< in brackets
    std::size_t at;                   ///< byte of the condition at which it begins, of several the first

    std::string written() const;
    bool operator==(const ConditionName& other) const { return name == other.name && labels == other.labels; }
};

/// What a name stands for, as far as that is known before its values.
struct ConditionType {
    ConditionKind kind = ConditionKind::number;
    std::vector<std::string> texts = {};  ///< all that a text can be; empty: any
};

class HeadCondition {
public:
    /// Throws UsageError, see fail(), when `text` is no condition; also when it is longer than 10 000 bytes or nested
    /// more than 100 deep.
    explicit HeadCondition(std::string text);

    const std::string& text() const { return text_; }
    /// Each once, in the order of the text.
    const std::vector<ConditionName>& names() const { return names_; }

    /// Throws UsageError when the names, which are of these types, are compared with another type, with a text that
    /// they cannot be, or are no condition by themselves. `types`: one for each name.
    void check(const std::vector<ConditionType>& types) const;

    /// Is it so? `values`: one for each name, of the types that check() was given.
    bool holds(const std::vector<ConditionValue>& values) const;

    /// Throws UsageError: `message`, the column, and below it the condition with a mark under byte `at`.
    [[noreturn]] void fail(std::size_t at, const std::string& message) const;

private:
    friend class ConditionParser;

    enum class NodeKind { number, text, truth, name, comparison, conjunction, disjunction, negation };
    enum class Relation { equal, unequal, less, at_most, greater, at_least };
    struct Node {
        NodeKind kind;
        std::size_t at;  ///< byte of the text
        double number = 0;
        std::string text = {};
        bool truth = false;
        std::size_t name = 0;  ///< place in names_
        Relation relation = Relation::equal;
        std::vector<std::size_t> parts = {};  ///< places in nodes_
    };

    ConditionType checked_type(std::size_t node, const std::vector<ConditionType>& types) const;
    void check_comparison(const Node& node, const std::vector<ConditionType>& types) const;
    void require_truth(std::size_t node, const std::vector<ConditionType>& types) const;
    ConditionValue value_of(std::size_t node, const std::vector<ConditionValue>& values) const;
    bool compared(const Node& node, const std::vector<ConditionValue>& values) const;

    std::string text_;
    std::vector<ConditionName> names_;
    std::vector<Node> nodes_;
    std::size_t root_ = 0;
};

}  // namespace headscope::experiments
