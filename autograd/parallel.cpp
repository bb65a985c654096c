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
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "autograd/error.h"
#include "autograd/floating_point.h"

namespace headscope {
namespace {

constexpr int most_threads = 1024;
int threads = std::clamp(omp_get_max_threads(), 1, most_threads);
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

    /// Makes helpers until there are `count`, or as many as the system allows. They live as long as the program, in
    /// OpenMP teams that never end. OpenMP ends the program when it gets no thread, so it is asked for what can be had.
    void make(int count) {
        if (count <= wished_) return;
        wished_ = count;
        const int more = possible_threads(count - made_ + 1) - 1;
        if (more <= 0) return;
        try {
            std::thread([this, first = made_, more] {
#pragma omp parallel num_threads(more)
                help(first + omp_get_thread_num());
            }).detach();
        } catch (const std::system_error&) {
            return;
        }
        made_ += more;
    }

    std::mutex busy_;            // held by the thread whose region is open
    int made_ = 0, wished_ = 0;  // helpers there are, and were asked for
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
    if (count < 1 || count > most_threads)
        throw Error("threads: " + std::to_string(count) + " is not a number of threads; give 1 to 1024");
}

/// Bytes of the stacks that OpenMP gives its threads: a number and B, K, M or G, K when there is none; 0 when it is not
/// said, or not understood.
std::size_t openmp_stack_size() {
    const char* text = std::getenv("OMP_STACKSIZE");
    if (text == nullptr) text = std::getenv("GOMP_STACKSIZE");
    if (text == nullptr) return 0;
    char* end = nullptr;
    const double number = std::strtod(text, &end);
    while (*end == ' ') ++end;
    double unit = 1024;
    switch (*end) {
        case 'b':
        case 'B': unit = 1; break;
        case 'm':
        case 'M': unit = 1 << 20; break;
        case 'g':
        case 'G': unit = 1 << 30; break;
        default: break;
    }
    return number >= 1 && number * unit < 1e18 ? static_cast<std::size_t>(number * unit) : 0;
}

/// Has OpenMP been told (GOMP_CPU_AFFINITY, OMP_PLACES) to bind threads to CPUs that this process has none of?
bool binds_to_missing_cpus() {
    cpu_set_t ours;
    CPU_ZERO(&ours);
    if (sched_getaffinity(0, sizeof ours, &ours) != 0) return false;
    for (int place = 0; place < omp_get_num_places(); ++place) {
        std::vector<int> cpus(static_cast<std::size_t>(omp_get_place_num_procs(place)));
        omp_get_place_proc_ids(place, cpus.data());
        const auto is_ours = [&](int cpu) {
            return cpu < CPU_SETSIZE && CPU_ISSET(static_cast<std::size_t>(cpu), &ours);
        };
        if (std::ranges::none_of(cpus, is_ours)) return true;
    }
    return false;
}

}  // namespace

// Threads like those of OpenMP, all at once, which wait until the last is there and end.
int possible_threads(int wanted) {
    if (binds_to_missing_cpus()) return 1;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    const std::size_t stack = openmp_stack_size();
    if (stack > 0) pthread_attr_setstacksize(&attributes, stack);
    std::mutex gate;
    std::vector<pthread_t> tried;
    {
        const std::lock_guard closed(gate);
        const auto wait = [](void* mutex) -> void* {
            const std::lock_guard opened(*static_cast<std::mutex*>(mutex));
            return nullptr;
        };
        for (pthread_t thread; static_cast<int>(tried.size()) + 1 < wanted;) {
            if (pthread_create(&thread, &attributes, wait, &gate) != 0) break;
            tried.push_back(thread);
        }
    }
    for (const pthread_t thread : tried) pthread_join(thread, nullptr);
    pthread_attr_destroy(&attributes);
    return static_cast<int>(tried.size()) + 1;
}

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
