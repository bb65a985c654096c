// Where the time of a thread goes.
//
// While a Profile lives, the thread that made it has a stopwatch running. Every mark gives the time since the mark
// before to one name; so all time lands somewhere, and nowhere twice. Who marks:
//   forward   An op, when its result is there. Its share begins at the mark before, so it holds what led up to the op
//   as
//             well (the module's own code, memory, the node of the graph). An op made of other ops: each of them marks
//             under its own name, the outer one gets the rest.
//   backward  A node, when its gradients are handed over, with the ops that its backward function calls and the sums
//             over broadcast axes. "leaf" is taking over, or adding up, the gradients of parameters.
//   other     Whoever calls mark(): the training loop.
// Ops under NoGrad do not mark: their time is that of whoever asked for them.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace headscope {

class Profile {
public:
    enum class Phase { forward, backward, other };
    struct Row {
        std::string name;
        Phase phase;
        std::int64_t count;
        double seconds;
    };

    /// Starts the stopwatch. A Profile that was running in this thread pauses while this one lives.
    Profile();
    ~Profile();
    Profile(const Profile&) = delete;
    Profile& operator=(const Profile&) = delete;

    /// While one lives, marks of this thread do nothing: all the time until its end is that of the mark after.
    class Silence {
    public:
        Silence() : silenced_(current_) { current_ = nullptr; }
        ~Silence() { current_ = silenced_; }
        Silence(const Silence&) = delete;
        Silence& operator=(const Silence&) = delete;

    private:
        Profile* silenced_;
    };

    /// Gives the time since the last mark to `name`. Does nothing when no Profile lives in this thread.
    static void mark(Phase phase, std::string_view name) {
        if (current_ != nullptr) current_->add(phase, name);
    }
    /// What was marked so far, the largest first.
    std::vector<Row> rows() const;

private:
    using Clock = std::chrono::steady_clock;
    struct Total {
        std::int64_t count = 0;
        Clock::duration time{};
    };
    void add(Phase phase, std::string_view name);

    static inline thread_local Profile* current_ = nullptr;
    Profile* outer_;
    Clock::time_point last_;
    std::array<std::map<std::string, Total, std::less<>>, 3> totals_;  // per phase
};

}  // namespace headscope
