// What tests ask of text that the program prints.
#pragma once

#include <gtest/gtest.h>

#include <sstream>
#include <string>

#include "experiments/cli/text_lines.h"

namespace headscope::experiments {

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

inline void expect_at_most_80_columns(const std::string& text) {
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) EXPECT_LE(cli::columns_of(line), 80u) << line;
}

}  // namespace headscope::experiments
