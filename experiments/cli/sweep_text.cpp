#include "experiments/cli/sweep_text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "experiments/cli/text_lines.h"
#include "experiments/config/memory.h"

namespace headscope::experiments::cli {

namespace {

double seconds_since(std::chrono::steady_clock::time_point time) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - time).count();
}

}  // namespace

void SweepPrinter::begins(const Manifest& manifest) {
    runs_ = manifest.runs.size();
    for (const SweepRun& run : manifest.runs) {
        done_ += run.state == SweepState::finished ? 1 : 0;
        failed_ += run.state == SweepState::failed ? 1 : 0;
    }
}

void SweepPrinter::started(std::size_t task, const SweepRun& run) {
    if (run.state == SweepState::failed) --failed_;
    running_[task] = {run.folder, std::chrono::steady_clock::now()};
    printer_.plain_line(fmt::format("{}: begins", run.folder));
}

void SweepPrinter::progressed(std::size_t task, const Progress& progress) { running_[task].progress = progress; }

void SweepPrinter::ended(std::size_t task, const SweepRun& run) {
    const Running& running = running_[task];
    const double seconds = seconds_since(running.begun);
    if (run.state == SweepState::finished) {
        ++done_;
        ++ended_here_;
        seconds_of_ended_ += seconds;
    }
    if (run.state == SweepState::failed) ++failed_;
    const std::string how = run.state == SweepState::failed
                                ? fmt::format("failed (exit {}): {}", run.exit.value_or(0), run.message)
                                : fmt::format("{} after {}", name_of(run.state), format_seconds(seconds));
    running_.erase(task);
    printer_.line(fmt::format("{}: {}   {}", run.folder, how, summary()));
}

/// By how long the runs took that have ended; before one has, by what the first ones say.
double SweepPrinter::seconds_left() const {
    double known = 0;
    for (const auto& [task, running] : running_)
        known += running.progress.steps > 0 ? running.progress.seconds_left : std::numeric_limits<double>::quiet_NaN();
    const std::size_t waiting = runs_ - done_ - failed_ - running_.size();
    double each = ended_here_ > 0 ? seconds_of_ended_ / static_cast<double>(ended_here_)
                                  : std::numeric_limits<double>::quiet_NaN();
    if (ended_here_ == 0 && !running_.empty()) {
        each = known;
        for (const auto& [task, running] : running_) each += seconds_since(running.begun);
        each /= static_cast<double>(running_.size());
    }
    const double rest = waiting > 0 ? each * static_cast<double>(waiting) : 0;
    return (known + rest) / std::max(1, std::min(jobs_, static_cast<int>(running_.size() + waiting)));
}

std::string SweepPrinter::summary() const {
    std::string text = fmt::format("{} of {} runs done", done_, runs_);
    if (failed_ > 0) text += fmt::format(", {} failed", failed_);
    const double left = seconds_left();
    if (!running_.empty() && std::isfinite(left)) text += fmt::format(", {} left", format_seconds(left));
    return text;
}

void SweepPrinter::tick() {
    constexpr std::size_t widest_name = 36;
    std::size_t width = 0;
    for (const auto& [task, running] : running_) width = std::max(width, columns_of(running.folder));
    width = std::min(width, widest_name);
    std::vector<std::string> lines;
    const int room = printer_.columns() - static_cast<int>(width) - 2;
    for (const auto& [task, running] : running_) {
        const std::string name = padded(first_columns(running.folder, width), width, false);
        lines.push_back(name + "  " +
                        (running.progress.steps > 0 ? progress_bar(running.progress, room) : std::string("begins")));
    }
    lines.push_back(summary());
    printer_.update(lines, summary());
}

std::string count_states(const Manifest& manifest) {
    std::string text = fmt::format("{} run{}", manifest.runs.size(), manifest.runs.size() == 1 ? "" : "s");
    const char* before = ": ";
    for (const SweepState state :
         {SweepState::finished, SweepState::running, SweepState::stopped, SweepState::failed, SweepState::waiting}) {
        const auto count = std::ranges::count(manifest.runs, state, &SweepRun::state);
        if (count > 0) text += fmt::format("{}{} {}", std::exchange(before, ", "), count, name_of(state));
    }
    return text;
}

std::string describe_end(const Manifest& manifest) {
    std::string text = count_states(manifest);
    for (const SweepRun& run : manifest.runs)
        if (run.state == SweepState::failed)
            text += fmt::format("\n  {}: failed (exit {}): {}", run.folder, run.exit.value_or(0), run.message);
    return text;
}

std::string describe(const SweepEstimate& estimate, int jobs, int threads) {
    return fmt::format("{} run{}, about {} on this machine ({} at a time, {} thread{} each), {} on disk", estimate.runs,
                       estimate.runs == 1 ? "" : "s", format_seconds(estimate.seconds), jobs, threads,
                       threads == 1 ? "" : "s", readable_bytes(estimate.bytes));
}

std::string to_json(const std::string& folder, const Manifest& manifest, const SweepEstimate* estimate) {
    using Json = nlohmann::ordered_json;
    const Json all = Json::parse(manifest_text(manifest));
    Json json{{"folder", folder}, {"name", all["name"]}, {"axes", all["axes"]}, {"runs", all["runs"]}};
    if (estimate != nullptr)
        json["estimate"] = {{"runs", estimate->runs}, {"seconds", estimate->seconds}, {"bytes", estimate->bytes}};
    return json.dump(2, ' ', false, Json::error_handler_t::replace);
}

std::string list_runs(const Manifest& manifest) {
    std::string text;
    for (const SweepRun& run : manifest.runs)
        text += fmt::format("  {}  {}  {}\n", run.folder, fmt::join(run.overrides, " "), name_of(run.state));
    return text;
}

}  // namespace headscope::experiments::cli
