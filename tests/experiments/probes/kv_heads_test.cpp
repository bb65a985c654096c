// A model whose heads share keys and values in groups, against the same model with a key and a value for each head,
// those of its group: every probe must measure the same.
#include <cmath>
#include <set>

#include "tests/experiments/probes/probe_helpers.h"

namespace headscope::experiments {
namespace {

constexpr std::int64_t heads = 3, groups = 2, width = 4;

/// [groups * width, ...] -> [heads * width, ...]: head h gets the rows of group h * groups / heads.
Tensor repeat_groups(const Tensor& grouped) {
    Shape shape = grouped.rank() == 1 ? Shape{heads * width} : Shape{heads * width, grouped.size(1)};
    Tensor whole = Tensor::empty(shape, DType::f64);
    const std::int64_t block = grouped.numel() / groups;
    for (std::int64_t h = 0; h < heads; ++h)
        std::copy_n(grouped.data<double>() + h * groups / heads * block, block, whole.data<double>() + h * block);
    return whole;
}

bool is_grouped(const std::string& name) { return name.find("W_k") != name.npos || name.find("W_v") != name.npos; }

/// Gives `whole` the weights of `grouped`, before and after the update, and the gradients.
void expand(const ProbeBench& grouped, ProbeBench& whole) {
    const auto from = grouped.model.named_parameters(), to = whole.model.named_parameters();
    ASSERT_EQ(from.size(), to.size());
    const auto fit = [&](const Tensor& x, std::size_t i) { return is_grouped(from[i].name) ? repeat_groups(x) : x; };
    for (std::size_t i = 0; i < from.size(); ++i) {
        Tensor(to[i].tensor).copy_(fit(from[i].tensor, i));
        whole.before[i].copy_(fit(grouped.before[i], i));
    }
    whole.compute_gradients();
    // A group's gradient is the sum over its heads. It counts as the gradient of each of them.
    for (std::size_t i = 0; i < from.size(); ++i)
        if (is_grouped(from[i].name)) Tensor(to[i].tensor.grad()).copy_(fit(from[i].tensor.grad(), i));
}

class KvHeads : public testing::TestWithParam<std::string> {};

TEST_P(KvHeads, MeasureWhatTheWholeModelDoes) {
    nn::TransformerOptions options = small_model();
    options.block.d_ff = 9;
    ProbeBench whole(options);
    options.block.kv_heads = groups;
    ProbeBench grouped(options);
    expand(grouped, whole);

    // These make gradients of their own, which in the whole model are those of each head alone.
    const bool own_gradients = std::set<std::string>{"grad_norm_by_class", "grad_signal"}.count(GetParam()) == 1;
    const MetricSpec spec = grouped.spec(GetParam());
    std::int64_t inner = 1, projections = 0;  // inner: values behind the projection's axis
    for (const Dimension& dimension : spec.dimensions) {
        if (projections > 0) inner *= dimension.size;
        if (dimension.name == "projection") projections = dimension.size;
    }
    ASSERT_TRUE(!own_gradients || projections == 4);

    const std::vector<double> a = grouped.measure(GetParam()), b = whole.measure(GetParam());
    ASSERT_EQ(a.size(), b.size());
    int compared = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        const std::int64_t projection = projections == 0 ? 0 : static_cast<std::int64_t>(i) / inner % projections;
        if (own_gradients && (projection == 1 || projection == 2)) continue;
        EXPECT_EQ(std::isnan(a[i]), std::isnan(b[i])) << i;
        if (std::isnan(a[i])) continue;
        EXPECT_NEAR(a[i], b[i], 1e-9 * std::max(1.0, std::abs(b[i]))) << i;
        ++compared;
    }
    EXPECT_GT(compared, 0);
}

INSTANTIATE_TEST_SUITE_P(Probes, KvHeads, testing::ValuesIn(probe_names()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace headscope::experiments
