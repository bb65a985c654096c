// headscope_bench_log ROWS FOLDER: what rows of ten datasets cost to log, save and publish as a run does it: saved
// every thousand rows, published when that would take half a percent of the time so far. Prints "seconds", those of the
// thread and the disk together, "bytes", the size of the log, and "memory", what the process needed above its start.
#include <fmt/core.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "experiments/storage/log.h"

namespace {

std::int64_t peak_memory() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss * 1024;
}

}  // namespace

int main(int, char** arguments) {
    using Clock = std::chrono::steady_clock;
    const std::int64_t rows = std::atoll(arguments[1]);
    const std::string path = std::string(arguments[2]) + "/log.h5";
    headscope::experiments::Log log(path);
    std::vector<headscope::experiments::Column> columns;
    for (int i = 0; i < 10; ++i) columns.push_back({"x" + std::to_string(i), "1", "a number"});
    log.declare_series("train", columns);
    log.publish();
    const std::int64_t memory = peak_memory();
    const auto start = Clock::now();
    constexpr Clock::duration least = std::chrono::seconds(1);
    Clock::duration interval = least;
    auto next_publish = start + interval;
    std::vector<double> row(columns.size());
    for (std::int64_t step = 0; step < rows; ++step) {
        for (std::size_t i = 0; i < row.size(); ++i)
            row[i] = std::sin(static_cast<double>(step * 10) + static_cast<double>(i));
        log.append("train", step, row);
        if (step % 1000 != 999) continue;
        log.save_rows();
        if (Clock::now() < next_publish) continue;
        const auto begin = Clock::now();
        log.publish();
        interval = std::clamp(200 * (Clock::now() - begin), least, 4 * interval);
        next_publish = Clock::now() + interval;
    }
    log.publish();
    fmt::print("seconds {}\nbytes {}\nmemory {}\n", std::chrono::duration<double>(Clock::now() - start).count(),
               std::filesystem::file_size(path), peak_memory() - memory);
}
