#include "experiments/cli/ablation_text.h"

#include <gtest/gtest.h>

#include "tests/experiments/text_checks.h"

namespace headscope::experiments::cli {
namespace {

TEST(AblationText, ClassesOfWideCharactersStandOverTheirColumns) {
    AblationResult result;
    result.layers = 1;
    result.heads = 2;
    result.draws = 1;
    result.classes = {"near", "五言律詩絕句", "a name that is long"};
    Losses losses = Losses::none(3);
    losses.class_loss = {1, 2, 3};
    result.baseline = losses;
    losses.class_loss = {1.5, 2.25, 2.875};
    result.ablated.assign(2 * ablations.size(), losses);
    result.directions.assign(2, losses);
    result.control_head = {1, 0};
    result.importance = {0.5, 0.25};
    const std::string text = to_text(result, {});
    expect_at_most_80_columns(text);
    EXPECT_TRUE(contains(text,
                         "head        near  五言律詩 a name th\n"
                         "0.0      +0.5000   +0.2500   -0.1250\n"
                         "0.1      +0.5000   +0.2500   -0.1250\n"))
        << text;
}

}  // namespace
}  // namespace headscope::experiments::cli
