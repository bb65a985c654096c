#include "experiments/study/sweep.h"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <vector>

#include "experiments/base/errors.h"
#include "experiments/study/sweep_task.h"
#include "experiments/study/task_process.h"

namespace headscope::experiments {

namespace {

/// The last line, without what print_error() puts before it.
std::string last_line(std::string text) {
    while (text.ends_with('\n')) text.pop_back();
    std::string line = text.substr(text.rfind('\n') + 1);
    constexpr std::string_view prefix = "headscope: ";
    return line.starts_with(prefix) ? line.substr(prefix.size()) : line;
}

class Sweep {
public:
    Sweep(const std::string& folder, const SweepOptions& options, SweepObserver& observer)
        : folder_(folder), options_(options), observer_(observer) {
        const Manifest manifest = change_manifest(folder, [&](Manifest& now) { settle_states(folder, now); });
        observer_.begins(manifest);
        for (std::size_t task = 0; task < manifest.runs.size(); ++task)
            if (is_left_to_do(manifest.runs[task])) waiting_.push_back(task);
    }

    void run() {
        for (;;) {
            if (options_.stop != nullptr && options_.stop->load()) stopping_ = true;
            if (stopping_)
                for (TaskProcess& process : running_) process.stop();
            while (!stopping_ && !waiting_.empty() && running_.size() < static_cast<std::size_t>(options_.jobs))
                start_next();
            if (running_.empty()) return;
            wait();
            for (TaskProcess& process : running_) read(process);
            take_ended();
            observer_.tick();
        }
    }

private:
    void start_next() {
        const std::size_t task = waiting_.front();
        waiting_.pop_front();
        running_.emplace_back(folder_, task, options_.threads);
        observer_.started(task, read_manifest(folder_).run(task));
    }

    /// Until something is said, or for a while.
    void wait() const {
        constexpr int longest = 100;  // ms
        std::vector<pollfd> files;
        for (const TaskProcess& process : running_)
            for (const int file : process.descriptors()) files.push_back({file, POLLIN, 0});
        ::poll(files.data(), files.size(), longest);
    }

    void read(TaskProcess& process) {
        process.read([&](const Progress& progress) { observer_.progressed(process.task(), progress); });
    }

    void take_ended() {
        for (std::size_t i = 0; i < running_.size();) {
            const std::optional<int> exit = running_[i].ended();
            if (!exit) {
                ++i;
                continue;
            }
            read(running_[i]);
            const SweepRun run = end_of(running_[i], *exit);
            observer_.ended(running_[i].task(), run);
            if (run.state == SweepState::failed && !options_.keep_going) stopping_ = true;
            erase(i);
        }
    }

    void erase(std::size_t i) {
        std::deque<TaskProcess> rest;
        for (std::size_t j = 0; j < running_.size(); ++j)
            if (j != i) rest.push_back(std::move(running_[j]));
        running_.swap(rest);
    }

    /// The run as the process has left it. What was killed could write nothing.
    SweepRun end_of(const TaskProcess& process, int exit) const {
        SweepRun run = read_manifest(folder_).run(process.task());
        if (run.state != SweepState::running && run.exit == exit) return run;
        const std::string reason = exit < 0 ? fmt::format("killed by signal {} ({})", -exit, ::strsignal(-exit))
                                            : last_line(process.last_words());
        note_end_of_task(folder_, process.task(), exit, reason);
        return read_manifest(folder_).run(process.task());
    }

    const std::string folder_;
    const SweepOptions& options_;
    SweepObserver& observer_;
    std::deque<std::size_t> waiting_;
    std::deque<TaskProcess> running_;
    bool stopping_ = false;
};

}  // namespace

Manifest run_sweep(const RunLock& lock, const SweepOptions& options, SweepObserver& observer) {
    const std::string& sweep = lock.folder().path();
    Sweep(sweep, options, observer).run();
    return read_manifest(sweep);
}

}  // namespace headscope::experiments
