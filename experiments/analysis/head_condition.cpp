#include "experiments/analysis/head_condition.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "experiments/analysis/condition_parser.h"
#include "experiments/base/errors.h"
#include "experiments/base/nearest.h"

namespace headscope::experiments {

namespace {

constexpr std::size_t longest_condition = 10'000;

std::string word_for(ConditionKind kind) {
    return kind == ConditionKind::number ? "a number" : kind == ConditionKind::text ? "a text" : "true or false";
}

/// Bytes from `first` to `end` as they are shown: a space for a control character.
std::string one_line(const std::string& text, std::size_t first, std::size_t end) {
    std::string line = text.substr(first, end - first);
    for (char& c : line)
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
    return line;
}

bool continues_character(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

std::size_t characters(const std::string& text) {
    return static_cast<std::size_t>(std::ranges::count_if(text, [](char c) { return !continues_character(c); }));
}

}  // namespace

std::string ConditionName::written() const {
    return labels.empty() ? name : fmt::format("{}[{}]", name, fmt::join(labels, ", "));
}

HeadCondition::HeadCondition(std::string text) : text_(std::move(text)) {
    if (text_.size() > longest_condition)
        throw UsageError(
            fmt::format("find: the condition has {} bytes, and at most {} are read", text_.size(), longest_condition));
    root_ = ConditionParser(*this).parse();
}

void HeadCondition::fail(std::size_t at, const std::string& message) const {
    constexpr std::size_t shown_whole = 72, before = 44, after = 24;  // of a longer one what is around the place
    const bool whole = text_.size() <= shown_whole;
    std::size_t first = whole || at < before ? 0 : at - before, end = whole ? text_.size() : at + after;
    end = std::min(end, text_.size());
    while (first > 0 && continues_character(text_[first])) --first;
    while (end < text_.size() && continues_character(text_[end])) ++end;
    const std::string cut = first > 0 ? "..." : "";
    const std::string shown = cut + one_line(text_, first, end) + (end < text_.size() ? "..." : "");
    const std::size_t left = cut.size() + characters(text_.substr(first, at - first));
    throw UsageError(fmt::format("find: column {} of the condition: {}\n  {}\n  {}^",
                                 characters(text_.substr(0, at)) + 1, message, shown, std::string(left, ' ')));
}

void HeadCondition::check(const std::vector<ConditionType>& types) const { require_truth(root_, types); }

void HeadCondition::require_truth(std::size_t node, const std::vector<ConditionType>& types) const {
    const ConditionType type = checked_type(node, types);
    if (type.kind == ConditionKind::truth) return;
    const std::string what = nodes_[node].kind == NodeKind::name ? names_[nodes_[node].name].written() : "this";
    const std::string example = type.kind == ConditionKind::number ? "> 0"
                                : type.texts.empty()               ? "== \"...\""
                                                                   : fmt::format("== \"{}\"", type.texts.front());
    fail(nodes_[node].at, fmt::format("{} is {}, not true or false; compare it: {} {}", what, word_for(type.kind),
                                      what == "this" ? "..." : what, example));
}

ConditionType HeadCondition::checked_type(std::size_t place, const std::vector<ConditionType>& types) const {
    const Node& node = nodes_[place];
    switch (node.kind) {
        case NodeKind::number: return {ConditionKind::number};
        case NodeKind::text: return {ConditionKind::text};
        case NodeKind::truth: return {ConditionKind::truth};
        case NodeKind::name: return types.at(node.name);
        case NodeKind::comparison: check_comparison(node, types); break;
        case NodeKind::conjunction:
        case NodeKind::disjunction:
        case NodeKind::negation:
            for (const std::size_t part : node.parts) require_truth(part, types);
    }
    return {ConditionKind::truth};
}

void HeadCondition::check_comparison(const Node& node, const std::vector<ConditionType>& types) const {
    const ConditionType sides[] = {checked_type(node.parts[0], types), checked_type(node.parts[1], types)};
    for (const std::size_t i : {0, 1}) {
        const ConditionType& other = sides[1 - i];
        const Node& side = nodes_[node.parts[i]];
        if (other.texts.empty()) continue;
        const auto is_known = [&](const std::string& text) {
            return std::ranges::find(other.texts, text) != other.texts.end();
        };
        if (side.kind == NodeKind::name && sides[i].kind != ConditionKind::text && is_known(names_[side.name].name))
            fail(side.at, fmt::format("a text is in quotes: \"{}\"", names_[side.name].name));
        if (side.kind == NodeKind::text && !is_known(side.text))
            fail(side.at, fmt::format("{} is never \"{}\"{}", names_[nodes_[node.parts[1 - i]].name].written(),
                                      side.text, suggestion(side.text, other.texts)));
    }
    if (sides[0].kind != sides[1].kind)
        fail(node.at,
             fmt::format("the left side is {}, the right side {}", word_for(sides[0].kind), word_for(sides[1].kind)));
    const bool orders = node.relation != Relation::equal && node.relation != Relation::unequal;
    if (orders && sides[0].kind != ConditionKind::number)
        fail(node.at, "only numbers are greater or less; write == or !=");
}

bool HeadCondition::holds(const std::vector<ConditionValue>& values) const {
    return std::get<bool>(value_of(root_, values));
}

ConditionValue HeadCondition::value_of(std::size_t place, const std::vector<ConditionValue>& values) const {
    const Node& node = nodes_[place];
    const auto is_so = [&](std::size_t part) { return std::get<bool>(value_of(part, values)); };
    switch (node.kind) {
        case NodeKind::number: return node.number;
        case NodeKind::text: return std::string_view(node.text);
        case NodeKind::truth: return node.truth;
        case NodeKind::name: return values.at(node.name);
        case NodeKind::comparison: return compared(node, values);
        case NodeKind::conjunction: return std::ranges::all_of(node.parts, is_so);
        case NodeKind::disjunction: return std::ranges::any_of(node.parts, is_so);
        case NodeKind::negation: return !is_so(node.parts[0]);
    }
    return false;
}

bool HeadCondition::compared(const Node& node, const std::vector<ConditionValue>& values) const {
    const ConditionValue left = value_of(node.parts[0], values), right = value_of(node.parts[1], values);
    const auto is_nan = [](const ConditionValue& value) {
        const double* const number = std::get_if<double>(&value);
        return number != nullptr && std::isnan(*number);
    };
    if (is_nan(left) || is_nan(right)) return false;
    switch (node.relation) {
        case Relation::equal: return left == right;
        case Relation::unequal: return left != right;
        case Relation::less: return left < right;
        case Relation::at_most: return left <= right;
        case Relation::greater: return left > right;
        case Relation::at_least: return left >= right;
    }
    return false;
}

}  // namespace headscope::experiments
