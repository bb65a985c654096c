#include "experiments/base/folder.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "experiments/base/errors.h"
#include "tests/experiments/temporary_folder.h"

namespace headscope::experiments {
namespace {

namespace fs = std::filesystem;

TEST(Folder, IsTheSameWhereverItIs) {
    const TemporaryFolder temporary;
    fs::create_directory(temporary.path("a"));
    const Folder folder(temporary.path("a"));
    std::ofstream(temporary.path("a/file")) << "x";
    EXPECT_TRUE(folder.is_in_place());
    fs::rename(temporary.path("a"), temporary.path("b"));
    EXPECT_FALSE(folder.is_in_place());
    fs::create_directory(temporary.path("a"));
    EXPECT_FALSE(folder.is_in_place());
    EXPECT_EQ(folder.list(), std::vector<std::string>{"file"});
    folder.rename("file", "other");
    EXPECT_TRUE(folder.subfolder("below").is_in_place() == false);
    EXPECT_EQ(folder.list(), (std::vector<std::string>{"below", "other"}));
    EXPECT_TRUE(folder.remove("other"));
    EXPECT_FALSE(folder.remove("other"));
    EXPECT_TRUE(fs::is_empty(temporary.path("a")));
}

TEST(Folder, NoLinkInItIsFollowed) {
    const TemporaryFolder temporary;
    fs::create_directory(temporary.path("run"));
    fs::create_directory(temporary.path("elsewhere"));
    fs::create_directory_symlink("run", temporary.path("named"));
    const Folder folder(temporary.path("named"));  // whoever names a link means what it leads to
    EXPECT_TRUE(folder.is_in_place());
    fs::create_directory_symlink("../elsewhere", temporary.path("run/checkpoints"));
    std::ofstream(temporary.path("run/file")) << "x";
    for (const auto& [name, reason] : {std::pair("checkpoints", "is a link"), std::pair("file", "is no folder")}) {
        try {
            folder.subfolder(name);
            ADD_FAILURE() << name;
        } catch (const IoError& error) {
            EXPECT_NE(std::string(error.what()).find(folder.path_of(name) + ": " + reason), std::string::npos)
                << error.what();
        }
    }
    EXPECT_TRUE(fs::is_empty(temporary.path("elsewhere")));
}

}  // namespace
}  // namespace headscope::experiments
