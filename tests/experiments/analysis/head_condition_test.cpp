// Conditions on heads: what they mean, and what is said of those that are none.
#include "experiments/analysis/head_condition.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "experiments/base/errors.h"
#include "tests/experiments/text_checks.h"

namespace headscope::experiments {
namespace {

using namespace std::string_view_literals;

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

struct Known {
    ConditionType type;
    ConditionValue value;
};

/// What the tests' names stand for, as they are written.
const std::map<std::string, Known> known{
    {"step", {{ConditionKind::number}, 250.0}},
    {"x", {{ConditionKind::number}, 0.5}},
    {"lost", {{ConditionKind::number}, nan}},
    {"role", {{ConditionKind::text, {"local", "induction", "sink"}}, "induction"sv}},
    {"unknown_role", {{ConditionKind::text, {"local", "induction"}}, nan}},
    {"model.position", {{ConditionKind::text}, "learned"sv}},
    {"causal", {{ConditionKind::truth}, true}},
    {"local", {{ConditionKind::number}, 3.0}},
    {"norm[q]", {{ConditionKind::number}, 1.0}},
    {"norm[near one, 12]", {{ConditionKind::number}, 2.0}},
};

bool holds(const std::string& text) {
    const HeadCondition condition(text);
    std::vector<ConditionType> types;
    std::vector<ConditionValue> values;
    for (const ConditionName& name : condition.names()) {
        types.push_back(known.at(name.written()).type);
        values.push_back(known.at(name.written()).value);
    }
    condition.check(types);
    return condition.holds(values);
}

std::string error_of(const std::string& text) {
    try {
        holds(text);
    } catch (const UsageError& error) {
        return error.what();
    }
    ADD_FAILURE() << text << " is taken";
    return {};
}

TEST(HeadCondition, ComparesNumbers) {
    for (const char* so : {"x == 0.5", "x != 1", "x < 1", "x <= .5", "x > -1", "x >= +5e-1", "0.5==x", "1 > x",
                           "step == 2.5e2", "  step\n<\t300 ", "norm[q] == 1", "norm[ q ] == 1", "norm['q'] == 1",
                           "norm[near one, 12] == 2", "norm[\"near one\",12] == 2", "1 < 2"})
        EXPECT_TRUE(holds(so)) << so;
    for (const char* not_so : {"x == 1", "x != 0.5", "x < 0.5", "x <= 0.4", "x > 0.5", "x >= 0.6", "2 < 1"})
        EXPECT_FALSE(holds(not_so)) << not_so;
}

TEST(HeadCondition, ComparesTextsAndTruths) {
    for (const char* so : {"role == \"induction\"", "role == 'induction'", "role != 'local'", "'sink' != role",
                           "model.position == 'learned'", "causal", "causal == true", "causal != false", "true",
                           "not (role == 'local')", "(x > 0) == (step > 0)"})
        EXPECT_TRUE(holds(so)) << so;
    for (const char* not_so : {"role == 'local'", "role != 'induction'", "model.position == ''", "not causal", "false"})
        EXPECT_FALSE(holds(not_so)) << not_so;
}

TEST(HeadCondition, AndBindsTighterThanOrAndNotTighterThanBoth) {
    EXPECT_TRUE(holds("true or true and false"));
    EXPECT_FALSE(holds("(true or true) and false"));
    EXPECT_TRUE(holds("false and false or true"));
    EXPECT_FALSE(holds("false and (false or true)"));
    EXPECT_TRUE(holds("not false and true"));
    EXPECT_FALSE(holds("not true or false"));
    EXPECT_TRUE(holds("not (true and false)"));
    EXPECT_TRUE(holds("not not true"));
    EXPECT_FALSE(holds("not x == 0.5"));
    EXPECT_TRUE(holds("true and true and true and not false"));
    EXPECT_FALSE(holds("true and true and false and true"));
}

TEST(HeadCondition, NanComparesFalse) {
    for (const char* relation : {"==", "!=", "<", "<=", ">", ">="}) {
        EXPECT_FALSE(holds(std::string("lost ") + relation + " 0")) << relation;
        EXPECT_FALSE(holds(std::string("lost ") + relation + " lost")) << relation;
        EXPECT_TRUE(holds(std::string("not lost ") + relation + " 0")) << relation;
    }
    EXPECT_FALSE(holds("unknown_role == 'local'"));
    EXPECT_FALSE(holds("unknown_role != 'local'"));
}

TEST(HeadCondition, NamesEachNameOnce) {
    const HeadCondition condition("norm[q] > 1 or x < 2 and norm[k] > norm[q] or model.num_heads == x");
    std::vector<std::string> names;
    for (const ConditionName& name : condition.names()) names.push_back(name.written());
    EXPECT_EQ(names, (std::vector<std::string>{"norm[q]", "x", "norm[k]", "model.num_heads"}));
    EXPECT_EQ(condition.names()[1].at, 15u);
}

TEST(HeadCondition, SaysWhereItIsNoneAndWhy) {
    struct Wrong {
        const char *text, *says;
        std::size_t column;
    };
    for (const auto& [text, says, column] : std::vector<Wrong>{
             {"", "missing", 1},
             {"   ", "missing", 1},
             {"x >", "expected a name", 4},
             {"x > and", "expected a name", 5},
             {"and x", "expected a name", 1},
             {"(x > 1", "expected \")\"", 7},
             {"x > 1)", "expected \"and\"", 6},
             {"x > 1 y", "expected \"and\"", 7},
             {"x = 1", "write ==", 3},
             {"x > 1 && x < 2", "write and", 7},
             {"x > 1 || x < 2", "write or", 7},
             {"!x", "write not", 1},
             {"x <> 1", "expected a name", 4},
             {"0 < x < 1", "one comparison at a time", 7},
             {"x > 1e999", "no number is so large", 5},
             {"x > 1x", "no number", 5},
             {"x > 1.2.3", "no number", 5},
             {"x > -inf", "no number", 5},
             {"x > +-1", "no number", 5},
             {"x > --1", "no number", 5},
             {"x > .", "no number", 5},
             {"role == 'local", "has no end", 9},
             {"norm[q > 1", "expected \"]\"", 11},
             {"norm[] > 1", "expected a label", 6},
             {"norm[q,] > 1", "expected a label", 8},
             {"role == previous-token", "texts are in quotes", 17},
             {"x", "is a number, not true or false; compare it: x > 0", 1},
             {"role", "compare it: role == \"local\"", 1},
             {"step > 1 and x", "x is a number", 14},
             {"not x", "x is a number", 5},
             {"'a'", "this is a text", 1},
             {"role == 3", "the left side is a text, the right side a number", 6},
             {"x == 'a'", "the left side is a number, the right side a text", 3},
             {"causal == 1", "true or false", 8},
             {"role < 'local'", "only numbers", 6},
             {"causal >= true", "only numbers", 8},
             {"role == 'inductoin'", "role is never \"inductoin\"; did you mean induction?", 9},
             {"'Zebra' != role", "known: local, induction, sink", 1},
             {"role == local", "a text is in quotes: \"local\"", 9},
             {"step > \xC3\xA9", "expected a name", 8},
             {"model.position == '\xE7\xA7\xA6' \xE7", "expected \"and\"", 23},
         }) {
        const std::string error = error_of(text);
        EXPECT_TRUE(contains(error, says)) << error;
        EXPECT_TRUE(contains(error, "column " + std::to_string(column) + " ")) << error;
        // The mark stands under that column: two spaces lead the line.
        const std::string mark = error.substr(error.rfind('\n') + 1);
        EXPECT_EQ(mark, std::string(column + 1, ' ') + "^") << error;
    }
}

TEST(HeadCondition, ShowsTheSurroundingsOfAPlaceInALongOne) {
    std::string text = "x > 0";
    for (int i = 0; i < 200; ++i) text += " and x > 0";
    const std::string error = error_of(text + " and bad = 0" + text);
    EXPECT_TRUE(contains(error, " and bad = 0")) << error;
    expect_at_most_80_columns(error.substr(error.find('\n')));
    const std::string line = error.substr(error.find('\n') + 1), mark = error.substr(error.rfind('\n') + 1);
    EXPECT_EQ(line[mark.size() - 1], '=') << error;
}

TEST(HeadCondition, HasBounds) {
    EXPECT_TRUE(holds(std::string(90, '(') + "true" + std::string(90, ')')));
    EXPECT_TRUE(contains(error_of(std::string(3000, '(') + "true" + std::string(3000, ')')), "deep"));
    std::string negations;
    for (int i = 0; i < 2000; ++i) negations += "not ";
    EXPECT_TRUE(contains(error_of(negations + "true"), "deep"));
    EXPECT_TRUE(contains(error_of(std::string(20'000, ' ') + "true"), "20004 bytes"));
    std::string wide = "true";
    for (int i = 0; i < 1000; ++i) wide += " and true";
    EXPECT_TRUE(holds(wide));
}

}  // namespace
}  // namespace headscope::experiments
