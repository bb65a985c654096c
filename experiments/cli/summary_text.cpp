// A run's summary as text.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "experiments/cli/output.h"
#include "experiments/cli/progress.h"
#include "experiments/cli/summary_parts.h"
#include "experiments/cli/text_lines.h"

namespace headscope::experiments::cli {

namespace {

/// A folder as one would type it here.
std::string typed(const std::string& folder) {
    const std::filesystem::path path(folder);
    if (!path.is_absolute()) return folder;
    const std::filesystem::path relative = path.lexically_relative(std::filesystem::current_path());
    return relative.empty() || *relative.begin() == ".." ? folder : relative.string();
}

/// "fork of runs/x at step 500 with optimizer.lr=1e-4".
std::string lineage_of(const Lineage& lineage) {
    std::string text = lineage.kind;
    if (!lineage.parent.empty()) text += " of " + typed(lineage.parent);
    if (lineage.parent_step >= 0) text += fmt::format(" at step {}", lineage.parent_step);
    if (!lineage.changes.empty()) text += " with " + lineage.changes;
    return wrapped(text, "", "  ");
}

std::string losses(const RunSummary& summary) {
    struct Line {
        std::string name;
        double loss;
        std::string note;
    };
    std::vector<Line> lines;
    const std::string unscored = ", no target is scored";
    if (summary.train_step >= 0)
        lines.push_back({"training batch", summary.train_loss,
                         fmt::format("step {}{}", summary.train_step, std::isnan(summary.train_loss) ? unscored : "")});
    if (summary.eval_step >= 0)
        lines.push_back(
            {"evaluation", summary.eval_loss,
             fmt::format("step {}{}", summary.eval_step,
                         std::isnan(summary.eval_accuracy) ? unscored
                                                           : fmt::format(", accuracy {:.3f}", summary.eval_accuracy))});
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
        text += fmt::format("  {:<{}} {:>8}{}{}\n", line.name, width,
                            std::isnan(line.loss) ? "-" : fmt::format("{:.4f}", line.loss),
                            line.note.empty() ? "" : "   ", line.note);
    return text;
}

std::string newest_events(const std::vector<LoggedEvent>& events) {
    constexpr std::size_t shown = 8;
    if (events.empty()) return "";
    const std::size_t left_out = events.size() > shown ? events.size() - shown : 0;
    std::string text = "\nevents";
    if (left_out > 0) text += fmt::format(", the newest {}; {} before them are left out", shown, left_out);
    text += "\n";
    for (std::size_t i = left_out; i < events.size(); ++i) {
        const LoggedEvent& event = events[i];
        text += wrapped(fmt::format("step {}  {}  {}", event.step, event.kind, event.message), "  ", "    ");
    }
    return text;
}

}  // namespace

std::string to_text(const RunSummary& summary) {
    std::string text = fmt::format("{}\n{} at step {}, seed {}, {} of training\n", summary.run, summary.state.word(),
                                   summary.step, summary.seed, format_seconds(summary.elapsed));
    const std::string& advice = summary.state.advice;
    // A command stays on one line, to be copied.
    if (!advice.empty()) text += summary.state.alive ? advice + "\n" : wrapped(advice, "", "");
    if (summary.lineage) text += lineage_of(*summary.lineage);
    text += losses(summary);
    if (!summary.heads.empty()) text += head_table(summary);
    text += other_metrics(summary);
    text += "\nwhat the heads did\n";
    for (const std::string& sentence : sentences(summary)) text += wrapped(sentence, "  ", "  ");
    text += newest_events(summary.events);
    return text;
}

void print_summary(const std::string& folder, bool json) {
    const RunSummary summary = read_summary(folder);
    print_out("{}\n", json ? to_json(summary) : to_text(summary));
}

}  // namespace headscope::experiments::cli
