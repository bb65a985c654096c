#include "experiments/storage/run_folder.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "experiments/base/errors.h"
#include "experiments/base/files.h"
#include "tests/experiments/temporary_folder.h"

namespace headscope::experiments {
namespace {

namespace fs = std::filesystem;

using Files = std::vector<std::string>;
const Files files{"checkpoints/start.h5", "unfinished.h5"};

std::string refusal(const std::string& path, bool begins_again) {
    try {
        const NewRunFolder folder(path, begins_again ? files : Files{"config.toml"}, nullptr);
    } catch (const UsageError& error) {
        return error.what();
    }
    return "made";
}

void write(const std::string& path) {
    fs::create_directories(fs::path(path).parent_path());
    std::ofstream(path) << "x";
}

TEST(NewRunFolder, IsNew) {
    const TemporaryFolder temporary;
    const std::string run = temporary.path("runs/deep/a");
    { NewRunFolder(run + "/", {}, nullptr).keep(); }
    EXPECT_TRUE(fs::is_empty(run));
    EXPECT_NE(refusal(run, true), "made");
    EXPECT_EQ(refusal(run, false).find("resume"), std::string::npos) << "nothing can go on in it";
    write(run + "/config.toml");
    EXPECT_NE(refusal(run, false).find("headscope resume " + run), std::string::npos);
    EXPECT_NE(refusal(run, true).find("--out"), std::string::npos);
    write(temporary.path("file"));
    EXPECT_NE(refusal(temporary.path("file"), true).find("exists already"), std::string::npos);
    EXPECT_THROW(NewRunFolder(temporary.path("file/run"), files, nullptr), IoError);
    EXPECT_THROW(NewRunFolder("/proc/run", files, nullptr), IoError);
}

TEST(NewRunFolder, WhatAKilledProcessLeftIsMadeAnew) {
    const TemporaryFolder temporary;
    const std::string run = temporary.path("run");
    for (const char* name :
         {"checkpoints/start.h5", "checkpoints/.start.h5.tmp-4", "unfinished.h5", ".unfinished.h5.tmp-4"})
        write(run + "/" + name);
    EXPECT_NE(refusal(run, false), "made");
    EXPECT_TRUE(fs::exists(run + "/checkpoints/start.h5"));
    {
        NewRunFolder folder(run, files, nullptr);
        EXPECT_EQ(folder.folder().list(), Files{"unfinished.h5"});
        EXPECT_EQ(fs::file_size(run + "/unfinished.h5"), 0U);
        folder.keep();
    }
    EXPECT_EQ(refusal(run, true), "made");
    EXPECT_FALSE(fs::exists(run));
    for (const char* name :
         {"log.h5", "checkpoints/step-00000002.h5", "checkpoints/below/start.h5", "notes", ".notes.tmp-4"}) {
        write(run + "/unfinished.h5");
        write(run + "/" + name);
        EXPECT_NE(refusal(run, true), "made") << name;
        EXPECT_TRUE(fs::exists(run + "/" + name) && fs::exists(run + "/unfinished.h5")) << name;
        fs::remove_all(run);
    }
}

TEST(NewRunFolder, OfALivingProcessIsInUse) {
    const TemporaryFolder temporary;
    const NewRunFolder folder(temporary.path("run"), files, nullptr);
    EXPECT_NE(refusal(temporary.path("run"), true).find("in use"), std::string::npos);
}

/// A failure takes away what this process made, where that is, and nothing else.
TEST(NewRunFolder, AMovedFolderIsNotMistaken) {
    const TemporaryFolder temporary;
    {
        const NewRunFolder folder(temporary.path("run"), files, nullptr);
        write(temporary.path("run/unfinished.h5"));
        fs::rename(temporary.path("run"), temporary.path("moved"));
        write(temporary.path("run/unfinished.h5"));
    }
    EXPECT_TRUE(fs::exists(temporary.path("run/unfinished.h5")));
    EXPECT_TRUE(fs::is_empty(temporary.path("moved")));
}

TEST(RunFolder, TemporaryFilesOfARunAloneAreRemoved) {
    const TemporaryFolder temporary;
    const std::string run = temporary.path("run");
    const std::vector<std::string> left{".log.h5.tmp-1", ".config.toml.tmp-1", ".ablation.h5.tmp-1",
                                        "checkpoints/.step-00000002.h5.tmp-1", "checkpoints/.best.h5.tmp-1"},
        kept{".notes.tmp-1", "checkpoints/.log.h5.tmp-1", ".step-00000002.h5.tmp-1", "checkpoints/.step-2.h5.tmp-1"};
    for (const std::vector<std::string>& names : {left, kept})
        for (const std::string& name : names) write(run + "/" + name);
    remove_temporary_files_of_run(Folder(run));
    for (const std::string& name : left) EXPECT_FALSE(fs::exists(run + "/" + name)) << name;
    for (const std::string& name : kept) EXPECT_TRUE(fs::exists(run + "/" + name)) << name;
}

TEST(RunPaths, OfALogIsItsFolder) {
    EXPECT_EQ(run_folder_of("runs/a"), "runs/a");
    EXPECT_EQ(run_folder_of("runs/a/log.h5"), "runs/a");
    EXPECT_EQ(run_folder_of("log.h5"), ".");
}

TEST(RunPaths, Names) {
    const RunPaths paths("runs/a");
    EXPECT_EQ(paths.folder, "runs/a");
    EXPECT_EQ(paths.log, "runs/a/log.h5");
    EXPECT_EQ(paths.config, "runs/a/config.toml");
    EXPECT_EQ(paths.checkpoints, "runs/a/checkpoints");
    EXPECT_EQ(without_slash("runs/a//"), "runs/a");
    EXPECT_EQ(without_slash("/"), "/");
}

}  // namespace
}  // namespace headscope::experiments
