// Reads the sources of the project. Fails on an #include that points up, from a folder to one that stands above it, and
// on what only one floor may know.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <regex>
#include <string>
#include <vector>

namespace headscope::experiments {
namespace {

namespace fs = std::filesystem;

/// Folders by floor, from the ground up. A file may include those of its own floor and of the floors below.
const std::vector<std::vector<std::string>> floors{
    {"autograd"},
    {"nn"},
    {"optim"},
    {"experiments/base"},
    {"experiments/storage"},
    {"experiments/tasks", "experiments/probes", "experiments/optimizers", "experiments/schedules",
     "experiments/attentions", "experiments/positions", "experiments/norms", "experiments/feed_forwards",
     "experiments/interventions"},
    {"experiments/config"},
    {"experiments/training"},
    {"experiments/study", "experiments/analysis"},
    {"experiments/report", "experiments/cli"},
};

/// The floor of a path below the source folder; nothing when it lies in none.
std::optional<std::size_t> floor_of(const std::string& path) {
    for (std::size_t floor = 0; floor < floors.size(); ++floor)
        for (const std::string& folder : floors[floor])
            if (path.starts_with(folder + "/")) return floor;
    return std::nullopt;
}

/// Includes of the project's own headers, by the path that they are written with.
std::vector<std::string> includes_of(const fs::path& file) {
    static const std::regex line_of(R"re(^#include "((?:autograd|nn|optim|experiments)/[^"]+)")re");
    std::vector<std::string> included;
    std::ifstream text(file);
    std::smatch found;
    for (std::string line; std::getline(text, line);)
        if (std::regex_search(line, found, line_of)) included.push_back(found[1]);
    return included;
}

const fs::path source_folder = HEADSCOPE_SOURCE;

/// Paths of all headers and sources, relative to the source folder.
std::vector<std::string> project_files() {
    std::vector<std::string> files;
    for (const char* top : {"autograd", "nn", "optim", "experiments"})
        for (const auto& entry : fs::recursive_directory_iterator(source_folder / top)) {
            const std::string extension = entry.path().extension().string();
            if (extension == ".h" || extension == ".cpp")
                files.push_back(entry.path().lexically_relative(source_folder).string());
        }
    return files;
}

TEST(Includes, NoArrowPointsUp) {
    std::size_t arrows = 0;
    for (const std::string& file : project_files()) {
        const auto floor = floor_of(file);
        ASSERT_TRUE(floor) << file << " lies in no folder that this test knows; add it to the table of floors";
        for (const std::string& included : includes_of(source_folder / file)) {
            const auto other = floor_of(included);
            ASSERT_TRUE(other) << file << " includes " << included << ", which lies in no known folder";
            EXPECT_LE(*other, *floor) << file << " includes " << included << ", which stands above it";
            EXPECT_FALSE(file.starts_with("autograd/kernels/") && included.starts_with("autograd/ops/"))
                << file << " includes " << included << "; ops are made of kernels";
            ++arrows;
        }
    }
    EXPECT_GT(arrows, 500u) << "hardly any include was found; does the test still read them?";
}

TEST(Includes, OnlyTheirOwnFloorsKnowHdf5TomlAndTheTerminal) {
    for (const std::string& file : project_files()) {
        std::ifstream text(source_folder / file);
        for (std::string line; std::getline(text, line);) {
            if (line.starts_with("#include <hdf5")) {
                EXPECT_TRUE(file.starts_with("experiments/storage/")) << file << ": " << line;
            } else if (line.starts_with("#include <toml++")) {
                EXPECT_TRUE(file.starts_with("experiments/config/")) << file << ": " << line;
            } else if (line.starts_with("#include <CLI/")) {
                EXPECT_TRUE(file.starts_with("experiments/cli/")) << file << ": " << line;
            }
        }
    }
}

TEST(Includes, OnlyOutputWritesToAStandardStream) {
    static const std::regex writes(
        R"re(fmt::print\(|std::(cout|cerr|clog)|\b(printf|puts|putchar|fputs|fprintf|fwrite)\()re");
    std::size_t found = 0;
    for (const std::string& file : project_files()) {
        std::ifstream text(source_folder / file);
        for (std::string line; std::getline(text, line);) {
            if (!std::regex_search(line, writes)) continue;
            // The progress bar has sequences of its own around a text made printable.
            if (file == "experiments/cli/output.cpp" || file == "experiments/cli/progress.cpp") ++found;
            else ADD_FAILURE() << file << ": " << line << "; print by experiments/cli/output.h";
        }
    }
    EXPECT_GE(found, 3u) << "hardly any was found; does the test still know how they are written?";
}

TEST(Includes, OnlyStorageKnowsPathsInsideALog) {
    static const std::regex path_of(R"re("/?(train|eval|heads|task|config|parameters|events)/[a-z_/]*/[a-z_]*")re"
                                    R"re(|"/(train|eval|heads|task|config|parameters|events)/?[a-z_]*")re");
    std::size_t inside = 0;
    for (const std::string& file : project_files()) {
        std::ifstream text(source_folder / file);
        std::smatch found;
        for (std::string line; std::getline(text, line);) {
            if (!std::regex_search(line, found, path_of)) continue;
            if (file.starts_with("experiments/storage/")) ++inside;
            else ADD_FAILURE() << file << " names " << found[0] << "; let LogReader or Log do that";
        }
    }
    EXPECT_GT(inside, 10u) << "hardly any path was found; does the test still know how they are written?";
}

}  // namespace
}  // namespace headscope::experiments
