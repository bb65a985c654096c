#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "experiments/training/speedometer.h"

namespace headscope::experiments {

/// How a run, or anything that computes steps of one again, reports to whoever called it. Empty functions are not
/// called.
struct RunHooks {
    std::function<void(const Progress&)> on_step = {};
    /// Loss and accuracy are NaN when no target was scored.
    std::function<void(std::int64_t step, double loss, double accuracy)> on_eval = {};
    std::function<void(const std::string&)> on_message = {};  ///< a line for the user: a checkpoint passed over, ...
    const std::atomic<bool>* stop =
        nullptr;  ///< set from outside: end the step at hand, leave all in order, throw Stopped

    void message(const std::string& text) const {
        if (on_message) on_message(text);
    }
};

}  // namespace headscope::experiments
