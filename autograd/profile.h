// Where the time of a thread goes.
//
// While a Profile lives, the thread that made it has a stopwatch running. Every mark gives the time since the mark
// before to one name; so every moment is counted once. Where the marks are:
//   forward   At the end of every op. Its share begins at the mark before, so it includes the code that led up to the
//             op (the module, memory, the node of the graph). In an op made of other ops, each of them marks under its
//             own name, and the outer op gets the rest.
//   backward  After each node has passed on its gradients; includes the ops that its backward function calls and the
//             sums over broadcast axes. "leaf" is storing or adding up the gradients of parameters.
//   other     In the training loop, by mark().
// Ops under NoGrad do not mark; their time counts towards the next mark.
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
