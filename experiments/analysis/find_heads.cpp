#include "experiments/analysis/find_heads.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <numeric>
#include <optional>
#include <set>

#include "experiments/analysis/head_values.h"
#include "experiments/base/errors.h"
#include "experiments/storage/log_reader.h"

namespace headscope::experiments {

namespace {

std::vector<FoundHead> heads_that_hold(const HeadCondition& condition, const HeadValues& run) {
    std::vector<FoundHead> found;
    std::vector<ConditionValue> values;
    const std::vector<std::int64_t>& steps = run.steps();
    for (std::int64_t layer = 0; layer < run.layers(); ++layer)
        for (std::int64_t head = 0; head < run.heads(); ++head) {
            FoundHead one{layer, head, -1, -1, 0, false};
            for (std::size_t row = 0; row < steps.size(); ++row) {
                run.take(row, layer, head, values);
                one.at_end = condition.holds(values);
                if (!one.at_end) continue;
                if (one.rows++ == 0) one.first = steps[row];
                one.last = steps[row];
            }
            if (one.rows > 0) found.push_back(one);
        }
    return found;
}

/// Goes through runs, and keeps in mind what each lacks.
class HeadSearch {
public:
    explicit HeadSearch(const HeadCondition& condition)
        : condition_(condition), known_(condition.names().size(), false), problems_(condition.names().size()) {}

    void search(const std::string& folder) {
        const LogReader log = LogReader::of_run(folder, "find");
        try {
            search(folder, log);
        } catch (const IoError& error) {
            throw IoError(fmt::format("find: the log of {} cannot be used: {}", folder, error.what()));
        }
    }

    FoundHeads result(const std::vector<NamedSweep>& sweeps) {
        for (std::size_t name = 0; name < known_.size(); ++name)
            if (!known_[name]) condition_.fail(condition_.names()[name].at, problems_[name]);
        for (const auto& [lacking, folders] : lacking_)
            found_.notes.push_back(
                fmt::format("Not looked at, for want of {}: {}.", lacking, fmt::join(folders, ", ")));
        if (found_.runs.empty())
            throw UsageError(
                fmt::format("find: no run has all that the condition names. {}", fmt::join(found_.notes, " ")));
        for (std::string& note : notes_on_unfinished(progress_, sweeps)) found_.notes.push_back(std::move(note));
        return std::move(found_);
    }

private:
    void search(const std::string& folder, const LogReader& log) {
        const HeadValues values(log, folder, condition_.names());
        progress_.push_back({folder, read_run_state(folder, log), steps_done(folder, log)});
        std::vector<std::string> lacking;
        std::vector<ConditionType> types;
        for (std::size_t name = 0; name < known_.size(); ++name) {
            types.push_back(values.type(name));
            if (values.problem(name).empty()) {
                known_[name] = true;
            } else {
                lacking.push_back(condition_.names()[name].written());
                if (problems_[name].empty()) problems_[name] = values.problem(name);
            }
        }
        if (!lacking.empty()) {
            lacking_[fmt::format("{}", fmt::join(lacking, ", "))].push_back(folder);
            return;
        }
        condition_.check(types);
        const std::vector<std::string> metrics = values.metrics();
        if (metrics.empty())
            condition_.fail(0,
                            "it names no metric of the heads, so there are no rows to look at; `headscope inspect RUN "
                            "--json` lists what a run has");
        found_.metrics = metrics;
        if (values.steps().empty()) {
            lacking_[fmt::format("a row that has {}", fmt::join(metrics, " and "))].push_back(folder);
            return;
        }
        SearchedRun run{.folder = folder,
                        .state = progress_.back().state,
                        .seed = values.seed(),
                        .step = progress_.back().step,
                        .heads = values.layers() * values.heads(),
                        .steps = values.steps()};
        for (const std::string& metric : metrics) run.rows.push_back(static_cast<std::int64_t>(values.rows_of(metric)));
        run.found = heads_that_hold(condition_, values);
        found_.runs.push_back(std::move(run));
    }

    const HeadCondition& condition_;
    FoundHeads found_{.condition = condition_.text()};
    std::vector<bool> known_;                                  ///< by name: has any run it?
    std::vector<std::string> problems_;                        ///< by name: of the first run without it
    std::map<std::string, std::vector<std::string>> lacking_;  ///< folders by what they lack
    std::vector<RunProgress> progress_;
};

}  // namespace

std::int64_t FoundHeads::heads() const {
    return std::accumulate(runs.begin(), runs.end(), std::int64_t{0},
                           [](std::int64_t sum, const SearchedRun& run) { return sum + run.heads; });
}

std::int64_t FoundHeads::heads_found() const {
    return std::accumulate(runs.begin(), runs.end(), std::int64_t{0}, [](std::int64_t sum, const SearchedRun& run) {
        return sum + static_cast<std::int64_t>(run.found.size());
    });
}

std::int64_t FoundHeads::runs_found() const {
    return std::ranges::count_if(runs, [](const SearchedRun& run) { return !run.found.empty(); });
}

FoundHeads find_heads(const RunSet& runs, const std::string& text) {
    const HeadCondition condition(text);
    HeadSearch search(condition);
    std::set<std::filesystem::path> seen;
    for (const std::string& folder : runs.folders) {
        std::error_code ignored;
        if (seen.insert(std::filesystem::weakly_canonical(folder, ignored)).second) search.search(folder);
    }
    return search.result(runs.sweeps);
}

}  // namespace headscope::experiments
