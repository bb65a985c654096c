// Where a data file is looked for, and how a config notes it.
#include "experiments/base/data_path.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "experiments/base/errors.h"
#include "tests/experiments/tasks/toy_task.h"
#include "tests/experiments/temporary_folder.h"

namespace headscope::experiments {
namespace {

namespace fs = std::filesystem;
using Places = std::vector<std::string>;

std::string here(const std::string& name) { return (fs::current_path() / name).string(); }

TEST(DataPath, PlacesInOrderEachOnce) {
    EXPECT_EQ((DataPath{"", "/a/t", "/b/t"}.places()), Places{});
    EXPECT_EQ((DataPath{"d/../t", "", ""}.places()), (Places{here("t")}));
    EXPECT_EQ((DataPath{"t", "/a/t", "/b/runs/../t"}.places()), (Places{here("t"), "/a/t", "/b/t"}));
    EXPECT_EQ((DataPath{"/a/t", "/a/t", "/a/t"}.places()), (Places{"/a/t"}));
}

TEST(DataPath, TheFirstThatIsThere) {
    const TemporaryFolder folder;
    DataPath path{folder.path("a"), folder.path("b"), folder.path("c")};
    EXPECT_EQ(path.found(), std::nullopt);
    try {
        path.require("text", "task.path", ", or so");
        FAIL() << "no error";
    } catch (const IoError& error) {
        EXPECT_EQ(std::string(error.what()), "text: " + folder.path("a") + ", " + folder.path("b") + ", " +
                                                 folder.path("c") +
                                                 " do not exist; task.path=FILE says where the file is, or so");
    }
    for (const char* name : {"c", "b", "a"}) {
        std::ofstream(folder.path(name)) << "x";
        EXPECT_EQ(path.found(), folder.path(name));
        EXPECT_EQ(path.require("text", "task.path"), folder.path(name));
    }
    EXPECT_THROW(DataPath{}.require("text", "task.path"), UsageError);
}

TEST(DataPath, ConfigsNoteIt) {
    const std::string file = minimal + "path = \"d/t\"\n";
    const auto places_in = [](const std::string& text, const std::vector<std::string>& overrides = {}) {
        return toy(parse_config(text, "config.toml", overrides)).path.places();
    };
    EXPECT_EQ(places_in(file), (Places{here("d/t")}));
    const std::string noted = file + "absolute_path = \"/a/d/t\"\n";
    EXPECT_EQ(places_in(noted), (Places{here("d/t"), "/a/d/t"}));
    // What was noted of another file says nothing of this one.
    EXPECT_EQ(places_in(noted, {"task.path=d/t"}), (Places{here("d/t")}));
    EXPECT_EQ(places_in(minimal + "path = \"u\"\nabsolute_path = \"/a/d/t\"\n"), (Places{here("u")}));

    const std::string resolved = parse_config(noted, "config.toml").resolved();
    EXPECT_NE(resolved.find("path = \"d/t\"\nabsolute_path = \"/a/d/t\"\n"), std::string::npos) << resolved;
    EXPECT_EQ(parse_config(minimal, "c.toml").resolved().find("absolute_path"), std::string::npos);
}

TEST(DataPath, IsNoPartOfARunsIdentity) {
    const auto config = [](const std::string& path) {
        return parse_config(minimal + "path = \"" + path + "\"\n", "c.toml");
    };
    EXPECT_EQ(config_identity(config("/a/t")), config_identity(config("u")));
    EXPECT_EQ(config_identity(config("/a/t")), config_identity(parse_config(minimal, "c.toml")));
    EXPECT_NE(config_identity_1_0(config("/a/t")), config_identity_1_0(config("u")));
    EXPECT_EQ(config_identity_1_0(config("u")), config_identity_1_0(config(here("u"))));
    EXPECT_EQ(config_identity_1_0(parse_config(minimal, "c.toml")), config_identity(parse_config(minimal, "c.toml")));

    for (const char* key : {"task.path", "task.absolute_path", "task.eval_path", "task.absolute_eval_path"})
        EXPECT_TRUE(is_data_path(key)) << key;
    for (const char* key : {"path", "task.seq_len", "task.type", "model.path"}) EXPECT_FALSE(is_data_path(key)) << key;
    EXPECT_EQ(data_overrides({"task.seq_len=3", "task.path = x", "log.every=1"}), (Places{"task.path = x"}));
    EXPECT_NO_THROW(check_resume_overrides({"task.path=x", "train.steps=9"}));
    EXPECT_NO_THROW(check_data_overrides({"task.eval_path=x"}));
    EXPECT_THROW(check_data_overrides({"task.path=x", "train.steps=9"}), UsageError);
}

}  // namespace
}  // namespace headscope::experiments
