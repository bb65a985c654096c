#include "experiments/base/nearest.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>

namespace headscope::experiments {

namespace {

std::string lower_case(std::string word) {
    for (char& c : word) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return word;
}

// Optimal string alignment distance: three rows of the usual table are enough, the third one for swaps.
std::size_t edit_distance(const std::string& a, const std::string& b) {
    std::vector<std::size_t> before_last, last(b.size() + 1), row(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j) last[j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t change = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
            row[j] = std::min({last[j] + 1, row[j - 1] + 1, change});
            const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (swapped) row[j] = std::min(row[j], before_last[j - 2] + 1);
        }
        before_last = last;
        last = row;
    }
    return last[b.size()];
}

}  // namespace

std::string nearest(const std::string& word, const std::vector<std::string>& known) {
    constexpr std::size_t longest = 200;  // no key is that long, and the table is quadratic
    if (word.empty() || word.size() > longest) return {};
    const std::string typed = lower_case(word);
    const std::size_t allowed = std::max<std::size_t>(1, typed.size() / 3);
    std::string best;
    std::size_t best_distance = allowed + 1;
    for (const std::string& candidate : known) {
        const std::string other = lower_case(candidate);
        std::size_t distance = edit_distance(typed, other);
        // "heads" for "num_heads" is many edits away, yet clearly meant. A plain typo comes first.
        const bool inside =
            typed.size() >= 3 && (other.find(typed) != std::string::npos || typed.find(other) != std::string::npos);
        if (inside && other.size() >= 3) distance = std::min(distance, allowed);
        // A word of which no letter is left is another word.
        if (distance < best_distance && distance < typed.size()) {
            best_distance = distance;
            best = candidate;
        }
    }
    return best;
}

std::string suggestion(const std::string& word, const std::vector<std::string>& known) {
    const std::string near = nearest(word, known);
    if (!near.empty()) return fmt::format("; did you mean {}?", near);
    if (known.empty()) return "; there is none";
    return fmt::format("; known: {}", fmt::join(known, ", "));
}

}  // namespace headscope::experiments
