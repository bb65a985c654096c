#include "experiments/analysis/condition_parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

namespace headscope::experiments {

namespace {

constexpr int deepest = 100;

bool begins_name(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

/// The name at `at`, without labels; empty when there is none.
std::string_view name_at(std::string_view text, std::size_t at) {
    std::size_t end = at;
    while (end < text.size() && begins_name(text[end])) {
        while (end < text.size() && (begins_name(text[end]) || is_digit(text[end]))) ++end;
        if (end + 1 < text.size() && text[end] == '.' && begins_name(text[end + 1])) ++end;
    }
    return text.substr(at, end - at);
}

}  // namespace

std::size_t ConditionParser::parse() {
    skip_spaces();
    if (at_ == text_.size()) condition_.fail(0, "a condition is missing, for example role == \"induction\"");
    const std::size_t root = disjunction(0);
    if (at_ < text_.size()) fail_here("\"and\", \"or\" or the end");
    return root;
}

template <class Rule>
std::size_t ConditionParser::chain(NodeKind kind, const char* word, Rule&& rule) {
    std::vector<std::size_t> parts{rule()};
    const std::size_t at = condition_.nodes_[parts[0]].at;
    while (takes_word(word)) parts.push_back(rule());
    return parts.size() == 1 ? parts[0] : add({.kind = kind, .at = at, .parts = parts});
}

std::size_t ConditionParser::disjunction(int depth) {
    return chain(NodeKind::disjunction, "or", [&] { return conjunction(depth); });
}

std::size_t ConditionParser::conjunction(int depth) {
    return chain(NodeKind::conjunction, "and", [&] { return negation(depth); });
}

std::size_t ConditionParser::negation(int depth) {
    const std::size_t at = at_;
    if (depth > deepest) condition_.fail(at, fmt::format("nested more than {} deep", deepest));
    if (!takes_word("not")) return comparison(depth);
    return add({.kind = NodeKind::negation, .at = at, .parts = {negation(depth + 1)}});
}

std::size_t ConditionParser::comparison(int depth) {
    const std::size_t left = operand(depth);
    Relation relation{};
    std::size_t at = at_;
    if (!takes_relation(relation)) return left;
    const std::size_t right = operand(depth);
    const std::size_t whole =
        add({.kind = NodeKind::comparison, .at = at, .relation = relation, .parts = {left, right}});
    at = at_;
    if (takes_relation(relation)) condition_.fail(at, "one comparison at a time: 100 < step and step < 300");
    return whole;
}

std::size_t ConditionParser::operand(int depth) {
    if (at_ == text_.size()) fail_here("a name, a number or a text in quotes");
    const char c = text_[at_];
    if (c == '"' || c == '\'') return quoted();
    if (is_digit(c) || c == '.' || c == '-' || c == '+') return number();
    if (begins_name(c)) return name();
    if (!takes("(")) fail_here("a name, a number or a text in quotes");
    const std::size_t inside = disjunction(depth + 1);
    if (!takes(")")) fail_here("\")\"");
    return inside;
}

std::size_t ConditionParser::number() {
    const std::size_t at = at_;
    if (text_[at_] == '+') ++at_;
    double value = 0;
    const char* const end = text_.data() + text_.size();
    const auto [stop, error] = std::from_chars(text_.data() + at_, end, value);
    // "+-1", "-inf" and "-nan" are no numbers here.
    const bool has_digits = stop > text_.data() + at_ && (is_digit(stop[-1]) || stop[-1] == '.');
    const bool ends = stop == end || (!begins_name(*stop) && !is_digit(*stop) && *stop != '.');
    const bool signed_twice = at_ > at && at_ < text_.size() && text_[at_] == '-';
    if (error == std::errc::result_out_of_range) condition_.fail(at, "no number is so large or so small");
    if (error != std::errc() || !has_digits || !ends || signed_twice) condition_.fail(at, "this is no number");
    at_ = static_cast<std::size_t>(stop - text_.data());
    skip_spaces();
    return add({.kind = NodeKind::number, .at = at, .number = value});
}

std::size_t ConditionParser::quoted() {
    const std::size_t at = at_;
    return add({.kind = NodeKind::text, .at = at, .text = quoted_text()});
}

std::string ConditionParser::quoted_text() {
    const std::size_t end = text_.find(text_[at_], at_ + 1);
    if (end == std::string::npos) condition_.fail(at_, "the text that begins here has no end");
    std::string inside = text_.substr(at_ + 1, end - at_ - 1);
    at_ = end + 1;
    skip_spaces();
    return inside;
}

std::size_t ConditionParser::name() {
    const std::size_t at = at_;
    const std::string_view word = name_at(text_, at_);
    at_ += word.size();
    skip_spaces();
    if (word == "and" || word == "or" || word == "not") {
        at_ = at;
        fail_here("a name, a number or a text in quotes");
    }
    if (word == "true" || word == "false") return add({.kind = NodeKind::truth, .at = at, .truth = word == "true"});
    ConditionName own{std::string(word), {}, at};
    if (takes("[")) own.labels = labels();
    auto known = std::ranges::find(condition_.names_, own);
    if (known == condition_.names_.end()) known = condition_.names_.insert(known, own);
    return add({.kind = NodeKind::name, .at = at, .name = static_cast<std::size_t>(known - condition_.names_.begin())});
}

std::vector<std::string> ConditionParser::labels() {
    std::vector<std::string> labels;
    do {
        if (at_ < text_.size() && (text_[at_] == '"' || text_[at_] == '\'')) {
            labels.push_back(quoted_text());
        } else {
            std::size_t end = std::min(text_.find_first_of(",]", at_), text_.size());
            const std::size_t next = end;
            while (end > at_ && is_space(text_[end - 1])) --end;
            if (end == at_) fail_here("a label");
            labels.push_back(text_.substr(at_, end - at_));
            at_ = next;
        }
    } while (takes(","));
    if (!takes("]")) fail_here("\"]\"");
    return labels;
}

bool ConditionParser::takes(std::string_view symbol) {
    if (!std::string_view(text_).substr(at_).starts_with(symbol)) return false;
    at_ += symbol.size();
    skip_spaces();
    return true;
}

bool ConditionParser::takes_word(std::string_view word) { return name_at(text_, at_) == word && takes(word); }

bool ConditionParser::takes_relation(Relation& relation) {
    constexpr std::pair<const char*, Relation> relations[] = {
        {"==", Relation::equal},    {"!=", Relation::unequal}, {"<=", Relation::at_most},
        {">=", Relation::at_least}, {"<", Relation::less},     {">", Relation::greater}};  // the longer ones first
    for (const auto& [symbol, meaning] : relations)
        if (takes(symbol)) {
            relation = meaning;
            return true;
        }
    return false;
}

void ConditionParser::skip_spaces() {
    while (at_ < text_.size() && is_space(text_[at_])) ++at_;
}

std::size_t ConditionParser::add(Node node) {
    condition_.nodes_.push_back(std::move(node));
    return condition_.nodes_.size() - 1;
}

void ConditionParser::fail_here(const std::string& expected) {
    constexpr std::pair<const char*, const char*> others[] = {{"&", "and"}, {"|", "or"}, {"!", "not"},
                                                              {"=", "=="},  {"~", "!="}, {"<>", "!="}};
    for (const auto& [symbol, meant] : others)
        if (std::string_view(text_).substr(at_).starts_with(symbol))
            condition_.fail(at_, fmt::format("expected {}; write {} here", expected, meant));
    const char* const hint = at_ > 0 && at_ < text_.size() && text_[at_] == '-' && begins_name(text_[at_ - 1])
                                 ? "; texts are in quotes, for example \"previous-token\""
                                 : "";
    condition_.fail(at_, fmt::format("expected {}{}", expected, hint));
}

}  // namespace headscope::experiments
