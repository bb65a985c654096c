// What the heads of a run did, in words.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "experiments/cli/summary_parts.h"

namespace headscope::experiments::cli {

namespace {

/// How many heads have which role, the names in their order.
std::string role_counts(const RunSummary& summary) {
    std::string text;
    for (const std::string& role : role_names()) {
        const auto heads = std::count_if(summary.heads.begin(), summary.heads.end(),
                                         [&](const HeadRow& row) { return row.role == role; });
        if (heads > 0) text += fmt::format("{}{} {}", text.empty() ? "Heads by role: " : ", ", heads, role);
    }
    return text.empty() ? "" : text + ".";
}

/// "lag 1 38 %, lag 12 46 %"
std::string parts(const std::vector<AttentionPlace>& places) {
    std::string text;
    for (const AttentionPlace& place : places)
        text += fmt::format("{}{} {:.0f} %", text.empty() ? "" : ", ",
                            place.lag == AttentionPlace::position_0 ? "position 0" : fmt::format("lag {}", place.lag),
                            100 * place.weight);
    return text;
}

/// What the mixed heads are mixed of.
std::string mixed_heads(const RunSummary& summary) {
    constexpr std::size_t most = 8;
    std::vector<std::string> heads;
    std::size_t mixed = 0;
    for (const HeadRow& row : summary.heads) {
        if (row.role != role_names()[static_cast<std::size_t>(Role::mixed)]) continue;
        ++mixed;
        if (!row.mixed_of.empty())
            heads.push_back(fmt::format("{} ({})", head_name(row.layer, row.head), parts(row.mixed_of)));
    }
    if (mixed == 0) return "";
    if (heads.empty()) return "Log lag_profile with role to see where the mixed heads look.";
    const std::size_t shown = std::min(heads.size(), most);
    std::string text =
        fmt::format("Mixed: {}", fmt::join(heads.begin(), heads.begin() + static_cast<std::ptrdiff_t>(shown), ", "));
    return text + (heads.size() > shown ? fmt::format(" and {} more.", heads.size() - shown) : ".");
}

std::string strongest_gradient(const RunSummary& summary) {
    const HeadRow* strongest = nullptr;
    std::size_t projection = 0;
    for (const HeadRow& row : summary.heads)
        for (std::size_t p = 0; p < 4; ++p)
            if (std::isfinite(row.grad_norm[p]) &&
                (strongest == nullptr || row.grad_norm[p] > strongest->grad_norm[projection])) {
                strongest = &row;
                projection = p;
            }
    if (strongest == nullptr) return "";
    return fmt::format("The strongest gradient is head {}'s, on W_{}: {}.",
                       head_name(strongest->layer, strongest->head), projection_names[projection],
                       positive_cell(strongest->grad_norm[projection]));
}

std::string sharpest_and_widest(const RunSummary& summary) {
    const HeadRow *sharpest = nullptr, *widest = nullptr;
    for (const HeadRow& row : summary.heads) {
        if (!std::isfinite(row.entropy)) continue;
        if (sharpest == nullptr || row.entropy < sharpest->entropy) sharpest = &row;
        if (widest == nullptr || row.entropy > widest->entropy) widest = &row;
    }
    if (sharpest == widest) return "";
    return fmt::format("Head {} attends most sharply ({:.3f} nat), head {} most widely ({:.3f} nat).",
                       head_name(sharpest->layer, sharpest->head), sharpest->entropy,
                       head_name(widest->layer, widest->head), widest->entropy);
}

std::string most_needed(const RunSummary& summary) {
    const HeadRow* needed = nullptr;
    for (const HeadRow& row : summary.heads)
        if (std::isfinite(row.ablation[0]) && (needed == nullptr || row.ablation[0] > needed->ablation[0]))
            needed = &row;
    if (needed == nullptr) return "";
    return fmt::format("The loss needs head {} most: {:+.4f} nat with its output zero (step {}).",
                       head_name(needed->layer, needed->head), needed->ablation[0], summary.ablation_step);
}

}  // namespace

std::string head_name(std::int64_t layer, std::int64_t head) { return fmt::format("{}.{}", layer, head); }

std::string positive_cell(double value) {
    if (!std::isfinite(value)) return "-";
    if (value != 0 && (value < 1e-3 || value >= 1000)) return fmt::format("{:.0e}", value);
    return value < 10 ? fmt::format("{:.4f}", value) : fmt::format("{:.2f}", value);
}

std::vector<std::string> sentences(const RunSummary& summary) {
    std::vector<std::string> said{strongest_gradient(summary)};
    for (const HeadPair& pair : summary.top_pair)
        said.push_back(fmt::format("Heads {} and {} overlap most, in W_{}: {:.3f}, z = {:+.1f}.",
                                   head_name(pair.layer, pair.head), head_name(pair.layer, pair.other),
                                   projection_names[pair.projection], pair.overlap, pair.z));
    said.push_back(sharpest_and_widest(summary));
    said.push_back(role_counts(summary));
    said.push_back(mixed_heads(summary));
    said.push_back(most_needed(summary));
    if (summary.heads.empty() && summary.metrics.empty())
        said.push_back("No metric of the heads was logged; list some under [log.probes].");
    std::erase(said, "");
    said.insert(said.end(), summary.notes.begin(), summary.notes.end());
    return said;
}

}  // namespace headscope::experiments::cli
