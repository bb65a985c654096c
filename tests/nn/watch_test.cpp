// Watching an attention, in the graph and with hooks, is free of any effect on what it computes.
#include "autograd/parallel.h"
#include "autograd/random.h"
#include "nn/transformer.h"
#include "tests/nn/random_tensors.h"

namespace headscope::nn {
namespace {

struct Step {
    Tensor logits, loss;
    std::vector<Tensor> gradients;
};

class Watch : public testing::TestWithParam<AttentionKind> {
protected:
    Watch() : model_(options()) {
        randomise(model_, 3);
        batch_ = random_tokens({4, 9}, 11, 1);
        targets_ = random_tokens({4, 9}, 11, 2);
    }

    static TransformerOptions options() {
        TransformerOptions options;
        options.vocab_size = 11;
        options.max_len = 9;
        options.num_layers = 2;
        options.block = {.d_model = 14, .num_heads = 3, .head_dim = 6, .d_ff = 10, .dropout = 0.2};
        options.block.attention = GetParam();
        options.position = PositionEncoding::rotary;
        return options;
    }

    /// Whether or not the blocks are watched; with a hook on all that they leave, when they leave it in the graph.
    Step step(std::vector<AttentionRecord>* records = nullptr, int* calls = nullptr) {
        for (std::size_t l = 0; l < 2; ++l) model_.blocks[l]->attn.watch(records != nullptr ? &(*records)[l] : nullptr);
        for (const NamedTensor& parameter : model_.named_parameters()) Tensor(parameter.tensor).set_grad({});
        const RandomScope random(7, 3);
        const Tensor logits = model_.forward(batch_);
        const Tensor loss = cross_entropy(logits, targets_);
        if (calls != nullptr)
            for (AttentionRecord& record : *records)
                for (Tensor* tensor : {&record.q, &record.k, &record.v, &record.head_out, &record.output}) {
                    const Shape shape = tensor->shape();
                    tensor->register_hook([calls, shape](const Tensor& gradient) {
                        EXPECT_EQ(gradient.shape(), shape);
                        ++*calls;
                        return Tensor();
                    });
                }
        backward(loss);
        Step result{logits, loss, {}};
        for (const NamedTensor& parameter : model_.named_parameters())
            result.gradients.push_back(parameter.tensor.grad().clone());
        return result;
    }

    void expect_same(const Step& a, const Step& b) {
        EXPECT_TRUE(same_bits(a.logits, b.logits));
        EXPECT_TRUE(same_bits(a.loss, b.loss));
        const auto parameters = model_.named_parameters();
        for (std::size_t i = 0; i < parameters.size(); ++i)
            EXPECT_TRUE(same_bits(a.gradients[i], b.gradients[i])) << parameters[i].name;
    }

    Transformer model_;
    Tensor batch_, targets_;
};

TEST_P(Watch, ChangesNothing) {
    const int threads = num_threads();
    const Step plain = step();
    for (const int count : {1, 2, 3}) {
        set_num_threads(count);
        expect_same(plain, step());

        std::vector<AttentionRecord> outside(2);
        expect_same(plain, step(&outside));
        for (const Tensor* tensor : {&outside[1].q, &outside[1].k, &outside[1].v, &outside[1].weights,
                                     &outside[1].head_out, &outside[1].output})
            EXPECT_FALSE(tensor->requires_grad());

        std::vector<AttentionRecord> inside(2);
        inside[0].in_graph = inside[1].in_graph = true;
        int calls = 0;
        expect_same(plain, step(&inside, &calls));
        EXPECT_EQ(calls, 2 * 5);
        const AttentionRecord detached = inside[0].detached();
        EXPECT_TRUE(same_bits(detached.q, outside[0].q));
        EXPECT_TRUE(same_bits(detached.weights, outside[0].weights));
        EXPECT_TRUE(same_bits(detached.output, outside[0].output));
        EXPECT_FALSE(detached.in_graph || detached.output.requires_grad());
    }
    set_num_threads(threads);
}

INSTANTIATE_TEST_SUITE_P(Attention, Watch,
                         testing::Values(AttentionKind::softmax, AttentionKind::linear, AttentionKind::uniform),
                         [](const auto& info) {
                             return std::string(info.param == AttentionKind::softmax  ? "softmax"
                                                : info.param == AttentionKind::linear ? "linear"
                                                                                      : "uniform");
                         });

}  // namespace
}  // namespace headscope::nn
