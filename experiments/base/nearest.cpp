#include "experiments/base/nearest.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <map>

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

std::string synonym(const std::string& word) {
    static const std::map<std::string, std::string> known{{"learning_rate", "lr"},
                                                          {"eta", "lr"},
                                                          {"wd", "weight_decay"},
                                                          {"l2", "weight_decay"},
                                                          {"beta_1", "beta1"},
                                                          {"beta_2", "beta2"},
                                                          {"epsilon", "eps"},
                                                          {"warmup", "warmup_steps"},
                                                          {"min_lr_ratio", "final_ratio"},
                                                          {"epochs", "steps"},
                                                          {"max_steps", "steps"},
                                                          {"num_steps", "steps"},
                                                          {"iterations", "steps"},
                                                          {"max_iters", "steps"},
                                                          {"bs", "batch_size"},
                                                          {"batch", "batch_size"},
                                                          {"grad_clip", "clip_norm"},
                                                          {"gradient_clip", "clip_norm"},
                                                          {"max_grad_norm", "clip_norm"},
                                                          {"clip_grad_norm", "clip_norm"},
                                                          {"grad_accum", "accumulate"},
                                                          {"gradient_accumulation_steps", "accumulate"},
                                                          {"precision", "dtype"},
                                                          {"random_seed", "seed"},
                                                          {"n_head", "num_heads"},
                                                          {"n_heads", "num_heads"},
                                                          {"nhead", "num_heads"},
                                                          {"num_attention_heads", "num_heads"},
                                                          {"n_layer", "num_layers"},
                                                          {"n_layers", "num_layers"},
                                                          {"num_hidden_layers", "num_layers"},
                                                          {"depth", "num_layers"},
                                                          {"n_embd", "d_model"},
                                                          {"embed_dim", "d_model"},
                                                          {"hidden_size", "d_model"},
                                                          {"hidden_dim", "d_model"},
                                                          {"dim", "d_model"},
                                                          {"width", "d_model"},
                                                          {"d_k", "head_dim"},
                                                          {"d_head", "head_dim"},
                                                          {"head_size", "head_dim"},
                                                          {"d_hidden", "d_ff"},
                                                          {"d_mlp", "d_ff"},
                                                          {"dim_feedforward", "d_ff"},
                                                          {"intermediate_size", "d_ff"},
                                                          {"num_key_value_heads", "kv_heads"},
                                                          {"n_kv_heads", "kv_heads"},
                                                          {"block_size", "seq_len"},
                                                          {"context_length", "seq_len"},
                                                          {"sequence_length", "seq_len"},
                                                          {"n_ctx", "seq_len"},
                                                          {"n_vocab", "vocab_size"},
                                                          {"early_stopping", "patience"}};
    const auto found = known.find(lower_case(word));
    return found == known.end() ? "" : found->second;
}

std::string suggestion(const std::string& word, const std::vector<std::string>& known) {
    const std::string near = nearest(word, known);
    if (!near.empty()) return fmt::format("; did you mean {}?", near);
    if (known.empty()) return "; there is none";
    return fmt::format("; known: {}", fmt::join(known, ", "));
}

}  // namespace headscope::experiments
