// OpenMP makes the threads, once; handing out the chunks is done here. The end of an OpenMP region is a barrier, at
// which every thread of the team must arrive, also one that found nothing left to do. On a machine whose other core is
// busy such a thread first has to be given a core: a region of 26 us was measured to take 190 us. Here a helper that
// comes late finds no chunk left and nobody has waited for it; the caller waits for chunks that have begun, only.
//
// Chunks are taken from both ends: the caller begins at the first, its first helper at the last, and so on in turn. So
// a core mostly meets the rows again that it had in the region before, and finds them in its own cache.
#include "autograd/parallel.h"

#include <immintrin.h>
#include <omp.h>

#include <algorithm>
#include <mutex>
#include <string>
#include <thread>

#include "autograd/error.h"
#include "autograd/floating_point.h"

namespace headscope {
namespace {

int threads = omp_get_max_threads();
thread_local int limit = 0;  // of a ThreadLimit; 0: none
thread_local bool inside = false;

/// How often to look before going to sleep: some 40 us, which bridges the gap between two regions of a step. Longer
/// would take the core from other programs.
constexpr int spins = 3000;

/// Waits until done() holds, first spinning, then with sleep(), which may return early.
template <class Done, class Sleep>
void await(Done&& done, Sleep&& sleep) {
    for (int spin = 0; !done(); ++spin) {
        if (spin < spins) _mm_pause();
        else sleep();
    }
}

class Helpers {
public:
    void run(std::int64_t chunks, int count, void (*call)(void*, std::int64_t), void* body) {
        const std::unique_lock lock(busy_, std::try_to_lock);
        if (!lock) {  // another thread has the helpers
            for (std::int64_t chunk = 0; chunk < chunks; ++chunk) call(body, chunk);
            return;
        }
        make(count);
        for (std::int64_t first = 0; first < chunks; first += Open::most)
            run_some(first, std::min(chunks - first, Open::most), count, call, body);
    }

private:
    /// What is left of a region, in one word, so that a helper that comes late cannot take a chunk of the next region
    /// for one of this: the chunks [first, end), and the region's number.
    struct Open {
        static constexpr int bits = 20;
        static constexpr std::int64_t most = (1 << bits) - 1;
        std::int64_t first, end;
        std::uint64_t region;

        explicit Open(std::uint64_t word)
            : first(static_cast<std::int64_t>(word) & most),
              end(static_cast<std::int64_t>(word >> bits) & most),
              region(word >> 2 * bits) {}
        Open(std::int64_t first_chunk, std::int64_t end_chunk, std::uint64_t number)
            : first(first_chunk), end(end_chunk), region(number) {}
        std::uint64_t word() const {
            return region << 2 * bits | static_cast<std::uint64_t>(end) << bits | static_cast<std::uint64_t>(first);
        }
    };

    /// At most Open::most chunks, from `offset` on.
    void run_some(std::int64_t offset, std::int64_t chunks, int count, void (*call)(void*, std::int64_t), void* body) {
        call_ = call;
        body_ = body;
        offset_ = offset;
        wanted_ = count;
        finished_ = 0;
        const std::uint32_t region = region_.load() + 1;
        open_.store(Open(0, chunks, region).word());
        region_.store(region);
        if (sleepers_.load() > 0) region_.notify_all();

        inside = true;
        std::int64_t own = 0;
        while (run_one(true)) ++own;
        inside = false;
        const auto others = static_cast<std::uint32_t>(chunks - own);
        await([&] { return finished_.load() == others; },
              [&] {
                  const std::uint32_t now = finished_.load();
                  if (now != others) finished_.wait(now);
              });
    }

    /// Runs the first or the last chunk of the open region; false when none is left.
    bool run_one(bool take_first) {
        std::uint64_t word = open_.load();
        for (;;) {
            Open open(word);
            if (open.first == open.end) return false;
            const std::int64_t chunk = take_first ? open.first++ : --open.end;
            if (!open_.compare_exchange_weak(word, open.word())) continue;
            // The chunk is taken, so the caller waits for it, and what describes its region stays as it is.
            call_(body_, offset_ + chunk);
            return true;
        }
    }

    void help(int number) {
        use_exact_arithmetic();
        inside = true;
        for (std::uint32_t seen = 0;;) {
            await([&] { return region_.load() != seen; },
                  [&] {
                      ++sleepers_;
                      region_.wait(seen);
                      --sleepers_;
                  });
            seen = region_.load();
            if (number >= wanted_) continue;
            while (run_one(number % 2 == 1)) {
                ++finished_;
                finished_.notify_one();
            }
        }
    }

    /// Makes helpers until there are `count`. They live as long as the program, in OpenMP teams that never end.
    void make(int count) {
        const int more = count - made_;
        if (more <= 0) return;
        std::thread([this, first = made_, more] {
#pragma omp parallel num_threads(more)
            help(first + omp_get_thread_num());
        }).detach();
        made_ = count;
    }

    std::mutex busy_;  // held by the thread whose region is open
    int made_ = 0;
    // The open region, written before open_ and read by who has taken a chunk.
    void (*call_)(void*, std::int64_t) = nullptr;
    void* body_ = nullptr;
    std::int64_t offset_ = 0;
    std::atomic<int> wanted_ = 0;
    alignas(64) std::atomic<std::uint64_t> open_ = 0;    // an Open
    alignas(64) std::atomic<std::uint32_t> region_ = 0;  // again, in a word that can be slept on
    std::atomic<int> sleepers_ = 0;
    alignas(64) std::atomic<std::uint32_t> finished_ = 0;  // chunks run by helpers
};

/// Never destroyed: the helpers go on until the program ends.
Helpers& helpers() {
    static Helpers* const instance = new Helpers;
    return *instance;
}

}  // namespace

namespace {

void check_threads(int count) {
    if (count < 1 || count > 1024)
        throw Error("threads: " + std::to_string(count) + " is not a number of threads; give 1 to 1024");
}

}  // namespace

void set_num_threads(int count) {
    check_threads(count);
    threads = count;
}

int num_threads() { return limit > 0 ? limit : threads; }

ThreadLimit::ThreadLimit(int count) : before_(limit) {
    check_threads(count);
    limit = count;
}

ThreadLimit::~ThreadLimit() { limit = before_; }

bool detail::in_parallel_region() { return inside; }

void detail::run_chunks(std::int64_t chunks, int threads, void (*call)(void*, std::int64_t), void* body) {
    helpers().run(chunks, threads - 1, call, body);
}

}  // namespace headscope
