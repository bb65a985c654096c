#include "experiments/cli/profile_text.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace headscope::experiments::cli {
namespace {

const std::vector<Profile::Row> rows{{"linear", Profile::Phase::backward, 1200, 0.75},
                                     {"linear", Profile::Phase::forward, 1200, 0.2},
                                     {"probe attention_entropy", Profile::Phase::other, 3, 0.05}};

TEST(ProfileText, HasALinePerRowAndTheSum) {
    EXPECT_EQ(to_text(rows),
              "where the time went\n"
              "  what                                  count       total ms     share\n"
              "  linear                   backward      1200          750.0    75.0 %\n"
              "  linear                   forward       1200          200.0    20.0 %\n"
              "  probe attention_entropy  other            3           50.0     5.0 %\n"
              "  all                                                 1000.0\n");
}

TEST(ProfileText, IsOneMemberMoreInJson) {
    const auto json = nlohmann::json::parse(add_profile(R"({"run": "a", "heads": [{"entropy": null}]})", rows));
    EXPECT_EQ(json["run"], "a");
    EXPECT_TRUE(json["heads"][0]["entropy"].is_null());
    ASSERT_EQ(json["profile"].size(), 3U);
    EXPECT_EQ(json["profile"][0]["name"], "linear");
    EXPECT_EQ(json["profile"][0]["phase"], "backward");
    EXPECT_EQ(json["profile"][2]["count"], 3);
    EXPECT_DOUBLE_EQ(json["profile"][1]["seconds"], 0.2);
    EXPECT_DOUBLE_EQ(json["profile"][1]["share"], 0.2);
}

}  // namespace
}  // namespace headscope::experiments::cli
