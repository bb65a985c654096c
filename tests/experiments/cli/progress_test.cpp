#include "experiments/cli/progress.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <thread>

#include "experiments/base/files.h"
#include "tests/experiments/temporary_folder.h"
#include "tests/experiments/text_checks.h"

namespace headscope::experiments::cli {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

TEST(Progress, SecondsAreReadable) {
    EXPECT_EQ(format_seconds(0), "0:00");
    EXPECT_EQ(format_seconds(7.4), "0:07");
    EXPECT_EQ(format_seconds(59.6), "1:00");
    EXPECT_EQ(format_seconds(3599), "59:59");
    EXPECT_EQ(format_seconds(10931), "3:02:11");
    EXPECT_EQ(format_seconds(nan), "-");
    EXPECT_EQ(format_seconds(std::numeric_limits<double>::infinity()), "-");
}

TEST(Progress, BarFitsAnyWidth) {
    const Progress progress{1200, 2000, 1.67714, 84123.0, 42.0};
    for (int width = 0; width < 200; ++width)
        EXPECT_LE(progress_bar(progress, width).size(), static_cast<std::size_t>(width));
    const std::string wide = progress_bar(progress, 120);
    for (const char* part :
         {"1200/2000", "loss 1.6771", "84.1k tokens/s", "0:42 left", "[########################....."})
        EXPECT_TRUE(contains(wide, part)) << part << " in " << wide;
    EXPECT_TRUE(contains(progress_bar(progress, 40), "loss 1.6771"));
    EXPECT_FALSE(contains(progress_bar(progress, 40), "["));
}

TEST(Progress, ABatchWithoutScoredTargetsHasNoLoss) {
    const Progress progress{1200, 2000, nan, 84123.0, 42.0};
    EXPECT_TRUE(contains(progress_bar(progress, 120), "loss -  "));
    EXPECT_TRUE(contains(progress_line(progress), "step 1200 of 2000, loss -, 84123 tokens/s"));
}

TEST(Progress, BarIsFullAtTheEnd) {
    EXPECT_FALSE(contains(progress_bar({2000, 2000, 1, 1, 0}, 100), ".]"));
    EXPECT_TRUE(contains(progress_bar({0, 0, 1, 1, 0}, 100), "#]"));
}

TEST(Progress, FileGetsWholeLinesOnly) {
    TemporaryFolder folder;
    const std::string path = folder.path() + "/progress";
    std::FILE* file = std::fopen(path.c_str(), "w");
    {
        ProgressPrinter printer(file);
        for (std::int64_t step = 1; step < 1000; ++step) printer.update(Progress{step, 1000, 2.5, 100, 10});
        printer.line("step 200: done");
    }
    std::fclose(file);
    EXPECT_EQ(read_file(path), "step 200: done\n");  // the first line of progress comes after 30 s
}

TEST(Progress, TerminalIsLeftClean) {
    setenv("TERM", "xterm", 1);
    int screen = 0, terminal = 0;
    winsize size{};
    size.ws_col = 60;
    if (openpty(&screen, &terminal, nullptr, nullptr, &size) != 0)
        GTEST_SKIP() << "there is no pseudo-terminal: " << std::strerror(errno);
    std::FILE* stream = fdopen(terminal, "w");
    {
        ProgressPrinter printer(stream);
        printer.update(Progress{1, 1000, 2.5, 100, 10});  // too early: nothing yet
        std::this_thread::sleep_for(std::chrono::milliseconds(220));
        printer.update(Progress{2, 1000, 2.5, 100, 10});
        printer.update(Progress{3, 1000, 2.5, 100, 10});
    }
    std::string text;  // it comes in as many pieces as were written
    pollfd waiting{screen, POLLIN, 0};
    while (!text.ends_with("\r\x1b[K") && poll(&waiting, 1, 5000) > 0) {
        char buffer[4096];
        const ssize_t count = read(screen, buffer, sizeof buffer);
        ASSERT_GT(count, 0);
        text.append(buffer, static_cast<std::size_t>(count));
    }
    EXPECT_TRUE(contains(text, "2/1000"));
    EXPECT_FALSE(contains(text, "1/1000"));
    EXPECT_FALSE(contains(text, "3/1000"));
    const std::string erased = "\r\x1b[K";
    ASSERT_GE(text.size(), erased.size());
    EXPECT_EQ(text.substr(text.size() - erased.size()), erased);
    const std::size_t end = text.find("\x1b[K");
    EXPECT_LE(end, 60u);  // the return and 59 columns
    std::fclose(stream);
    close(screen);
}

}  // namespace
}  // namespace headscope::experiments::cli
