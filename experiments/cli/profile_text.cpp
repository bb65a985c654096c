#include "experiments/cli/profile_text.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace headscope::experiments::cli {
namespace {

const char* name_of(Profile::Phase phase) {
    switch (phase) {
        case Profile::Phase::forward: return "forward";
        case Profile::Phase::backward: return "backward";
        case Profile::Phase::other: return "other";
    }
    return "?";
}

double total_of(const std::vector<Profile::Row>& rows) {
    double seconds = 0;
    for (const Profile::Row& row : rows) seconds += row.seconds;
    return seconds;
}

}  // namespace

std::string to_text(const std::vector<Profile::Row>& rows) {
    const double total = total_of(rows);
    std::string text = "where the time went\n  what                                  count       total ms     share\n";
    for (const Profile::Row& row : rows)
        text += fmt::format("  {:<24} {:<9} {:>8} {:>14.1f} {:>7.1f} %\n", row.name, name_of(row.phase), row.count,
                            row.seconds * 1e3, 100 * row.seconds / total);
    return text + fmt::format("  {:<43} {:>14.1f}\n", "all", total * 1e3);
}

std::string add_profile(const std::string& json, const std::vector<Profile::Row>& rows) {
    auto object = nlohmann::ordered_json::parse(json);
    auto& list = object["profile"] = nlohmann::ordered_json::array();
    for (const Profile::Row& row : rows)
        list.push_back({{"name", row.name},
                        {"phase", name_of(row.phase)},
                        {"count", row.count},
                        {"seconds", row.seconds},
                        {"share", row.seconds / total_of(rows)}});
    return object.dump(2);
}

}  // namespace headscope::experiments::cli
