// A run's summary as a table and as JSON.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "experiments/cli/progress.h"
#include "experiments/cli/summary.h"

namespace headscope::cli {

namespace {

constexpr const char* projection_names[] = {"q", "k", "v", "o"};

/// At most six columns: "0.0123", "12.35", "1e-05", "-".
std::string gradient_cell(double value) {
    if (!std::isfinite(value)) return "-";
    if (value != 0 && (value < 1e-3 || value >= 1000)) return fmt::format("{:.0e}", value);
    return value < 10 ? fmt::format("{:.4f}", value) : fmt::format("{:.2f}", value);
}

/// Overlap and z-score in eight columns: ".25 +1.2"; z has two digits from 10 on and stops at 999.
std::string overlap_cell(double overlap, double z) {
    if (!std::isfinite(overlap)) return "-";
    const std::string share = overlap >= 0.995 ? "1.0" : fmt::format("{:.2f}", overlap).substr(1);
    if (!std::isfinite(z)) return share + "    -";
    const double shown = std::clamp(z, -999.0, 999.0);
    const std::string score = std::abs(shown) < 9.95 ? fmt::format("{:+.1f}", shown) : fmt::format("{:+.0f}", shown);
    return fmt::format("{} {:>4}", share, score);
}

std::string head_name(std::int64_t layer, std::int64_t head) { return fmt::format("{}.{}", layer, head); }

std::string losses(const RunSummary& summary) {
    struct Line {
        std::string name;
        double loss;
        std::string note;
    };
    std::vector<Line> lines;
    if (summary.train_step >= 0)
        lines.push_back({"training batch", summary.train_loss, fmt::format("step {}", summary.train_step)});
    if (summary.eval_step >= 0)
        lines.push_back({"evaluation", summary.eval_loss,
                         fmt::format("step {}, accuracy {:.3f}", summary.eval_step, summary.eval_accuracy)});
    const double loss = summary.eval_step >= 0 ? summary.eval_loss : summary.train_loss;
    const auto compare = [&](const std::string& kind, const std::vector<Floor>& others) {
        for (const Floor& other : others)
            lines.push_back({kind + other.name, other.loss,
                             std::isfinite(loss) ? fmt::format("{:.4f} {} the run's loss", std::abs(loss - other.loss),
                                                               loss < other.loss ? "above" : "below")
                                                 : ""});
    };
    compare("floor ", summary.floors);
    compare("reference ", summary.references);

    std::size_t width = 0;
    for (const Line& line : lines) width = std::max(width, line.name.size());
    std::string text = "\nloss, nat per token\n";
    for (const Line& line : lines)
        text += fmt::format("  {:<{}} {:>8.4f}{}{}\n", line.name, width, line.loss, line.note.empty() ? "" : "   ",
                            line.note);
    return text;
}

std::string table(const RunSummary& summary) {
    std::string text = fmt::format("\n{:<6}{:^28}  {:<36}{:>7}\n", "", "gradient norm",
                                   " overlap with other heads, z-score", "entropy");
    text += fmt::format("{:<6}", "head");
    for (const char* name : projection_names) text += fmt::format("{:>7}", name);
    text += "  ";
    for (const char* name : projection_names) text += fmt::format("{:^9}", name);
    text += fmt::format("{:>7}\n", "nat");
    for (const HeadRow& row : summary.heads) {
        text += fmt::format("{:<6}", head_name(row.layer, row.head));
        for (const double value : row.grad_norm) text += fmt::format("{:>7}", gradient_cell(value));
        text += "  ";
        for (std::size_t p = 0; p < 4; ++p)
            text += fmt::format("{:>9}", overlap_cell(row.overlap[p], row.overlap_z[p]));
        text += std::isfinite(row.entropy) ? fmt::format("{:>7.3f}\n", row.entropy) : fmt::format("{:>7}\n", "-");
    }
    return text;
}

/// Roles, and what they are named from as far as it was measured.
std::string role_table(const RunSummary& summary) {
    constexpr std::array columns{"previous", "same", "prefix", "spread", "distance", "sink"};  // by role_metrics
    static_assert(columns.size() == role_metrics.size());
    std::array<bool, columns.size()> measured{};
    bool named = false;
    for (const HeadRow& row : summary.heads) {
        named = named || !row.role.empty();
        for (std::size_t m = 0; m < columns.size(); ++m) measured[m] = measured[m] || std::isfinite(row.evidence[m]);
    }
    if (!named) return "";
    const bool has_evidence = std::ranges::any_of(measured, [](bool one) { return one; });
    const int role_width = has_evidence ? 16 : 0;  // nothing comes after it otherwise
    std::string text = fmt::format("\n{:<6}{:<{}}", "head", "role", role_width);
    for (std::size_t m = 0; m < columns.size(); ++m)
        if (measured[m]) text += fmt::format("{:>9}", columns[m]);
    text += "\n";
    for (const HeadRow& row : summary.heads) {
        text += fmt::format("{:<6}{:<{}}", head_name(row.layer, row.head), row.role, role_width);
        for (std::size_t m = 0; m < columns.size(); ++m)
            if (measured[m])
                text +=
                    fmt::format("{:>9}", std::isfinite(row.evidence[m]) ? fmt::format("{:.3f}", row.evidence[m]) : "-");
        text += "\n";
    }
    return text;
}

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

/// `text` as lines of at most 78 columns, broken at spaces, each after two.
std::string indented(const std::string& text) {
    std::string lines;
    std::size_t begin = 0;
    while (begin < text.size()) {
        std::size_t end = text.size();
        if (end - begin > 78) end = text.rfind(' ', begin + 78);
        if (end == std::string::npos || end <= begin) end = text.size();
        lines += "  " + text.substr(begin, end - begin) + "\n";
        begin = end + 1;
    }
    return lines;
}

/// What the heads did, a sentence per metric that was measured.
std::vector<std::string> sentences(const RunSummary& summary) {
    std::vector<std::string> said;
    const HeadRow* strongest = nullptr;
    std::size_t projection = 0;
    const HeadRow *sharpest = nullptr, *widest = nullptr;
    for (const HeadRow& row : summary.heads) {
        for (std::size_t p = 0; p < 4; ++p)
            if (std::isfinite(row.grad_norm[p]) &&
                (strongest == nullptr || row.grad_norm[p] > strongest->grad_norm[projection])) {
                strongest = &row;
                projection = p;
            }
        if (!std::isfinite(row.entropy)) continue;
        if (sharpest == nullptr || row.entropy < sharpest->entropy) sharpest = &row;
        if (widest == nullptr || row.entropy > widest->entropy) widest = &row;
    }
    if (strongest != nullptr)
        said.push_back(fmt::format("The strongest gradient is head {}'s, on W_{}: {}.",
                                   head_name(strongest->layer, strongest->head), projection_names[projection],
                                   gradient_cell(strongest->grad_norm[projection])));
    for (const HeadPair& pair : summary.top_pair)
        said.push_back(fmt::format("Heads {} and {} overlap most, in W_{}: {:.3f}, z = {:+.1f}.",
                                   head_name(pair.layer, pair.head), head_name(pair.layer, pair.other),
                                   projection_names[pair.projection], pair.overlap, pair.z));
    if (std::isfinite(summary.overlap_null_mean))
        said.push_back(fmt::format("Two random heads would overlap by {:.3f} +- {:.3f}.", summary.overlap_null_mean,
                                   summary.overlap_null_std));
    if (sharpest != nullptr && sharpest != widest)
        said.push_back(fmt::format("Head {} attends most sharply ({:.3f} nat), head {} most widely ({:.3f} nat).",
                                   head_name(sharpest->layer, sharpest->head), sharpest->entropy,
                                   head_name(widest->layer, widest->head), widest->entropy));
    if (const std::string counts = role_counts(summary); !counts.empty()) said.push_back(counts);
    if (summary.heads.empty()) said.push_back("No metric of the heads was logged; list some under [log.probes].");
    return said;
}

nlohmann::ordered_json by_projection(const std::array<double, 4>& values) {
    nlohmann::ordered_json object;
    for (std::size_t p = 0; p < 4; ++p) object[projection_names[p]] = values[p];
    return object;
}

nlohmann::ordered_json by_name(const std::vector<Floor>& lines) {
    auto object = nlohmann::ordered_json::object();
    for (const Floor& line : lines) object[line.name] = line.loss;
    return object;
}

}  // namespace

std::string to_text(const RunSummary& summary) {
    std::string text = fmt::format("{}\n{} at step {}, seed {}, {} of training\n", summary.run, summary.state,
                                   summary.step, summary.seed, format_seconds(summary.elapsed));
    text += losses(summary);
    if (!summary.heads.empty()) text += table(summary) + role_table(summary);
    text += "\nwhat the heads did\n";
    for (const std::string& sentence : sentences(summary)) text += indented(sentence);
    return text;
}

std::string to_json(const RunSummary& summary) {
    nlohmann::ordered_json json;  // NaN becomes null
    json["run"] = summary.run;
    json["state"] = summary.state;
    json["seed"] = summary.seed;
    json["step"] = summary.step;
    json["elapsed"] = summary.elapsed;
    if (summary.train_step >= 0) json["train"] = {{"step", summary.train_step}, {"loss", summary.train_loss}};
    if (summary.eval_step >= 0)
        json["eval"] = {{"step", summary.eval_step}, {"loss", summary.eval_loss}, {"accuracy", summary.eval_accuracy}};
    json["floors"] = by_name(summary.floors);
    json["references"] = by_name(summary.references);
    json["overlap_null"] = {{"mean", summary.overlap_null_mean}, {"std", summary.overlap_null_std}};
    json["heads"] = nlohmann::ordered_json::array();
    for (const HeadRow& row : summary.heads) {
        nlohmann::ordered_json head{{"layer", row.layer},
                                    {"head", row.head},
                                    {"role", nullptr},
                                    {"grad_norm", by_projection(row.grad_norm)},
                                    {"overlap", by_projection(row.overlap)},
                                    {"overlap_z", by_projection(row.overlap_z)},
                                    {"attention_entropy", row.entropy}};
        if (!row.role.empty()) head["role"] = row.role;
        for (std::size_t m = 0; m < role_metrics.size(); ++m) head[role_metrics[m]] = row.evidence[m];
        json["heads"].push_back(std::move(head));
    }
    json["sentences"] = sentences(summary);
    return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace headscope::cli
