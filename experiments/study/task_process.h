// A process that trains one run of a sweep: `headscope sweep DIR --task N --json`, which prints its progress, a line of
// JSON at a time.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "experiments/base/files.h"
#include "experiments/training/speedometer.h"

namespace headscope::experiments {

/// {"step": 10, "steps": 100, "loss": 1.5, "tokens_per_second": 1000.0, "seconds_left": 0.9}; a loss that is no number
/// is null.
std::string progress_to_json(const Progress& progress);
/// Nothing when the line is none.
std::optional<Progress> progress_from_json(const std::string& line);

class TaskProcess {
public:
    /// Starts it. It gets SIGTERM when this process ends. Throws IoError when there can be no more processes.
    TaskProcess(const std::string& sweep, std::size_t task, int threads);
    ~TaskProcess();
    TaskProcess(TaskProcess&& other) noexcept;
    TaskProcess& operator=(TaskProcess&&) = delete;

    std::size_t task() const { return task_; }
    /// The descriptors to wait for.
    std::vector<int> descriptors() const;
    /// Takes what it has printed, without waiting.
    void read(const std::function<void(const Progress&)>& on_progress);
    /// Asks it to stop after a checkpoint; once.
    void stop();
    /// The exit code, or the negative number of the signal that killed it; nothing while it lives.
    std::optional<int> ended();
    /// The end of what it has said on standard error.
    const std::string& last_words() const { return errors_; }

private:
    std::size_t task_;
    pid_t process_ = -1;
    Descriptor output_, error_output_;
    std::string line_, errors_;
    bool stopped_ = false;
};

}  // namespace headscope::experiments
