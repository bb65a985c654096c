// What `watch` shows of a run or a sweep that trains: as many lines as there is room for, each of at most so many
// columns.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "experiments/storage/log_reader.h"

namespace headscope::experiments::cli {

struct WatchSize {
    int columns, lines;
};

/// Looks at a run or a sweep again and again; what has not changed on disk is not read again.
class Watched {
public:
    /// Throws UsageError when `path` is no folder.
    explicit Watched(std::string path);

    /// Of a run: state, step and time left, the loss over the steps beside its floors, a line per head with its role
    /// and the course of its gradient norm, the newest events. Of a sweep: a line per run. A log that cannot be read is
    /// told in its place.
    std::vector<std::string> lines(const WatchSize& size);
    /// Is there nothing left to wait for?
    bool ended() const { return ended_; }

private:
    struct Seen {
        std::string version;  ///< of its files
        std::string state;
        std::int64_t step = 0, steps = 0;
        double seconds_left = 0;
        std::vector<double> losses;
    };
    std::vector<std::string> lines_of_run(const WatchSize& size);
    std::vector<std::string> lines_of_sweep(const WatchSize& size);
    const Seen& look_at(const std::string& run);

    std::string path_;
    std::map<std::string, Seen> seen_;  ///< by folder
    bool ended_ = false;
};

}  // namespace headscope::experiments::cli
