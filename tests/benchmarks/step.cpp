// Times one training step (forward, backward, AdamW) of a shape on random tokens and prints the seconds of every step,
// one a line. step.py does the same in PyTorch; scripts/bench runs the two in turn.
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "autograd/graph.h"
#include "autograd/ops/cross_entropy.h"
#include "autograd/parallel.h"
#include "autograd/random.h"
#include "nn/transformer.h"
#include "optim/adam.h"

using namespace headscope;

int main(int argc, char** argv) {
    if (argc != 10) {
        std::fprintf(stderr, "usage: %s vocab T d_model heads layers d_ff batch threads steps\n", argv[0]);
        return 2;
    }
    const auto argument = [&](int i) { return static_cast<std::int64_t>(std::atoll(argv[i])); };
    nn::TransformerOptions options;
    options.vocab_size = argument(1);
    options.max_len = argument(2);
    options.block.d_model = argument(3);
    options.block.num_heads = argument(4);
    options.num_layers = argument(5);
    options.block.d_ff = argument(6);
    const std::int64_t batch = argument(7);
    set_num_threads(static_cast<int>(argument(8)));

    nn::Transformer model(options);
    optim::Adam optimizer({{model.named_parameters(), 1e-3, 0.01}}, {.decoupled = true});
    const RandomStream random(0, "bench");
    Tensor inputs = Tensor::empty({batch, options.max_len}, DType::i64);
    Tensor targets = Tensor::empty({batch, options.max_len}, DType::i64);
    for (std::int64_t i = 0; i < inputs.numel(); ++i) {
        const auto vocab = static_cast<std::uint64_t>(options.vocab_size);
        inputs.data<std::int64_t>()[i] =
            static_cast<std::int64_t>(random.below(vocab, static_cast<std::uint64_t>(2 * i)));
        targets.data<std::int64_t>()[i] =
            static_cast<std::int64_t>(random.below(vocab, static_cast<std::uint64_t>(2 * i + 1)));
    }
    for (std::int64_t step = 0; step < argument(9); ++step) {
        const auto start = std::chrono::steady_clock::now();
        optimizer.zero_grad();
        backward(cross_entropy(model.forward(inputs), targets));
        optimizer.step();
        const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
        std::printf("%.9f\n", seconds.count());
    }
}
