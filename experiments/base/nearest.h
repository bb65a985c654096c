// "Did you mean ...?" for mistyped names.
#pragma once

#include <string>
#include <vector>

namespace headscope::experiments {

/// The known word closest to `word` (insertions, deletions, changes and swaps of neighbours, case ignored), or empty
/// when none is close enough to be what was meant.
std::string nearest(const std::string& word, const std::vector<std::string>& known);

/// What others call a key: "lr" for "learning_rate", "num_heads" for "n_head"; empty for a word that is not known here.
std::string synonym(const std::string& word);

/// What to append to "unknown x": "; did you mean y?", or "; known: a, b, c" when nothing is near.
std::string suggestion(const std::string& word, const std::vector<std::string>& known);

}  // namespace headscope::experiments
