#include "experiments/storage/hdf5_overlay.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <numeric>
#include <random>

#include "experiments/base/errors.h"
#include "experiments/base/file_replacement.h"
#include "experiments/base/files.h"
#include "experiments/storage/hdf5.h"
#include "tests/experiments/temporary_folder.h"

namespace headscope::experiments::hdf5 {
namespace {

using Bytes = std::vector<std::byte>;

class OverlayOfAFile : public testing::Test {
protected:
    Bytes random_bytes(std::size_t size) {
        Bytes bytes(size);
        for (std::byte& byte : bytes) byte = static_cast<std::byte>(random_());
        return bytes;
    }

    /// Reads and writes at random places, the same of a vector that is the truth.
    void check_against(Overlay& overlay, Bytes truth) {
        for (int count = 0; count < 300; ++count) {
            const std::size_t at = random_() % (5 * Overlay::page_size), size = random_() % (2 * Overlay::page_size);
            if (random_() % 2 == 0) {
                const Bytes bytes = random_bytes(size);
                overlay.write(at, bytes);
                if (truth.size() < at + size) truth.resize(at + size);
                std::ranges::copy(bytes, truth.begin() + static_cast<std::ptrdiff_t>(at));
            } else {
                Bytes expected(size);
                for (std::size_t i = 0; i < size && at + i < truth.size(); ++i) expected[i] = truth[at + i];
                Bytes found = random_bytes(size);
                ASSERT_TRUE(overlay.read(at, found));
                ASSERT_EQ(found, expected) << at << " " << size;
            }
        }
        EXPECT_EQ(overlay.size(), truth.size());
        Bytes all;
        overlay.read_all([&](std::span<const std::byte> bytes) { all.insert(all.end(), bytes.begin(), bytes.end()); });
        EXPECT_EQ(all, truth);
        EXPECT_EQ(list_folder(temporary_.path()), files_) << "a file has been left";
    }

    std::mt19937 random_{3};
    const TemporaryFolder temporary_;
    const std::string path_ = temporary_.path("log.h5");
    std::vector<std::string> files_;
};

TEST_F(OverlayOfAFile, ReadsWhatWasWritten) {
    for (const std::size_t most_pages : {Overlay::default_pages, std::size_t{2}, std::size_t{1}}) {
        Overlay overlay(path_, most_pages);
        check_against(overlay, {});
    }
}

TEST_F(OverlayOfAFile, TheFileBelowStaysAsItIs) {
    files_ = {"base"};
    const std::string base = temporary_.path("base");
    const Bytes bytes = random_bytes(3 * Overlay::page_size + 777);
    write_file_atomically(base, bytes);
    for (const std::size_t most_pages : {Overlay::default_pages, std::size_t{2}}) {
        const Descriptor file = open_file(base, O_RDONLY);
        const std::size_t size = bytes.size() - 70;  // what follows is not part of it
        Overlay overlay(path_, file, size, most_pages);
        check_against(overlay, Bytes(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size)));
        const std::string after = read_file(base);
        EXPECT_EQ(after, std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
    }
}

// More than fits into the pages: the values come from all three places.
TEST_F(OverlayOfAFile, Hdf5WorksInIt) {
    const auto values = [](std::size_t count, double first) {
        std::vector<double> all(count);
        std::iota(all.begin(), all.end(), first);
        for (double& value : all) value = std::sin(value);
        return all;
    };
    constexpr std::size_t rows = 100'000;
    Overlay first(path_, 3);
    {
        File file = File::create_in(first, path_);
        file.create_growing("/train/loss", Type::f64, {});
        for (std::size_t at = 0; at < rows; at += rows / 10)
            file.append_rows<double>("/train/loss", values(rows / 10, static_cast<double>(at)));
        file.close();
    }
    FileReplacement written(path_);
    first.read_all([&](std::span<const std::byte> bytes) { written.write(bytes); });
    const Descriptor base = written.share();
    written.replace();
    EXPECT_GT(first.size(), 4 * Overlay::page_size);

    Overlay second(path_, base, first.size(), 3);
    {
        File file = File::open_in(second, path_);
        file.truncate_rows("/train/loss", rows - 5);
        file.append_rows<double>("/train/loss", values(rows, rows - 5));
        file.set_attribute("/train", "more", std::int64_t{7});
        EXPECT_EQ(file.read<double>("/train/loss"), values(2 * rows - 5, 0));
        file.close();
    }
    second.check();
    FileReplacement longer(path_);
    second.read_all([&](std::span<const std::byte> bytes) { longer.write(bytes); });
    longer.replace();
    EXPECT_EQ(File::open(path_).read<double>("/train/loss"), values(2 * rows - 5, 0));
    EXPECT_EQ(File::open(path_).integer_attribute("/train", "more"), 7);
}

TEST_F(OverlayOfAFile, FailuresAreToldByCheck) {
    Overlay nowhere(temporary_.path("missing/log.h5"), 1);
    const Bytes bytes(3 * Overlay::page_size);
    nowhere.write(0, bytes);  // there is no folder for the second page
    EXPECT_THROW(nowhere.check(), IoError);
    EXPECT_THROW(nowhere.read_all([](std::span<const std::byte>) {}), IoError);

    write_file_atomically(path_, bytes);
    const Descriptor file = open_file(path_, O_RDONLY);
    Overlay shorter(path_, file, bytes.size() + 1);  // than it was said to be
    Bytes read(bytes.size() + 1);
    EXPECT_FALSE(shorter.read(0, read));
    EXPECT_THROW(shorter.check(), IoError);
}

}  // namespace
}  // namespace headscope::experiments::hdf5
