// After a few training steps, further ones ask the system for no memory and touch no new page, and the graph's own
// bookkeeping stays small.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

#include "autograd/allocator.h"
#include "autograd/graph.h"
#include "autograd/ops/cross_entropy.h"
#include "autograd/random.h"
#include "nn/transformer.h"
#include "optim/adam.h"
#include "optim/clip.h"

namespace {
std::atomic<std::int64_t> news = 0;
}  // namespace

#if !defined(HEADSCOPE_SANITIZES_THREAD)  // it has its own
namespace {
void* counted(std::size_t bytes, std::size_t alignment) {
    ++news;
    const std::size_t rounded = (bytes + alignment - 1) / alignment * alignment;
    if (void* memory = std::aligned_alloc(alignment, rounded)) return memory;
    throw std::bad_alloc();
}

// Not inlined: GCC would take it for a free() of what the usual operator new gave.
[[gnu::noinline]] void release(void* memory) { std::free(memory); }
}  // namespace

void* operator new(std::size_t bytes) { return counted(bytes, alignof(std::max_align_t)); }
void* operator new(std::size_t bytes, std::align_val_t alignment) {
    return counted(bytes, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { release(memory); }
void operator delete(void* memory, std::size_t) noexcept { release(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { release(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { release(memory); }
#endif

namespace headscope::optim {
namespace {

/// The model of most experiments: 14 parameters, 13 ops a step.
class Trainer {
public:
    explicit Trainer(double dropout) : model_(options(dropout)) {}

    void train(int steps) {
        for (int i = 0; i < steps; ++i) {
            const RandomScope random(1, static_cast<std::uint64_t>(step_++));
            adam_.zero_grad();
            backward(cross_entropy(model_.forward(tokens_), tokens_));
            adam_.step(clip_scale(adam_.grad_norm(), 1));
        }
    }

private:
    static nn::TransformerOptions options(double dropout) {
        nn::TransformerOptions options;
        options.vocab_size = 16;
        options.max_len = 48;
        options.num_layers = 1;
        options.block.d_model = 64;
        options.block.num_heads = 2;
        options.block.d_ff = 0;
        options.block.dropout = dropout;
        return options;
    }

    nn::Transformer model_;
    Adam adam_{{{model_.named_parameters(), 1e-3, 0.01}}, {.decoupled = true}};
    Tensor tokens_ = Tensor::full({32, 48}, 3, DType::i64);
    std::int64_t step_ = 0;
};

std::int64_t page_faults() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_minflt;
}

class SteadyState : public ::testing::TestWithParam<double> {};
INSTANTIATE_TEST_SUITE_P(Dropout, SteadyState, ::testing::Values(0.0, 0.1),
                         [](const auto& row) { return row.param == 0 ? "without" : "with"; });

TEST_P(SteadyState, AsksTheSystemForNothing) {
#if defined(HEADSCOPE_SANITIZES_ADDRESS)
    GTEST_SKIP() << "no cache under AddressSanitizer";
#endif
    Trainer trainer(GetParam());
    trainer.train(5);
    const auto requests = allocator::stats().system_requests;
    const std::size_t in_use = allocator::stats().in_use;
    trainer.train(50);
    EXPECT_EQ(allocator::stats().system_requests, requests);
    EXPECT_EQ(allocator::stats().in_use, in_use);
}

TEST_P(SteadyState, TouchesNoNewPages) {
#if defined(HEADSCOPE_SANITIZES_ADDRESS) || defined(HEADSCOPE_SANITIZES_THREAD)
    GTEST_SKIP() << "sanitizers touch pages of their own";
#endif
    Trainer trainer(GetParam());
    trainer.train(20);
    const std::int64_t before = page_faults();
    trainer.train(100);
    EXPECT_LE(page_faults() - before, 50);  // a step's tensors are some 1200 pages
}

// About 220 without dropout: two per tensor (its handle's state and its storage), two per node and one per tensor that
// a node saves.
TEST_P(SteadyState, MakesFewHeapAllocations) {
#if defined(HEADSCOPE_SANITIZES_THREAD)
    GTEST_SKIP() << "ThreadSanitizer allocates";
#endif
    Trainer trainer(GetParam());
    trainer.train(5);
    const std::int64_t before = news;
    trainer.train(10);
    EXPECT_LE((news - before) / 10, 280);
    EXPECT_GT(news - before, 0);
}

}  // namespace
}  // namespace headscope::optim
