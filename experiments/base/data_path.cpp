#include "experiments/base/data_path.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>

#include "experiments/base/errors.h"
#include "experiments/base/files.h"

namespace headscope::experiments {

namespace fs = std::filesystem;

std::vector<std::string> DataPath::places() const {
    std::vector<std::string> all;
    const auto add = [&](const fs::path& path) {
        const std::string place = fs::absolute(path).lexically_normal().string();
        if (std::ranges::find(all, place) == all.end()) all.push_back(place);
    };
    if (given.empty()) return all;
    add(given);
    if (!absolute.empty()) add(absolute);
    if (!moved.empty()) add(moved);
    return all;
}

std::optional<std::string> DataPath::found() const {
    for (const std::string& place : places())
        if (path_exists(place)) return place;
    return std::nullopt;
}

std::string DataPath::require(const std::string& task, const std::string& key, const std::string& mend) const {
    if (given.empty()) throw UsageError(fmt::format("{}: {} is empty; name a file{}", task, key, mend));
    if (const std::optional<std::string> place = found()) return *place;
    const std::vector<std::string> looked = places();
    throw IoError(fmt::format("{}: {} {}; {}=FILE says where the file is{}", task, fmt::join(looked, ", "),
                              looked.size() == 1 ? "does not exist" : "do not exist", key, mend));
}

void DataPath::drop_foreign_notes() {
    const auto name = [](const std::string& path) { return fs::path(path).filename(); };
    if (name(absolute) != name(given)) absolute.clear();
    if (name(moved) != name(given)) moved.clear();
}

}  // namespace headscope::experiments
