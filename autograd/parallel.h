// The one place where threads are made.
//
// Determinism. Work is cut into chunks whose borders depend on the shape alone, never on the number of threads; a
// chunk is run by one thread; which thread, and when, is left to chance. A chunk writes only what it owns. Sums over
// chunks are kept one per chunk and added in index order by the caller. So any number of threads gives the same bits.
//
// Nothing may leave a parallel region by exception: the first one is caught and thrown again outside.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>

namespace headscope {

/// Threads used by parallel regions of this process from now on, where no ThreadLimit says otherwise. The default is
/// OMP_NUM_THREADS, or the number of cores. Throws Error when `count` is below 1 or above 1024.
void set_num_threads(int count);
/// Threads used by parallel regions that the calling thread opens.
int num_threads();

/// How many of `wanted` threads, the calling one among them, the system lets this process have now. Limits on processes
/// (ulimit -u, a container's), on memory (ulimit -v) and stacks of OMP_STACKSIZE may leave fewer, a binding of threads
/// to CPUs that are not there (GOMP_CPU_AFFINITY, OMP_PLACES) just 1. Regions that find fewer than they want do with
/// those.
int possible_threads(int wanted);

/// While one lives, parallel regions that this thread opens use `count` threads, whatever other threads do.
class ThreadLimit {
public:
    /// Throws Error when `count` is below 1 or above 1024.
    explicit ThreadLimit(int count);
    ~ThreadLimit();
    ThreadLimit(const ThreadLimit&) = delete;
    ThreadLimit& operator=(const ThreadLimit&) = delete;

private:
    int before_;
};

namespace detail {
bool in_parallel_region();
/// Calls call(body, chunk) for every chunk in [0, chunks), which no call may leave by exception, on up to `threads`
/// threads, the calling one among them.
void run_chunks(std::int64_t chunks, int threads, void (*call)(void* body, std::int64_t chunk), void* body);
}  // namespace detail

/// Calls `body(chunk)` for every chunk in [0, chunks). Runs in the calling thread when there is one chunk or one
/// thread, or inside another parallel region.
template <class Body>
void parallel_chunks(std::int64_t chunks, Body&& body) {
    if (chunks <= 1 || num_threads() == 1 || detail::in_parallel_region()) {
        for (std::int64_t chunk = 0; chunk < chunks; ++chunk) body(chunk);
        return;
    }
    std::exception_ptr first;
    std::atomic<bool> failed{false};
    auto guarded = [&](std::int64_t chunk) {
        if (failed.load(std::memory_order_relaxed)) return;
        try {
            body(chunk);
        } catch (...) {
            if (!failed.exchange(true)) first = std::current_exception();
        }
    };
    detail::run_chunks(
        chunks, num_threads(), [](void* self, std::int64_t chunk) { (*static_cast<decltype(guarded)*>(self))(chunk); },
        &guarded);
    if (first) std::rethrow_exception(first);
}

/// Calls `body(begin, end)` for [0, n) cut into chunks of `grain` (the last may be shorter). `grain` must follow from
/// shapes alone.
template <class Body>
void parallel_for(std::int64_t n, std::int64_t grain, Body&& body) {
    const std::int64_t chunks = (n + grain - 1) / grain;
    parallel_chunks(chunks, [&](std::int64_t chunk) {
        const std::int64_t begin = chunk * grain;
        const std::int64_t end = begin + grain < n ? begin + grain : n;
        body(begin, end);
    });
}

}  // namespace headscope
