#include "experiments/cli/watch_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <utility>

#include "experiments/analysis/summary.h"
#include "experiments/base/errors.h"
#include "experiments/base/files.h"
#include "experiments/cli/progress.h"
#include "experiments/cli/sparkline.h"
#include "experiments/cli/summary_parts.h"
#include "experiments/cli/sweep_text.h"
#include "experiments/cli/text_lines.h"
#include "experiments/config/config.h"
#include "experiments/storage/log_tail.h"
#include "experiments/storage/run_folder.h"
#include "experiments/study/manifest.h"

namespace headscope::experiments::cli {

namespace {

namespace fs = std::filesystem;

/// Another one when a file has changed.
std::string version_of(const std::string& path) {
    std::error_code error;
    const auto time = fs::last_write_time(path, error);
    if (error) return "-";
    return fmt::format("{}:{}", time.time_since_epoch().count(), fs::file_size(path, error));
}

std::string versions_of(const std::string& run) {
    const RunPaths paths(run);
    return version_of(paths.log) + " " + version_of(tail_path(paths.log));
}

std::string number(double value) { return std::isfinite(value) ? fmt::format("{:.4f}", value) : "-"; }

/// By the speed of the last tenth of the rows.
double time_left(const LogReader& log, std::int64_t step, std::int64_t steps) {
    const Series elapsed = log.series("train/elapsed");
    if (elapsed.steps.size() < 2) return not_measured;
    const std::size_t last = elapsed.steps.size() - 1, first = last - std::max<std::size_t>(1, last / 10);
    const double seconds = elapsed.values[last] - elapsed.values[first];
    return seconds / static_cast<double>(elapsed.steps[last] - elapsed.steps[first]) *
           static_cast<double>(steps - step);
}

std::vector<double> values_of(const LogReader& log, const std::string& name) {
    return log.has_series(name) ? log.series(name).values : std::vector<double>();
}

/// As many as fit; the last line says how many do not.
void shorten(std::vector<std::string>& lines, std::size_t room, const char* what) {
    if (lines.size() <= room) return;
    const std::size_t hidden = lines.size() - room + 1;
    lines.resize(room == 0 ? 0 : room - 1);
    if (room > 0) lines.push_back(fmt::format("and {} {} more", hidden, what));
}

std::string head_line(const HeadRow& head) {
    return fmt::format("{:<6}{:<12} {}  {:>7}", head_name(head.layer, head.head), head.role,
                       padded(sparkline(head.grad_norm_history), sparkline_columns, false),
                       positive_cell(head.grad_norm_total));
}

}  // namespace

Watched::Watched(std::string path) : path_(run_folder_of(without_slash(std::move(path)))) {
    if (!fs::is_directory(path_)) throw UsageError("watch: there is no folder " + path_);
}

const Watched::Seen& Watched::look_at(const std::string& run) {
    Seen& seen = seen_[run];
    const std::string version = versions_of(run);
    if (!path_exists(RunPaths(run).log)) return seen;
    const bool same = version == std::exchange(seen.version, version);
    // A process that is gone changes no file.
    if (same && seen.state != "running") return seen;
    const LogReader log(RunPaths(run).log);
    seen.state = read_run_state(run, log).word();
    if (same) return seen;
    seen.steps = parse_config(log.resolved_config(), log.resolved_config_place()).train.steps;
    seen.step = steps_done(run, log);
    seen.seconds_left = time_left(log, seen.step, seen.steps);
    seen.losses = values_of(log, "train/loss");
    return seen;
}

std::vector<std::string> Watched::lines(const WatchSize& size) {
    std::vector<std::string> lines;
    try {
        lines = is_sweep(path_) ? lines_of_sweep(size) : lines_of_run(size);
    } catch (const IoError& error) {  // in the midst of being replaced, or damaged: the next look may find it whole
        lines = {path_, error.what()};
    }
    for (std::string& line : lines) line = first_columns(line, static_cast<std::size_t>(size.columns));
    if (lines.size() > static_cast<std::size_t>(size.lines)) lines.resize(static_cast<std::size_t>(size.lines));
    return lines;
}

std::vector<std::string> Watched::lines_of_run(const WatchSize& size) {
    const std::string log_path = RunPaths(path_).log;
    if (!path_exists(log_path)) return {path_, "has no log yet"};
    const Seen& seen = look_at(path_);
    const RunSummary summary = read_summary(path_);
    const LogReader log(log_path);
    ended_ = seen.state == "finished" || seen.state == "failed";
    std::string head = fmt::format("{} at step {} of {}", seen.state, seen.step, seen.steps);
    if (seen.state == "running" && std::isfinite(seen.seconds_left))
        head += fmt::format(", {} left", format_seconds(seen.seconds_left));
    std::vector<std::string> lines{path_, head, ""};
    const auto loss_line = [&](const char* name, const std::vector<double>& losses, double now) {
        if (!losses.empty())
            lines.push_back(
                fmt::format("{:<11}{}  {:>8}", name, padded(sparkline(losses), sparkline_columns, false), number(now)));
    };
    loss_line("train", seen.losses, summary.train_loss);
    loss_line("evaluation", values_of(log, "eval/loss"), summary.eval_loss);
    const double loss = summary.eval_step >= 0 ? summary.eval_loss : summary.train_loss;
    for (const Floor& floor : summary.floors)
        lines.push_back(
            fmt::format("  {:<21}{:>8}  {:+.4f}", "floor " + floor.name, number(floor.loss), floor.loss - loss));
    std::vector<std::string> events;
    constexpr std::size_t most_events = 3;
    for (std::size_t i = summary.events.size() - std::min(most_events, summary.events.size());
         i < summary.events.size(); ++i)
        events.push_back(
            fmt::format("step {}  {}  {}", summary.events[i].step, summary.events[i].kind, summary.events[i].message));
    if (!events.empty()) events.insert(events.begin(), "");
    std::vector<std::string> heads;
    for (const HeadRow& row : summary.heads) heads.push_back(head_line(row));
    const std::size_t taken = lines.size() + events.size() + 2, all = static_cast<std::size_t>(size.lines);
    shorten(heads, all > taken ? all - taken : 0, "heads");
    if (!heads.empty()) {
        lines.emplace_back();
        lines.push_back(fmt::format("{:<6}{:<12} {:<10}  {:>7}", "head", "role", "gradient", "norm"));
        lines.insert(lines.end(), heads.begin(), heads.end());
    }
    lines.insert(lines.end(), events.begin(), events.end());
    return lines;
}

std::vector<std::string> Watched::lines_of_sweep(const WatchSize& size) {
    const Manifest manifest = read_manifest(path_);
    std::size_t width = 0;
    for (const SweepRun& run : manifest.runs) width = std::max(width, columns_of(run.folder));
    constexpr std::size_t rest = 46;  // columns behind the name
    const auto all = static_cast<std::size_t>(size.columns);
    width = std::min(width, all > rest + 8 ? all - rest : 8);
    std::vector<std::string> runs;
    for (const SweepRun& run : manifest.runs) {
        const Seen& seen = look_at(path_ + "/" + run.folder);
        // The manifest knows of failures, the log of what has happened since.
        const bool by_log = run.state == SweepState::running && !seen.state.empty();
        std::string line = fmt::format("{}  {:<9}", padded(first_columns(run.folder, width), width, false),
                                       by_log ? seen.state : name_of(run.state));
        if (seen.steps > 0)
            line += fmt::format("{:>14}  {} {:>8}", fmt::format("{}/{}", seen.step, seen.steps),
                                padded(sparkline(seen.losses), sparkline_columns, false),
                                number(seen.losses.empty() ? not_measured : seen.losses.back()));
        runs.push_back(line);
    }
    // What trains is of more interest than what has not begun, or has ended.
    std::vector<std::size_t> order(runs.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    const auto rank = [&](std::size_t i) {
        const SweepState state = manifest.runs[i].state;
        return state == SweepState::running   ? 0
               : state == SweepState::failed  ? 1
               : state == SweepState::waiting ? 3
                                              : 2;
    };
    if (runs.size() + 2 > static_cast<std::size_t>(size.lines)) std::ranges::stable_sort(order, {}, rank);
    std::vector<std::string> shown;
    for (const std::size_t i : order) shown.push_back(runs[i]);
    shorten(shown, static_cast<std::size_t>(std::max(size.lines - 2, 0)), "runs");
    std::vector<std::string> lines{path_, count_states(manifest)};
    lines.insert(lines.end(), shown.begin(), shown.end());
    ended_ = std::ranges::all_of(manifest.runs, [](const SweepRun& run) {
        return run.state == SweepState::finished || run.state == SweepState::failed;
    });
    return lines;
}

}  // namespace headscope::experiments::cli
