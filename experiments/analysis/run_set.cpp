#include "experiments/analysis/run_set.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "experiments/base/errors.h"
#include "experiments/base/files.h"
#include "experiments/storage/run_folder.h"
#include "experiments/study/manifest.h"

namespace headscope::experiments {

namespace {

/// So many runs of a sweep are named, the others counted.
constexpr std::size_t most_named = 20;

NamedSweep sweep_at(const std::string& folder) {
    NamedSweep sweep{without_slash(folder), runs_of(folder), {}};
    for (const SweepRun& run : read_manifest(folder).runs) {
        const std::string own = sweep.folder + "/" + run.folder;
        if (std::ranges::find(sweep.runs, own) == sweep.runs.end())
            sweep.missing.push_back({run.folder, name_of(run.state)});
    }
    return sweep;
}

/// "3 of 12 runs of runs/a-sweep are not finished: seed-3 (failed at step 40), seed-4 (waiting, no log)"; empty when
/// all are.
std::string note_on(const NamedSweep& sweep, const std::vector<RunProgress>& runs) {
    std::vector<std::string> unfinished;
    bool any_at_work = false;
    for (const RunProgress& run : runs) {
        if (std::ranges::find(sweep.runs, run.folder) == sweep.runs.end() || run.state.logged == "finished") continue;
        const std::string word = run.state.word();
        any_at_work = any_at_work || word.starts_with("running");
        unfinished.push_back(
            fmt::format("{} ({} at step {})", run.folder.substr(sweep.folder.size() + 1), word, run.step));
    }
    for (const NamedSweep::Missing& run : sweep.missing)
        unfinished.push_back(fmt::format("{} ({}, no log)", run.name, run.state));
    if (unfinished.empty()) return {};
    const std::size_t count = unfinished.size();
    if (count > most_named) {
        unfinished.resize(most_named);
        unfinished.push_back(fmt::format("and {} more", count - most_named));
    }
    return fmt::format("{} of {} runs of {} {} not finished: {}{}.", count, sweep.size(), sweep.folder,
                       count == 1 ? "is" : "are", fmt::join(unfinished, ", "),
                       any_at_work ? "" : fmt::format("; `headscope sweep {} --resume` goes on", sweep.folder));
}

}  // namespace

RunSet named_runs(const std::vector<std::string>& paths, const std::string& verb) {
    RunSet set;
    for (const std::string& path : paths) {
        const std::string folder = run_folder_of(path);
        if (!is_sweep(folder)) {
            set.folders.push_back(folder);
            continue;
        }
        set.sweeps.push_back(sweep_at(folder));
        const std::vector<std::string>& runs = set.sweeps.back().runs;
        set.folders.insert(set.folders.end(), runs.begin(), runs.end());
    }
    if (set.folders.empty() && !set.sweeps.empty()) {
        const NamedSweep& first = set.sweeps.front();
        throw UsageError(fmt::format("{}: none of the {} runs of {} has a log yet", verb, first.size(), first.folder));
    }
    return set;
}

std::vector<std::string> notes_on_unfinished(const std::vector<RunProgress>& runs,
                                             const std::vector<NamedSweep>& sweeps) {
    std::vector<std::string> notes;
    for (const NamedSweep& sweep : sweeps)
        if (std::string note = note_on(sweep, runs); !note.empty()) notes.push_back(std::move(note));
    for (const RunProgress& run : runs) {
        if (!run.state.problem.empty()) notes.push_back(run.state.problem + ".");
        const bool told = std::ranges::any_of(sweeps, [&](const NamedSweep& sweep) {
            return std::ranges::find(sweep.runs, run.folder) != sweep.runs.end();
        });
        if (run.state.logged == "finished" || told) continue;
        const std::string& advice = run.state.advice;
        notes.push_back(fmt::format("{} is not finished: {} at step {}{}{}.", run.folder, run.state.word(), run.step,
                                    advice.empty() ? "" : "; ", advice));
    }
    return notes;
}

}  // namespace headscope::experiments
