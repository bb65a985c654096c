#include "experiments/base/files.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "experiments/base/errors.h"
#include "tests/experiments/temporary_folder.h"

namespace headscope::experiments {
namespace {

namespace fs = std::filesystem;

TEST(Files, WhatIsThereIsSeen) {
    const TemporaryFolder temporary;
    const std::string folder = temporary.path();
    std::ofstream(folder + "/b") << "x";
    std::ofstream(folder + "/.a") << "x";
    fs::create_symlink("nowhere", folder + "/c");
    EXPECT_EQ(list_folder(folder), (std::vector<std::string>{".a", "b", "c"}));
    EXPECT_TRUE(list_folder(folder + "/missing").empty());
    EXPECT_THROW(list_folder(folder + "/b"), IoError);
    EXPECT_TRUE(path_exists(folder));
    EXPECT_TRUE(path_exists(folder + "/b"));
    EXPECT_FALSE(path_exists(folder + "/missing/x"));
    EXPECT_FALSE(path_exists(folder + "/b/x"));
    EXPECT_FALSE(path_exists(folder + "/c"));
    EXPECT_THROW(path_exists(folder + "/" + std::string(300, 'x')), IoError);  // too long a name to be looked up
}

}  // namespace
}  // namespace headscope::experiments
