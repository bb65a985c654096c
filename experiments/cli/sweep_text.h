// A sweep, while it runs and after it.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "experiments/cli/progress.h"
#include "experiments/study/sweep.h"
#include "experiments/study/sweep_estimate.h"

namespace headscope::experiments::cli {

/// On a terminal a line per run that trains, with bar, loss and time left, and one about all of them; elsewhere a line
/// when a run begins or ends, and every 30 seconds one about all. What has ended stays on the screen.
class SweepPrinter : public SweepObserver {
public:
    SweepPrinter(ProgressPrinter& printer, int jobs) : printer_(printer), jobs_(jobs) {}
    void begins(const Manifest& manifest) override;
    void started(std::size_t task, const SweepRun& run) override;
    void progressed(std::size_t task, const Progress& progress) override;
    void ended(std::size_t task, const SweepRun& run) override;
    void tick() override;

private:
    struct Running {
        std::string folder;
        std::chrono::steady_clock::time_point begun;
        Progress progress{0, 0, std::numeric_limits<double>::quiet_NaN(), 0, 0};
    };
    std::string summary() const;
    double seconds_left() const;

    ProgressPrinter& printer_;
    int jobs_;
    std::size_t runs_ = 0, done_ = 0, failed_ = 0;
    double seconds_of_ended_ = 0;  ///< of runs trained here to their end
    std::size_t ended_here_ = 0;
    std::map<std::size_t, Running> running_;
};

/// "12 runs: 9 finished, 2 stopped, 1 failed".
std::string count_states(const Manifest& manifest);
/// The same and what failed, a line each.
std::string describe_end(const Manifest& manifest);
/// {folder, name, axes, runs: as in the manifest, estimate: {runs, seconds, bytes}}; the last
/// when there is one.
std::string to_json(const std::string& folder, const Manifest& manifest, const SweepEstimate* estimate = nullptr);
/// "20 runs, about 4:10 on this machine (2 at a time, 1 thread each), 12.3 MB on disk".
std::string describe(const SweepEstimate& estimate, int jobs, int threads);
/// A line per run: its folder, what it sets, its state.
std::string list_runs(const Manifest& manifest);

}  // namespace headscope::experiments::cli
