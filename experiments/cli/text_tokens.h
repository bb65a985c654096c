// A text as the tokens of one sequence, for `check --text`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "experiments/tasks/task.h"

namespace headscope::experiments::cli {

struct TextTokens {
    std::string how;  ///< "characters, numbered in order of appearance"
    std::vector<std::string> tokens;
    std::vector<std::int64_t> ids;
};

/// The ways in which `text` (UTF-8) can be cut into tokens for a task, the task's own first.
///   a task with text   its tokens; and the text's characters, when those are not as many
///   any other task     words, when there are spaces; and characters
/// Words and characters are numbered 0, 1, ... in order of appearance; spaces are not among them. Throws UsageError
/// when the text is empty, is no UTF-8, has characters that the task does not know, or more different ones than the
/// task has tokens.
std::vector<TextTokens> cut_text(const Task& task, const std::string& text);

}  // namespace headscope::experiments::cli
