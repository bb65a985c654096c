// What every registered probe must keep to.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <set>

#include "autograd/parallel.h"
#include "experiments/probes/capture.h"
#include "nn/rms_norm.h"
#include "nn/sigmoid_weights.h"
#include "nn/swiglu.h"
#include "tests/experiments/probes/probe_helpers.h"

namespace headscope::experiments {
namespace {

struct Kind {
    std::string name;
    nn::TransformerOptions options;
    DType dtype = DType::f64;
};

std::vector<Kind> kinds() {
    std::vector<Kind> all;
    const auto add = [&](const char* name, auto&& set) {
        nn::TransformerOptions options = small_model();
        set(options);
        all.push_back({name, options});
    };
    add("plain", [](auto&) {});
    add("single precision", [](auto&) {});
    all.back().dtype = DType::f32;
    add("feed-forward, dropout", [](auto& o) {
        o.block.d_ff = 9;
        o.block.dropout = 0.3;
    });
    add("rotary, not causal", [](auto& o) {
        o.position = nn::PositionEncoding::rotary;
        o.causal = false;
    });
    add("alibi, no bias", [](auto& o) {
        o.position = nn::PositionEncoding::alibi;
        o.block.bias = false;
    });
    add("linear attention", [](auto& o) { o.block.attention = AttentionKind::linear; });
    add("uniform attention", [](auto& o) { o.block.attention = AttentionKind::uniform; });
    add("one head, one layer, tied", [](auto& o) {
        o.num_layers = o.block.num_heads = 1;
        o.tie_embeddings = true;
    });
    add("heads wider than the model", [](auto& o) { o.block.head_dim = 12; });
    add("sequences of one token", [](auto& o) { o.max_len = 1; });
    add("groups of keys and values, normalised", [](auto& o) {
        o.block.kv_heads = 2;
        o.block.qk_norm = true;
    });
    add("window", [](auto& o) { o.window = 2; });
    add("sigmoid weights", [](auto& o) { o.block.attention_weights = nn::sigmoid_weights; });
    add("RMSNorm, SwiGLU", [](auto& o) {
        o.block.d_ff = 9;
        o.block.make_norm = [](std::int64_t size) { return std::make_unique<nn::RMSNorm>(size); };
        o.block.make_ffn = [](const nn::FeedForwardOptions& own) { return std::make_unique<nn::SwiGlu>(own); };
    });
    return all;
}

bool same_bits(const std::vector<double>& a, const std::vector<double>& b) {
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(double)) == 0);
}

std::vector<std::byte> bytes_of(const Tensor& tensor) {
    if (!tensor.defined()) return {};
    return {tensor.bytes(), tensor.bytes() + static_cast<std::size_t>(tensor.numel()) * size_of(tensor.dtype())};
}

/// All that a probe must leave alone, to the bit.
std::vector<std::vector<std::byte>> state_of(const ProbeBench& bench) {
    std::vector<std::vector<std::byte>> state;
    for (const nn::Parameter& parameter : bench.model.named_parameters()) {
        state.push_back(bytes_of(parameter.tensor));
        state.push_back(bytes_of(parameter.tensor.grad()));
    }
    for (const Tensor& tensor : bench.before) state.push_back(bytes_of(tensor));
    for (const Batch& batch : bench.eval_batches) state.push_back(bytes_of(batch.inputs));
    state.push_back(bytes_of(bench.batch.inputs));
    state.push_back(bytes_of(bench.batch.targets));
    return state;
}

class AllProbes : public testing::TestWithParam<std::string> {
protected:
    std::unique_ptr<Probe> probe_ = make_probe(GetParam());
};

TEST_P(AllProbes, SaysWhatItMeasures) {
    const std::set<std::string> measured = {"gram_overlap", "composition", "stable_rank", "effective_rank"};
    for (const Kind& kind : kinds()) {
        SCOPED_TRACE(kind.name);
        const MetricSpec spec = probe_->spec({kind.options, kind.options.max_len, {"a", "b"}});
        EXPECT_EQ(spec.name, GetParam());
        for (const std::string& text : {spec.long_name, spec.units, spec.formula, spec.source})
            EXPECT_FALSE(text.empty());
        EXPECT_TRUE(std::set<std::string>({"GL", "orthogonal", "none"}).count(spec.invariance) == 1) << spec.invariance;
        EXPECT_LE(spec.minimum, spec.maximum);
        EXPECT_EQ(std::isnan(spec.null_mean), std::isnan(spec.null_std));
        if (measured.count(spec.name) == 1) {
            EXPECT_GE(spec.null_draws, 1000);
        } else {
            EXPECT_EQ(spec.null_draws, 0);  // a closed form, or no null
            EXPECT_EQ(spec.null_mean_error, 0);
            EXPECT_EQ(spec.null_std_error, 0);
        }
        std::set<std::string> names;
        for (const Dimension& dimension : spec.dimensions) {
            EXPECT_TRUE(names.insert(dimension.name).second) << dimension.name << " is there twice";
            EXPECT_GE(dimension.size, 1) << dimension.name;
            if (dimension.labels.empty()) continue;
            EXPECT_EQ(static_cast<std::int64_t>(dimension.labels.size()), dimension.size);
        }
        EXPECT_EQ(names.count("layer"), 1u);
    }
}

TEST_P(AllProbes, MeasuresModelsOfEveryKindAndLeavesThemAlone) {
    for (const Kind& kind : kinds()) {
        SCOPED_TRACE(kind.name);
        ProbeBench bench(kind.options, kind.dtype);
        const MetricSpec spec = bench.spec(GetParam());
        const auto before = state_of(bench);
        const RandomScope random(3, 5);
        const double number = RandomScope::stream("x").uniform(0);
        std::vector<std::vector<double>> values;
        for (const bool training : {true, false}) {
            bench.model.train(training);
            values.push_back(probe_->measure(bench.context()));
            for (const auto& [path, module] : bench.model.named_modules()) EXPECT_EQ(module->is_training(), training);
        }
        EXPECT_TRUE(state_of(bench) == before);
        EXPECT_EQ(RandomScope::stream("x").uniform(0), number);
        EXPECT_TRUE(grad_enabled());
        EXPECT_TRUE(same_bits(values[0], values[1])) << "it depends on the model's mode";

        std::int64_t size = 1;
        for (const Dimension& dimension : spec.dimensions) size *= dimension.size;
        EXPECT_EQ(static_cast<std::int64_t>(values[0].size()), size);
        const double slack = kind.dtype == DType::f64 ? 1e-9 : 1e-5;
        for (const double value : values[0]) {
            if (std::isnan(value)) continue;
            EXPECT_GE(value, spec.minimum - slack);
            EXPECT_LE(value, spec.maximum + slack);
            if (!spec.value_labels.empty()) {
                EXPECT_EQ(value, std::floor(value));
                EXPECT_LT(value, static_cast<double>(spec.value_labels.size()));
            }
        }
    }
}

TEST_P(AllProbes, MeasuresSomething) {
    ProbeBench bench(small_model());
    const std::vector<double> values = bench.measure(GetParam());
    EXPECT_TRUE(std::any_of(values.begin(), values.end(), [](double value) { return !std::isnan(value); }));
}

TEST_P(AllProbes, MeasuresNothingInAModelWithoutLayers) {
    nn::TransformerOptions options = small_model();
    options.num_layers = 0;
    ProbeBench bench(options);
    EXPECT_TRUE(bench.measure(GetParam()).empty());
}

TEST_P(AllProbes, GivesTheSameBitsForAnyNumberOfThreads) {
    const int threads = num_threads();
    std::vector<std::vector<double>> values;
    for (const int count : {1, 2, 3}) {
        set_num_threads(count);
        ProbeBench bench(small_model(), DType::f32);
        values.push_back(bench.measure(GetParam()));
    }
    set_num_threads(threads);
    EXPECT_TRUE(same_bits(values[0], values[1]));
    EXPECT_TRUE(same_bits(values[0], values[2]));
}

TEST(AllCaptureProbes, MeasureTheSameTogetherAsAlone) {
    ProbeBench bench(small_model(), DType::f32);
    std::vector<std::unique_ptr<Probe>> all;
    std::vector<const CaptureProbe*> captures;
    for (const std::string& name : probe_names()) {
        all.push_back(make_probe(name));
        EXPECT_EQ(all.back()->stage() == ProbeStage::activations,
                  dynamic_cast<const CaptureProbe*>(all.back().get()) != nullptr)
            << name;
        if (const auto* capture = dynamic_cast<const CaptureProbe*>(all.back().get())) captures.push_back(capture);
    }
    const auto together = measure_together(captures, bench.context());
    for (std::size_t i = 0; i < captures.size(); ++i)
        EXPECT_TRUE(same_bits(together[i], captures[i]->measure(bench.context())))
            << captures[i]->spec(bench.setup()).name;
}

INSTANTIATE_TEST_SUITE_P(Probes, AllProbes, testing::ValuesIn(probe_names()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace headscope::experiments
