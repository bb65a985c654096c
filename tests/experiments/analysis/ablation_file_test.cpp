#include "experiments/analysis/ablation_file.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "experiments/base/errors.h"
#include "experiments/base/file_replacement.h"
#include "experiments/base/files.h"
#include "experiments/storage/hdf5.h"
#include "tests/experiments/temporary_folder.h"

namespace headscope::experiments {
namespace {

/// 2 layers, 3 heads, 4 draws; every number tells its place and the step.
AblationResult made_up(std::int64_t step, std::vector<std::string> classes = {"near", "far"}) {
    AblationResult result;
    result.layers = 2;
    result.heads = 3;
    result.draws = 4;
    result.eval_batches = 5;
    result.classes = std::move(classes);
    result.step = step;
    double next = static_cast<double>(step);
    const auto losses = [&] {
        next += 1;
        Losses made{next + 0.5, {}, next + 0.1, next + 0.2, {}};
        for (std::size_t c = 0; c < result.classes.size(); ++c) {
            made.class_loss.push_back(next + 0.3 + static_cast<double>(c));
            made.class_loss_refit.push_back(next + 0.4 + static_cast<double>(c));
        }
        return made;
    };
    result.baseline = losses();
    for (int i = 0; i < 2 * 3 * 3; ++i) result.ablated.push_back(losses());
    for (int i = 0; i < 2 * 3 * 4; ++i) result.directions.push_back(losses());
    result.control_head = {1, 2, 0, 2, 0, 1};
    result.importance = {next, 2, 3, 4, 5, 6};
    result.spearman = {0.25, -0.5, std::numeric_limits<double>::quiet_NaN()};
    return result;
}

class AblationFile : public testing::Test {
protected:
    const TemporaryFolder temporary_;
    const std::string path_ = temporary_.path("ablation.h5");

    /// The message of the Kind that body throws; the file must be as before.
    template <class Kind>
    std::string refused(const std::function<void()>& body) {
        const std::string before = read_file(path_);
        std::string message;
        try {
            body();
        } catch (const Kind& error) {
            message = error.what();
        }
        EXPECT_EQ(read_file(path_), before);
        EXPECT_EQ(std::distance(std::filesystem::directory_iterator(temporary_.path()), {}), 1);
        return message;
    }
};

#define EXPECT_HAS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

TEST_F(AblationFile, HoldsARowForEachStepInOrder) {
    for (const std::int64_t step : {20, 0, 20}) {
        AblationResult result = made_up(step);
        write_ablation(path_, "run", result);
    }
    AblationResult again = made_up(0);
    again.baseline.loss = 77;  // takes the place of the first
    write_ablation(path_, "run", again);

    const hdf5::File file = hdf5::File::open(path_);
    EXPECT_EQ(file.read<std::int64_t>("/step"), (std::vector<std::int64_t>{0, 20}));
    EXPECT_EQ(file.read<double>("/baseline_loss"), (std::vector<double>{77, 21.5}));
    const AblationResult other = made_up(20);
    const auto at = [&](const std::string& name, std::size_t index) { return file.read<double>(name).at(index); };
    // Step 20 is the second row; layer 1, head 2, resample.
    const Losses& losses = other.of(1, 2, Ablation::resample);
    const std::size_t place = 18 + (1 * 3 + 2) * 3 + 2;
    EXPECT_EQ(at("/loss", place), losses.loss);
    EXPECT_EQ(at("/delta", place), losses.loss - other.baseline.loss);
    EXPECT_EQ(at("/loss_refit", place), losses.loss_refit);
    EXPECT_EQ(at("/inverse_temperature", place), losses.inverse_temperature);
    EXPECT_EQ(at("/control_delta", place), other.delta(1, 1, Ablation::resample));
    EXPECT_EQ(at("/class_loss", place * 2 + 1), losses.class_loss[1]);
    EXPECT_EQ(at("/class_delta", place * 2), losses.class_loss[0] - other.baseline.class_loss[0]);
    EXPECT_EQ(at("/class_loss_refit", place * 2 + 1), losses.class_loss_refit[1]);
    EXPECT_EQ(at("/direction_delta", 24 + 5 * 4 + 3), other.direction_delta(1, 2, 3));
    EXPECT_EQ(at("/direction_loss_refit", 24 + 5 * 4 + 3), other.direction(1, 2, 3).loss_refit);
    EXPECT_EQ(at("/importance", 6 + 5), 6);
    EXPECT_EQ(at("/spearman", 3 + 1), -0.5);
    EXPECT_TRUE(std::isnan(at("/spearman", 3 + 2)));
    EXPECT_EQ(at("/baseline_class_loss", 2 + 1), other.baseline.class_loss[1]);
    EXPECT_EQ(at("/baseline_inverse_temperature", 1), other.baseline.inverse_temperature);
    EXPECT_EQ(file.read<std::int64_t>("/control_head").at(6 + 5), 1);
    EXPECT_EQ(file.info("/class_loss").shape, (hdf5::Dims{2, 2, 3, 3, 2}));
    EXPECT_EQ(file.read_texts("/ablation"), (std::vector<std::string>{"zero", "mean", "resample"}));
    EXPECT_EQ(file.read_texts("/class"), (std::vector<std::string>{"near", "far"}));
    EXPECT_EQ(file.text_attribute("/", "schema_name"), "headscope.ablation");
    EXPECT_EQ(file.text_attribute("/", "run_id"), "run");
    EXPECT_EQ(file.integer_attribute("/", "draws"), 4);
    for (const std::string& name : file.children("/")) {
        EXPECT_NE(file.text_attribute("/" + name, "units"), "") << name;
        EXPECT_NE(file.text_attribute("/" + name, "long_name"), "") << name;
    }
}

TEST_F(AblationFile, WithoutClassesHasNone) {
    write_ablation(path_, "run", made_up(3, {}));
    write_ablation(path_, "run", made_up(1, {}));
    const hdf5::File file = hdf5::File::open(path_);
    for (const std::string& name : file.children("/")) EXPECT_EQ(name.find("class"), std::string::npos) << name;
    EXPECT_EQ(file.info("/loss").shape, (hdf5::Dims{2, 2, 3, 3}));
}

TEST_F(AblationFile, EqualResultsAreEqualBytes) {
    write_ablation(path_, "run", made_up(3));
    const std::string first = read_file(path_);
    write_ablation(path_, "run", made_up(3));
    EXPECT_EQ(read_file(path_), first);
}

TEST_F(AblationFile, RefusesRowsOfOtherSettings) {
    EXPECT_NO_THROW(check_ablation_file(path_, "run", made_up(0)));
    EXPECT_FALSE(std::filesystem::exists(path_));
    write_ablation(path_, "run", made_up(3));
    EXPECT_NO_THROW(check_ablation_file(path_, "run", made_up(0)));
    const auto message = [&](const std::string& run_id, const std::function<void(AblationResult&)>& change) {
        AblationResult result = made_up(5);
        change(result);
        const std::string early = refused<UsageError>([&] { check_ablation_file(path_, run_id, result); });
        EXPECT_EQ(refused<UsageError>([&] { write_ablation(path_, run_id, result); }), early);
        EXPECT_HAS(early, "--out, or remove");
        return early;
    };
    EXPECT_HAS(message("other", [](AblationResult&) {}), "another run");
    EXPECT_HAS(message("run", [](AblationResult& result) { result.draws = 3; }), "draws = 4, not 3");
    EXPECT_HAS(message("run", [](AblationResult& result) { result.eval_batches = 8; }), "eval_batches = 5, not 8");
    EXPECT_HAS(message("run", [](AblationResult& result) { result.heads = 2; }), "`head`");
    EXPECT_HAS(message("run", [](AblationResult& result) { result.classes = {"near", "fur"}; }), "`class`");
    EXPECT_HAS(message("run", [](AblationResult& result) { result.classes = {}; }), "classes");
}

TEST_F(AblationFile, RefusesWhatIsDamagedOrSomethingElse) {
    write_ablation(path_, "run", made_up(3));
    const std::string whole = read_file(path_);
    const auto message = [&](const std::string& bytes) {
        std::ofstream(path_, std::ios::binary) << bytes;
        return refused<IoError>([&] { write_ablation(path_, "run", made_up(5)); });
    };
    for (const std::size_t place : {std::size_t{3}, whole.size() / 2, whole.size() - 100, whole.size() - 2}) {
        std::string flipped = whole;
        flipped[place] = static_cast<char>(flipped[place] ^ 4);
        EXPECT_HAS(message(flipped), path_) << place;
    }
    EXPECT_HAS(message(whole.substr(0, whole.size() / 2)), path_);
    EXPECT_HAS(message("no HDF5"), path_);
    EXPECT_HAS(message(""), path_);

    hdf5::File other = hdf5::File::create_in_memory();
    other.set_attribute("/", "schema_name", std::string("somebody.else"));
    write_file_atomically(path_, other.image());
    EXPECT_HAS(refused<UsageError>([&] { write_ablation(path_, "run", made_up(5)); }), "no file of `headscope ablate`");
}

}  // namespace
}  // namespace headscope::experiments
