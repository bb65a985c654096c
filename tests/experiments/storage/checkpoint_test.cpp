#include "experiments/storage/checkpoint.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <functional>

#include "experiments/base/errors.h"
#include "experiments/base/file_replacement.h"
#include "experiments/base/files.h"
#include "experiments/base/sha256.h"
#include "experiments/storage/hdf5.h"
#include "tests/experiments/temporary_folder.h"

namespace headscope::experiments {
namespace {

namespace fs = std::filesystem;
using Names = std::vector<std::string>;

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

class CheckpointFile : public testing::Test {
protected:
    Names names() const {
        Names result;
        for (const auto& entry : fs::directory_iterator(folder_)) result.push_back(entry.path().filename().string());
        std::sort(result.begin(), result.end());
        return result;
    }
    std::string path(std::int64_t step) const { return folder_ + "/" + checkpoint_name(step); }

    const TemporaryFolder temporary_;
    const std::string folder_ = temporary_.path("checkpoints");  // not there yet
};

Checkpoint example(std::int64_t step) {
    Checkpoint checkpoint;
    checkpoint.step = step;
    checkpoint.seed = 7;
    checkpoint.tokens_seen = 123456789012;
    checkpoint.elapsed = 1.25;
    checkpoint.config_identity = std::string(64, 'a');
    checkpoint.data_sha256 = std::string(64, 'b');
    checkpoint.best = {.step = 1500, .loss = 0.75, .since = 2, .last_step = 1900};
    checkpoint.model["blocks.0.attn.W_q.weight"] = Tensor::from({2, 3}, {1, -2.5, 3, 4, 5, 6});
    checkpoint.model["norm.weight"] = Tensor::from({3}, {0.1, 0.2, 0.3}, DType::f64);
    checkpoint.optimizer["norm.weight/exp_avg"] = Tensor::from({3}, {7, 8, 9}, DType::f64);
    checkpoint.optimizer["norm.weight/cursor"] = Tensor::from({2}, {1, 1 << 30}, DType::i64);
    checkpoint.optimizer["norm.weight/step"] = Tensor::from({}, {static_cast<double>(step)}, DType::f64);
    return checkpoint;
}

void expect_equal(const std::map<std::string, Tensor>& a, const std::map<std::string, Tensor>& b) {
    ASSERT_EQ(a.size(), b.size());
    for (const auto& [name, tensor] : a) {
        ASSERT_TRUE(b.contains(name)) << name;
        const Tensor& other = b.at(name);
        ASSERT_EQ(tensor.shape().str(), other.shape().str()) << name;
        ASSERT_EQ(tensor.dtype(), other.dtype()) << name;
        const std::size_t size = static_cast<std::size_t>(tensor.numel()) * size_of(tensor.dtype());
        EXPECT_TRUE(std::equal(tensor.bytes(), tensor.bytes() + size, other.bytes())) << name;
    }
}

std::string refusal(const std::string& path) {
    try {
        load_checkpoint(path);
    } catch (const IoError& error) {
        return error.what();
    }
    return "loaded";
}

/// The folder, made when it is missing.
Folder open_folder(const std::string& path) {
    make_folders(path);
    return Folder(path);
}

// Puts a valid user block before other contents.
std::string sealed(const hdf5::File& file) {
    const std::vector<std::byte> image = file.image();
    char block[512] = {};
    std::snprintf(block, sizeof block, "headscope checkpoint\nformat 0000000001\nlength %020zu\nsha256 %s\n",
                  image.size() + sizeof block, sha256(image).c_str());
    return std::string(block, sizeof block) + std::string(reinterpret_cast<const char*>(image.data()), image.size());
}

TEST_F(CheckpointFile, ComesBack) {
    const Checkpoint saved = example(2000);
    EXPECT_EQ(save_checkpoint(open_folder(folder_), saved, 2), folder_ + "/step-00002000.h5");
    const Checkpoint loaded = load_checkpoint(path(2000));
    EXPECT_EQ(loaded.step, 2000);
    EXPECT_EQ(loaded.seed, 7);
    EXPECT_EQ(loaded.tokens_seen, 123456789012);
    EXPECT_EQ(loaded.elapsed, 1.25);
    EXPECT_EQ(loaded.config_identity, saved.config_identity);
    EXPECT_EQ(loaded.data_sha256, saved.data_sha256);
    EXPECT_EQ(loaded.best.step, 1500);
    EXPECT_EQ(loaded.best.loss, 0.75);
    EXPECT_EQ(loaded.best.since, 2);
    EXPECT_EQ(loaded.best.last_step, 1900);
    expect_equal(saved.model, loaded.model);
    expect_equal(saved.optimizer, loaded.optimizer);
}

TEST_F(CheckpointFile, HoldsNoTruthValues) {
    Checkpoint checkpoint = example(3);
    checkpoint.model["mask"] = Tensor::zeros({2}, DType::boolean);
    EXPECT_THROW(save_checkpoint(open_folder(folder_), checkpoint, 2), Error);
    EXPECT_FALSE(std::filesystem::exists(path(3)));
}

TEST_F(CheckpointFile, EqualContentsAreEqualBytes) {
    save_checkpoint(open_folder(folder_ + "/a"), example(5), 0);
    ::usleep(1100000);
    save_checkpoint(open_folder(folder_ + "/b"), example(5), 0);
    EXPECT_EQ(read_file(folder_ + "/a/step-00000005.h5"), read_file(folder_ + "/b/step-00000005.h5"));
}

TEST_F(CheckpointFile, AnyToolOpensIt) {
    save_checkpoint(open_folder(folder_), example(5), 0);
    const hdf5::File file = hdf5::File::open(path(5));
    EXPECT_EQ(file.read<float>("/model/blocks.0.attn.W_q.weight"), (std::vector<float>{1, -2.5, 3, 4, 5, 6}));
    EXPECT_EQ(file.read<double>("/optimizer/norm.weight/exp_avg"), (std::vector<double>{7, 8, 9}));
    EXPECT_EQ(file.integer_attribute("/trainer", "step"), 5);
}

TEST_F(CheckpointFile, EveryFlippedBitIsRefused) {
    save_checkpoint(open_folder(folder_), example(5), 0);
    std::string bytes = read_file(path(5));
    const std::string copy = folder_ + "/flipped.h5";
    fs::copy_file(path(5), copy);
    std::FILE* file = std::fopen(copy.c_str(), "r+b");
    ASSERT_NE(file, nullptr);
    const auto put = [&](std::size_t at, char value) {
        std::fseek(file, static_cast<long>(at), SEEK_SET);
        std::fputc(value, file);
        std::fflush(file);
    };
    for (std::size_t at = 0; at < bytes.size(); ++at) {
        for (int bit = 0; bit < 8; ++bit) {
            put(at, static_cast<char>(bytes[at] ^ (1 << bit)));
            const std::string message = refusal(copy);
            ASSERT_TRUE(message.starts_with(copy + ": ")) << "byte " << at << " bit " << bit << ": " << message;
            ASSERT_NE(message.find("headscope resume"), std::string::npos) << message;
        }
        put(at, bytes[at]);
    }
    std::fclose(file);
    EXPECT_EQ(refusal(copy), "loaded");
}

TEST_F(CheckpointFile, EveryTruncationIsRefused) {
    save_checkpoint(open_folder(folder_), example(5), 0);
    const auto size = static_cast<std::int64_t>(fs::file_size(path(5)));
    for (std::int64_t length = size - 1; length >= 0; --length) {
        fs::resize_file(path(5), static_cast<std::uintmax_t>(length));
        ASSERT_NE(refusal(path(5)).find("truncated: "), std::string::npos) << length;
    }
    save_checkpoint(open_folder(folder_), example(5), 0);
    write_file_atomically(path(5), bytes_of(read_file(path(5)) + '\0'));
    EXPECT_NE(refusal(path(5)).find("damaged"), std::string::npos);
}

TEST_F(CheckpointFile, RefusalsSayWhatIsWrong) {
    fs::create_directories(folder_);
    EXPECT_EQ(refusal(path(1)), path(1) + ": cannot be opened: No such file or directory; check the path");
    write_file_atomically(path(1), bytes_of(std::string(2000, 'x')));
    EXPECT_NE(refusal(path(1)).find("not a checkpoint"), std::string::npos);
    save_checkpoint(open_folder(folder_), example(5), 0);
    std::string newer = read_file(path(5));
    newer.replace(newer.find("0000000001"), 10, "0000000002");
    write_file_atomically(path(5), bytes_of(newer));
    EXPECT_NE(refusal(path(5)).find("checkpoint format 2"), std::string::npos);
}

TEST_F(CheckpointFile, StrangeContentsAreRefusedBehindAGoodChecksum) {
    const std::vector<double> values(128, 1);
    const auto refuse = [&](const char* what, const std::function<void(hdf5::File&)>& add) {
        hdf5::File file = hdf5::File::create_in_memory(512);
        for (const char* group : {"/model", "/optimizer", "/trainer"}) file.make_group(group);
        for (const char* name : {"step", "seed", "tokens_seen"}) file.set_attribute("/trainer", name, std::int64_t{3});
        file.set_attribute("/trainer", "elapsed", 1.0);
        file.set_attribute("/trainer", "config_sha256", std::string("x"));
        add(file);
        fs::create_directories(folder_);
        write_file_atomically(path(3), bytes_of(sealed(file)));
        return refusal(path(3)).find(what) != std::string::npos;
    };
    EXPECT_TRUE(refuse("loaded", [](hdf5::File&) {}));
    EXPECT_TRUE(refuse("/model/w is not a tensor", [&](hdf5::File& file) {
        file.write<double>("/model/w", {2, 2, 2, 2, 2, 2, 2}, values);
    }));
    EXPECT_TRUE(refuse("/model/w is not a tensor", [](hdf5::File& file) { file.write_text("/model/w", "text"); }));
    EXPECT_TRUE(refuse("/model/w is not a dataset", [](hdf5::File& file) { file.make_group("/model/w"); }));
    EXPECT_TRUE(refuse("/optimizer/w is not a group",
                       [&](hdf5::File& file) { file.write<double>("/optimizer/w", {128}, values); }));
    EXPECT_TRUE(refuse("/optimizer is missing", [](hdf5::File& file) { file.remove("/optimizer"); }));
    EXPECT_TRUE(refuse("attribute step is of the wrong type",
                       [](hdf5::File& file) { file.set_attribute("/trainer", "step", 3.0); }));
    EXPECT_TRUE(refuse("has no attribute", [](hdf5::File& file) {
        file.remove("/trainer");
        file.make_group("/trainer");
    }));
}

TEST_F(CheckpointFile, KeepsTheNewest) {
    for (const std::int64_t step : {500, 1000, 1500}) save_checkpoint(open_folder(folder_), example(step), 2);
    EXPECT_EQ(list_checkpoints(folder_), (std::vector<std::int64_t>{1000, 1500}));
    save_checkpoint(open_folder(folder_), example(2000), 0);
    EXPECT_EQ(list_checkpoints(folder_), (std::vector<std::int64_t>{1000, 1500, 2000}));
    // After falling back to step 1000: the one just written stays, whatever lies ahead.
    save_checkpoint(open_folder(folder_), example(1200), 1);
    EXPECT_EQ(list_checkpoints(folder_), (std::vector<std::int64_t>{1200, 1500, 2000}));
    EXPECT_EQ(names(), (Names{"step-00001200.h5", "step-00001500.h5", "step-00002000.h5"}));
}

TEST_F(CheckpointFile, TheBestOneStandsApart) {
    for (const std::int64_t step : {500, 1000}) save_checkpoint(open_folder(folder_), example(step), 0);
    EXPECT_EQ(save_best_checkpoint(open_folder(folder_), example(700)), folder_ + "/best.h5");
    save_best_checkpoint(open_folder(folder_), example(1000));
    EXPECT_EQ(load_checkpoint(folder_ + "/best.h5").step, 1000);
    EXPECT_EQ(names(), (Names{"best.h5", "step-00000500.h5", "step-00001000.h5"}));
    EXPECT_EQ(list_checkpoints(folder_), (std::vector<std::int64_t>{500, 1000}));
}

TEST(BestEvaluation, IsTheLowestAndTheFirstOfEquals) {
    BestEvaluation best;
    EXPECT_FALSE(best.exhausted(1));
    best.count(0, 3);
    best.count(10, 2);
    best.count(20, 2);
    best.count(30, 2.5);
    EXPECT_EQ(best.step, 10);
    EXPECT_EQ(best.loss, 2);
    EXPECT_EQ(best.since, 2);
    best.count(30, 1);  // counted already
    best.count(20, 1);
    EXPECT_EQ(best.step, 10);
    EXPECT_TRUE(best.exhausted(2));
    EXPECT_FALSE(best.exhausted(3));
    EXPECT_FALSE(best.exhausted(0));
    best.count(40, 1.5);
    EXPECT_EQ(best.step, 40);
    EXPECT_FALSE(best.exhausted(1));
}

TEST(BestEvaluation, NothingMeasuredIsNotCounted) {
    BestEvaluation best;
    for (const std::int64_t step : {0, 10, 20}) best.count(step, std::nan(""));
    EXPECT_EQ(best.step, -1);
    EXPECT_FALSE(best.exhausted(1));
    best.count(30, 2);
    best.count(40, std::nan(""));
    EXPECT_EQ(best.step, 30);
    EXPECT_FALSE(best.exhausted(1));
    best.count(50, 2);
    EXPECT_TRUE(best.exhausted(1));
}

TEST_F(CheckpointFile, ListsCheckpointsAlone) {
    EXPECT_TRUE(list_checkpoints(folder_).empty());
    fs::create_directories(folder_);
    for (const char* name :
         {"step-00000007.h5", "step-123456789012.h5", "step-7.h5", "step-0000000007.h5", ".step-00000008.h5.tmp-4",
          "step-00000009.h5~", "step--0000001.h5", "best.h5", "step-99999999999999999999.h5", "step-00000x10.h5"}) {
        write_file_atomically(folder_ + "/" + name, {});
    }
    EXPECT_EQ(list_checkpoints(folder_), (std::vector<std::int64_t>{7, 123456789012}));
}

TEST_F(CheckpointFile, FallsBackToTheNewestGoodOne) {
    std::vector<std::string> passed_over;
    EXPECT_FALSE(load_newest_good(folder_, passed_over).has_value());
    for (const std::int64_t step : {10, 20, 30}) save_checkpoint(open_folder(folder_), example(step), 0);
    fs::resize_file(path(30), 700);
    std::string bytes = read_file(path(20));
    bytes.back() = static_cast<char>(bytes.back() ^ 4);
    write_file_atomically(path(20), bytes_of(bytes));
    const std::optional<Checkpoint> found = load_newest_good(folder_, passed_over);
    ASSERT_TRUE(found.has_value());
    EXPECT_EQ(found->step, 10);
    ASSERT_EQ(passed_over.size(), 2U);
    EXPECT_NE(passed_over[0].find("step-00000030.h5: truncated"), std::string::npos);
    EXPECT_NE(passed_over[1].find("step-00000020.h5: damaged"), std::string::npos);
}

TEST_F(CheckpointFile, FailedSaveDeletesNothing) {
    save_checkpoint(open_folder(folder_), example(10), 1);
    fs::create_directories(path(20) + "/in/the/way");
    EXPECT_THROW(save_checkpoint(open_folder(folder_), example(20), 1), IoError);
    EXPECT_EQ(load_checkpoint(path(10)).step, 10);
    EXPECT_EQ(names(), (Names{"step-00000010.h5", "step-00000020.h5"}));
}

}  // namespace
}  // namespace headscope::experiments
