// Text that keeps to its columns, wide characters and combining marks included.
#include "experiments/cli/text_lines.h"

#include <gtest/gtest.h>

#include <sstream>
#include <string>

namespace headscope::experiments::cli {
namespace {

const std::string wide = "\u4e2d\u6587";       // two Chinese characters, 2 columns each
const std::string accented = "e\u0301te";      // an e with a combining accent, then t, e
const std::string invalid = "a\xff\xe4\xb8z";  // a byte that begins nothing, and a character cut short

TEST(TextLines, CountsColumnsAndNotCodePoints) {
    EXPECT_EQ(columns_of(""), 0U);
    EXPECT_EQ(columns_of("head"), 4U);
    EXPECT_EQ(columns_of(wide), 4U);
    EXPECT_EQ(columns_of(accented), 3U);
    EXPECT_EQ(columns_of("\u2581\u2588\u2026"), 3U);  // what sparklines and cut texts are made of
    EXPECT_EQ(columns_of(invalid), 5U);               // one for each invalid byte
}

TEST(TextLines, PadsToColumns) {
    EXPECT_EQ(padded(wide, 7, false), wide + "   ");
    EXPECT_EQ(padded(wide, 7, true), "   " + wide);
    EXPECT_EQ(padded(accented, 5, true), "  " + accented);
    EXPECT_EQ(padded(wide, 3, false), wide);
}

TEST(TextLines, CutsBetweenCodePoints) {
    EXPECT_EQ(first_columns(wide, 4), wide);
    EXPECT_EQ(first_columns(wide, 3), "\u4e2d");
    EXPECT_EQ(first_columns(wide, 1), "");
    EXPECT_EQ(first_columns(accented, 1), "e\u0301");  // the accent stays with its letter
    EXPECT_EQ(first_columns(invalid, 2), "a\xff");
}

TEST(TextLines, WrapsWideTextWithinTheTerminal) {
    std::string text;
    for (int i = 0; i < 53; ++i) text += "\u4e2d";
    std::string first, rest;
    for (int i = 0; i < 39; ++i) first += "\u4e2d";
    for (int i = 39; i < 53; ++i) rest += "\u4e2d";
    EXPECT_EQ(wrapped(text, "  ", "    "), "  " + first + "\n    " + rest + "\n");
}

TEST(TextLines, WrapsWhereOneColumnIsLeft) {
    const std::string indent(90, ' ');
    EXPECT_EQ(wrapped(wide, indent, indent), indent + "\u4e2d\n" + indent + "\u6587\n");
}

TEST(TextLines, PadsNarrowCharacters) {
    EXPECT_EQ(columns_of("▁█·x"), 4u);
    EXPECT_EQ(padded("▁", 3, true), "  ▁");
    EXPECT_EQ(padded("▁", 3, false), "▁  ");
    EXPECT_EQ(padded("long", 2, true), "long");
}

TEST(TextLines, BreakAtSpacesAndKeepEveryWord) {
    EXPECT_EQ(wrapped("one two", "> ", "  "), "> one two\n");
    EXPECT_EQ(wrapped("", "> ", "  "), "> \n");
    EXPECT_EQ(wrapped("a\tb\nc", "", ""), "a b c\n");
    const std::string word(30, 'x');
    EXPECT_EQ(wrapped(word + " " + word + " " + word, "- ", "    "), "- " + word + " " + word + "\n    " + word + "\n");
    const std::string exact(78, 'y');
    EXPECT_EQ(wrapped(exact + " z", "  ", "  "), "  " + exact + "\n  z\n");
}

TEST(TextLines, BreakWordsThatFitNoLine) {
    std::string word;
    for (int i = 0; i < 200; ++i) word += "é";
    std::istringstream lines(wrapped(word, "  ", "    "));
    std::string joined;
    for (std::string line; std::getline(lines, line);) {
        EXPECT_LE(columns_of(line), text_columns);
        joined += line.substr(line.find_first_not_of(' '));
    }
    EXPECT_EQ(joined, word);
}

}  // namespace
}  // namespace headscope::experiments::cli
