#include "experiments/storage/log_comparison.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>

#include "experiments/storage/log.h"
#include "experiments/storage/log_seal.h"
#include "tests/experiments/temporary_folder.h"

namespace headscope::experiments {
namespace {

/// What one log may have other than the log it is compared with.
struct Change {
    std::int64_t step = -1;  ///< in the row of this step
    double loss = 0, elapsed = 0, metric = 0, tokens = 0;
    std::int64_t heads = 2;
};

class LogComparisonTest : public testing::Test {
protected:
    /// Rows of steps first, first + every, ... below 12, the metric every second of them.
    std::string write(const std::string& name, std::int64_t first, std::int64_t every, const Change& change = {}) {
        const std::string path = folder_.path(name);
        Log log(path);
        log.declare_series(
            "train", {{"loss", "nat/token", "loss"}, {"tokens_seen", "1", "tokens", true}, {"elapsed", "s", "time"}});
        MetricSpec spec;
        spec.name = "sharpness";
        spec.dimensions = {{"layer", 1, {}}, {"head", change.heads, {}}};
        log.declare_metric(spec, false);
        for (std::int64_t step = first, row = 0; step < 12; step += every, ++row) {
            const Change here = step == change.step ? change : Change{};
            const auto number = static_cast<double>(step);
            log.append("train", step, {number + here.loss, 3 * number + here.tokens, number + here.elapsed});
            log.event(step, "row", name);
            if (step % 2 != 0) continue;
            std::vector<double> values(static_cast<std::size_t>(change.heads), number / 3);
            values.back() += here.metric;
            log.append_metric("sharpness", step, values);
        }
        log.publish();
        return path;
    }

    static LogComparison compare(const std::string& a, const std::string& b, std::int64_t from = 0,
                                 std::int64_t to = 100) {
        return compare_rows(open_log(a), open_log(b), from, to);
    }

private:
    TemporaryFolder folder_;
};

TEST_F(LogComparisonTest, CountsTheRowsThatBothHave) {
    const std::string a = write("a", 0, 1), b = write("b", 3, 3);  // 3, 6, 9
    const LogComparison found = compare(a, b);
    EXPECT_EQ(found.different, 0) << found.first;
    EXPECT_EQ(found.series, 3);        // loss, tokens_seen, the metric
    EXPECT_EQ(found.rows, 3 + 3 + 1);  // the metric at 6 alone
    EXPECT_EQ(compare(a, b, 4, 8).rows, 1 + 1 + 1);
    EXPECT_EQ(compare(a, b, 10, 11).rows, 0);
    EXPECT_EQ(compare(a, b, 10, 11).series, 0);
}

TEST_F(LogComparisonTest, FindsEveryKindOfDifference) {
    const std::string plain = write("plain", 0, 1);
    const auto difference = [&](const Change& change, std::int64_t from = 0, std::int64_t to = 100) {
        return compare(plain, write("changed", 0, 1, change), from, to);
    };
    const double bit = std::nextafter(6.0, 7.0) - 6;
    EXPECT_EQ(difference({.step = 6, .loss = bit}).different, 1);
    EXPECT_EQ(difference({.step = 6, .loss = bit}).first.find("/train/loss at step 6: 6 and 6.0000000000000"), 0U);
    EXPECT_EQ(difference({.step = 4, .tokens = 1}).first, "/train/tokens_seen at step 4: 12 and 13");
    EXPECT_EQ(difference({.step = 8, .metric = 1e-5}).first.find("/heads/sharpness/value at step 8"), 0U);
    EXPECT_EQ(difference({.step = 8, .loss = 1, .metric = 1}).different, 2);
    EXPECT_EQ(difference({.step = 8, .loss = 1}, 0, 7).different, 0);
    EXPECT_EQ(difference({.step = 8, .loss = 1}, 9, 11).different, 0);
    EXPECT_EQ(difference({.step = 8, .loss = 1}, 8, 8).different, 1);
    EXPECT_EQ(difference({.heads = 3}).first, "/heads/sharpness/value at step 0: type or shape are others");
}

TEST_F(LogComparisonTest, NotMeasuredIsNotMeasured) {
    const double nan = std::nan("");
    const std::string a = write("a", 0, 1, {.step = 6, .loss = nan, .metric = nan});
    const std::string b = write("b", 0, 1, {.step = 6, .loss = -nan, .metric = -nan});  // of other bits
    EXPECT_EQ(compare(a, b).different, 0) << compare(a, b).first;
    EXPECT_EQ(compare(a, write("c", 0, 1)).different, 2);
}

TEST_F(LogComparisonTest, LeavesTheClockAndEventsOut) {
    const LogComparison found = compare(write("a", 0, 1), write("b", 0, 1, {.step = 5, .elapsed = 100}));
    EXPECT_EQ(found.different, 0) << found.first;
}

}  // namespace
}  // namespace headscope::experiments
