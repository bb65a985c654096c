#include "experiments/storage/log_reader.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "experiments/base/errors.h"
#include "tests/experiments/temporary_folder.h"

namespace headscope::experiments {
namespace {

/// A log with every kind of entry; sizes differ from each other: 2 layers, 3 heads.
class ReadLog : public testing::Test {
protected:
    void SetUp() override {
        Log log(path_);
        log.set_attribute("state", "finished");
        log.set_attribute("run_id", "abc");
        log.set_attribute("seed", std::int64_t{7});
        log.set_attribute("config_sha256", "0123");
        log.set_config("name = \"größe\"\n", "source");
        log.set_floor("both", 1.25);
        log.set_number("/task/floors/early", 2.5, "nat", "a floor of a version that did not say so");
        log.set_reference("bigram", 1.75, true);
        log.set_reference("bag", 1.5);
        log.set_vocabulary({"a", "道"});
        log.declare_series("train",
                           {{"tokens_seen", "1", "tokens seen", true}, {"loss", "nat/token", "training loss"}});
        log.declare_series("eval", {{"loss", "nat/token", "loss on held-out data"}});
        for (const std::int64_t step : {0, 2, 5}) {
            const auto value = static_cast<double>(step);
            log.append("train", step, {100 * value, value + 0.5});
        }
        MetricSpec spec;
        spec.name = "sharpness";
        spec.long_name = "how sharp";
        spec.units = "nat";
        spec.minimum = 0;
        spec.dimensions = {{"layer", 2, {}}, {"head", 3, {}}};
        spec.null_mean = 0.25;
        spec.null_std = 0.5;
        log.declare_metric(spec, true);
        log.append_metric("sharpness", 2, {1, 2, 3, 4, 5, 6});
        log.append_metric("sharpness", 4, {7, 8, 9, 10, 11, 12});
        log.declare_parameters({"head.weight", "embedding.weight"});
        log.event(3, "note", "something");
        log.publish();
    }

    const TemporaryFolder folder_;
    const std::string path_ = folder_.path("log.h5");
};

TEST_F(ReadLog, Run) {
    const LogReader log(path_);
    EXPECT_EQ(log.state(), "finished");
    EXPECT_EQ(log.run_id(), "abc");
    EXPECT_EQ(log.seed(), 7);
    EXPECT_EQ(log.config_sha256(), "0123");
    EXPECT_EQ(log.resolved_config(), "name = \"größe\"\n");
    EXPECT_FALSE(log.lineage());
}

TEST_F(ReadLog, Series) {
    const LogReader log(path_);
    const std::vector<std::string> columns{"loss", "tokens_seen"};
    EXPECT_EQ(log.columns("train"), columns);
    EXPECT_TRUE(log.columns("nothing").empty());
    const Series loss = log.series("train/loss");
    EXPECT_EQ(loss.steps, (std::vector<std::int64_t>{0, 2, 5}));
    EXPECT_EQ(loss.values, (std::vector<double>{0.5, 2.5, 5.5}));
    EXPECT_EQ(loss.units, "nat/token");
    EXPECT_EQ(loss.long_name, "training loss");
    EXPECT_EQ(log.series("train/tokens_seen").values, (std::vector<double>{0, 200, 500}));
    EXPECT_EQ(log.last_value("train/loss"), 5.5);
    EXPECT_EQ(log.last_step("train"), 5);
}

TEST_F(ReadLog, SeriesThatAreEmptyOrNotThere) {
    const LogReader log(path_);
    EXPECT_TRUE(log.has_series("eval/loss"));
    EXPECT_TRUE(log.series("eval/loss").values.empty());
    EXPECT_TRUE(std::isnan(log.last_value("eval/loss")));
    EXPECT_EQ(log.last_step("eval"), -1);
    EXPECT_FALSE(log.has_series("eval/accuracy"));
    EXPECT_TRUE(std::isnan(log.last_value("eval/accuracy")));
    EXPECT_TRUE(log.steps("nothing").empty());
    EXPECT_EQ(log.last_step("nothing"), -1);
    EXPECT_THROW(log.series("eval/accuracy"), IoError);
}

TEST_F(ReadLog, Metric) {
    const LogReader log(path_);
    EXPECT_EQ(log.metrics(), std::vector<std::string>{"sharpness"});
    EXPECT_FALSE(log.has_metric("overlap"));
    EXPECT_THROW(log.metric("overlap"), IoError);
    const Metric metric = log.metric("sharpness");
    EXPECT_EQ(metric.units, "nat");
    EXPECT_EQ(metric.steps, (std::vector<std::int64_t>{2, 4}));
    EXPECT_EQ(metric.dimensions, (std::vector<std::string>{"layer", "head"}));
    EXPECT_EQ(metric.shape, (hdf5::Dims{2, 3}));
    EXPECT_EQ(metric.row_size(), 6U);
    EXPECT_EQ(metric.values.size(), 12U);
    EXPECT_EQ(metric.last_row(), (std::vector<double>{7, 8, 9, 10, 11, 12}));
    EXPECT_EQ(metric.minimum, 0);
    EXPECT_EQ(metric.null_mean, 0.25);
    EXPECT_EQ(metric.null_std, 0.5);
}

TEST_F(ReadLog, TheRest) {
    const LogReader log(path_);
    EXPECT_EQ(log.parameter_names(), (std::vector<std::string>{"head.weight", "embedding.weight"}));
    const std::vector<LoggedEvent> events = log.events();
    ASSERT_EQ(events.size(), 1U);
    EXPECT_EQ(events[0].step, 3);
    EXPECT_EQ(events[0].kind, "note");
    EXPECT_EQ(events[0].message, "something");
    const std::vector<NamedNumber> floors = log.floors(), references = log.references();
    ASSERT_EQ(floors.size(), 2U);
    EXPECT_EQ(floors[0].name, "both");
    EXPECT_EQ(floors[0].value, 1.25);
    EXPECT_EQ(floors[1].name, "early");
    ASSERT_EQ(references.size(), 2U);
    EXPECT_EQ(references[0].name, "bigram");
    EXPECT_EQ(references[0].value, 1.75);
    EXPECT_EQ(references[1].name, "bag");
    EXPECT_EQ(references[1].value, 1.5);
}

TEST_F(ReadLog, NoSuchRun) {
    EXPECT_THROW(LogReader::of_run(folder_.path("nothing"), "inspect"), UsageError);
    EXPECT_THROW(LogReader(folder_.path("nothing.h5")), IoError);
    EXPECT_EQ(LogReader::of_run(folder_.path(), "inspect").run_id(), "abc");
}

}  // namespace
}  // namespace headscope::experiments
