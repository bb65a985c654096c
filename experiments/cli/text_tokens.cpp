#include "experiments/cli/text_tokens.h"

#include <fmt/format.h>

#include <algorithm>

#include "experiments/base/errors.h"
#include "experiments/tasks/utf8.h"

namespace headscope::experiments::cli {

namespace {

TextTokens numbered(const std::string& what, const std::vector<std::string>& tokens, const Task& task) {
    TextTokens cut{what + ", numbered in order of appearance", tokens, {}};
    std::vector<std::string> different;
    for (const std::string& token : tokens) {
        const auto found = std::ranges::find(different, token);
        cut.ids.push_back(found - different.begin());
        if (found == different.end()) different.push_back(token);
    }
    if (std::ssize(different) > task.vocab_size())
        throw UsageError(fmt::format("check: the text has {} different {} and the task {} tokens; use a shorter text",
                                     different.size(), what, task.vocab_size()));
    return cut;
}

}  // namespace

std::vector<TextTokens> cut_text(const Task& task, const std::string& text) {
    std::vector<std::string> words(1), characters;
    for (const char32_t point : decode_utf8(text, "check: --text")) {
        const bool is_space = point == U' ' || point == U'\n' || point == U'\t' || point == U'\u3000';
        if (is_space) {
            if (!words.back().empty()) words.emplace_back();
            continue;
        }
        characters.push_back(encode_utf8(point));
        words.back() += characters.back();
    }
    if (words.back().empty()) words.pop_back();
    if (characters.empty()) throw UsageError("check: --text has no characters; give a sentence");

    std::vector<TextTokens> cuts;
    if (const auto ids = task.encode(text)) {
        const std::vector<std::string> vocabulary = task.vocabulary();
        TextTokens own{"the task's own tokens", {}, *ids};
        for (const std::int64_t id : *ids) {
            const std::string& token = vocabulary[static_cast<std::size_t>(id)];
            own.tokens.push_back(token == "\n" ? "\\n" : token);
        }
        cuts.push_back(own);
    } else if (words.size() > 1) {
        cuts.push_back(numbered("words", words, task));
    }
    if (cuts.empty() || cuts.front().ids.size() != characters.size())
        cuts.push_back(numbered("characters", characters, task));
    return cuts;
}

}  // namespace headscope::experiments::cli
