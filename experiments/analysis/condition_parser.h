// Reads the text of a HeadCondition, by recursive descent: a function per line of the grammar in head_condition.h.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "experiments/analysis/head_condition.h"

namespace headscope::experiments {

class ConditionParser {
public:
    /// Fills nodes and names of `condition`, whose text is there.
    explicit ConditionParser(HeadCondition& condition) : condition_(condition), text_(condition.text_) {}
    /// The node of the whole. Throws UsageError.
    std::size_t parse();

private:
    using Node = HeadCondition::Node;
    using NodeKind = HeadCondition::NodeKind;
    using Relation = HeadCondition::Relation;

    /// The rules. `depth`: how many parentheses and negations they are in.
    std::size_t disjunction(int depth);
    std::size_t conjunction(int depth);
    std::size_t negation(int depth);
    std::size_t comparison(int depth);
    std::size_t operand(int depth);
    std::size_t number();
    std::size_t quoted();
    std::size_t name();
    std::vector<std::string> labels();

    /// A rule's parts with `word` between them; one part alone is itself.
    template <class Rule>
    std::size_t chain(NodeKind kind, const char* word, Rule&& rule);
    bool takes(std::string_view symbol);
    bool takes_word(std::string_view word);
    bool takes_relation(Relation& relation);
    std::string quoted_text();
    void skip_spaces();
    std::size_t add(Node node);
    [[noreturn]] void fail_here(const std::string& expected);

    HeadCondition& condition_;
    const std::string& text_;
    std::size_t at_ = 0;
};

}  // namespace headscope::experiments
