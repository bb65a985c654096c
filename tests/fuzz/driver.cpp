// A plain driver for a fuzz target, in every build: changes the target's seeds at random and runs it on them for some
// seconds, the first argument; five times as long when HEADSCOPE_LONG is set. The changes are the same in every run, so
// a failure comes again. The input that the target was given when the process died is left in fuzz-failure.bin;
// `<target> FILE` runs it alone.
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstring>
#include <random>

#include "experiments/base/files.h"
#include "tests/fuzz/fuzz_target.h"

namespace {

using namespace headscope::experiments;
using namespace headscope::experiments;
using Clock = std::chrono::steady_clock;

constexpr unsigned longest_run = 60;               // seconds for one input
constexpr std::size_t longest_input = 1 << 20;     // bytes
constexpr std::int64_t most_memory = 512LL << 20;  // bytes

std::string input;  // what the target works on

extern "C" void keep_input(int signal_number) {
    const int file = ::open("fuzz-failure.bin", O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (file >= 0 && ::write(file, input.data(), input.size()) >= 0) ::close(file);
    std::signal(signal_number, SIG_DFL);
    std::raise(signal_number);
}

class Mutator {
public:
    Mutator(std::vector<std::string> seeds, std::vector<std::string> words)
        : seeds_(std::move(seeds)), words_(std::move(words)) {}

    std::string next() {
        std::string bytes = seeds_[below(seeds_.size())];
        for (std::size_t count = std::size_t{1} << below(5); count > 0; --count) change(bytes);
        bytes.resize(std::min(bytes.size(), longest_input));
        return bytes;
    }

private:
    std::size_t below(std::size_t end) { return end == 0 ? 0 : random_() % end; }

    void change(std::string& bytes) {
        const std::size_t at = below(bytes.size());
        const std::size_t length = std::min(bytes.size() - at, std::size_t{1} << below(10));
        switch (below(9)) {
            case 0:
            case 1: return flip_bit(bytes, at);
            case 2: return put(bytes, at, std::string(1, static_cast<char>(below(256))));
            case 3: return put(bytes, at, number());
            case 4: return put(bytes, at, bytes.substr(below(bytes.size()), length));
            case 5: bytes.insert(at, bytes.substr(below(bytes.size()), length)); return;
            case 6: bytes.erase(at, length); return;
            case 7: bytes.insert(at, words_[below(words_.size())]); return;
            default: return splice(bytes, at);
        }
    }

    void flip_bit(std::string& bytes, std::size_t at) {
        if (!bytes.empty()) bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8)));
    }

    static void put(std::string& bytes, std::size_t at, const std::string& part) {
        bytes.replace(at, std::min(part.size(), bytes.size() - at), part);
    }

    /// The bytes of a number that a size or an offset may turn out to be wrong about.
    std::string number() {
        static constexpr std::int64_t values[] = {0,         1,        -1, 255, 65535, 1LL << 31, (1LL << 31) - 1,
                                                  1LL << 40, 1LL << 62};
        const std::int64_t value = values[below(std::size(values))];
        std::string bytes(std::size_t{1} << below(4), '\0');
        std::memcpy(bytes.data(), &value, bytes.size());
        return bytes;
    }

    /// Ends here, or goes on as another seed does; at the end of a line when there are lines.
    void splice(std::string& bytes, std::size_t at) {
        const std::string& other = seeds_[below(seeds_.size())];
        if (below(4) == 0) {
            bytes.resize(at);
            return;
        }
        const std::size_t from = below(other.size());
        const std::size_t end = std::min(bytes.find('\n', at), bytes.size()), begin = other.find('\n', from);
        if (begin == std::string::npos) bytes = bytes.substr(0, at) + other.substr(from);
        else bytes = bytes.substr(0, end) + other.substr(begin);
    }

    std::vector<std::string> seeds_, words_;
    std::mt19937_64 random_{20240817};
};

void run_target() {
    alarm(longest_run);
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(input.data()), input.size());
    alarm(0);
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    fuzz::require(usage.ru_maxrss * 1024 < most_memory, "memory stays below 512 MB");
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) {
        std::cerr << "usage: " << argv[0] << " SECONDS | FILE\n";
        return 2;
    }
    for (const int signal_number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGALRM})
        std::signal(signal_number, keep_input);
    char* end = nullptr;
    const double seconds = std::strtod(argv[1], &end) * (std::getenv("HEADSCOPE_LONG") != nullptr ? 5 : 1);
    if (*end != '\0') {
        input = read_file(argv[1]);
        run_target();
        return 0;
    }
    const std::vector<std::string> seeds = fuzz::seeds();
    for (const std::string& seed : seeds) {
        input = seed;
        run_target();
    }
    Mutator mutator(seeds, fuzz::dictionary());
    const Clock::time_point start = Clock::now();
    std::int64_t count = 0;
    for (; std::chrono::duration<double>(Clock::now() - start).count() < seconds; ++count) {
        input = mutator.next();
        run_target();
    }
    std::cout << count << " inputs\n";
    return 0;
}
