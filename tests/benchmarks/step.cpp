// Times one training step (forward, backward, AdamW) of a shape on random tokens. Prints the loss of the first step,
// the seconds of every step, and the memory that training took; step.py does the same in PyTorch on the same weights
// and tokens, which this program writes to FILE when one is named. scripts/bench runs the two in turn.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include "autograd/error.h"
#include "autograd/graph.h"
#include "autograd/ops/cross_entropy.h"
#include "autograd/parallel.h"
#include "autograd/random.h"
#include "nn/transformer.h"
#include "optim/adam.h"

using namespace headscope;

namespace {

/// A line of /proc/self/status, bytes: VmRSS is the memory in use, VmHWM its peak.
long long memory(const std::string& key) {
    std::ifstream status("/proc/self/status");
    std::string word;
    long long kilobytes = 0;
    while (status >> word)
        if (word == key + ":") status >> kilobytes;
    return 1024 * kilobytes;
}

/// From now on VmHWM counts from what is in use now.
void reset_peak_memory() { std::ofstream("/proc/self/clear_refs") << 5; }

struct Training {
    nn::Transformer model;
    optim::Adam optimizer;
    Tensor inputs, targets;  // [batch, T]

    Training(const nn::TransformerOptions& options, std::int64_t batch)
        : model(options), optimizer({{model.named_parameters(), 1e-3, 0.01}}, {.decoupled = true}) {
        const RandomStream random(0, "bench");
        std::uint64_t drawn = 0;
        for (Tensor* tokens : {&inputs, &targets}) {
            *tokens = Tensor::empty({batch, options.max_len}, DType::i64);
            std::generate_n(tokens->data<std::int64_t>(), tokens->numel(), [&] {
                return static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(options.vocab_size), drawn++));
            });
        }
    }

    /// Returns the loss.
    float step() {
        optimizer.zero_grad();
        const Tensor loss = cross_entropy(model.forward(inputs), targets);
        backward(loss);
        optimizer.step();
        return loss.data<float>()[0];
    }

    /// For each tensor a line of its name and sizes, then its elements.
    void write(const char* path) const {
        std::vector<nn::Parameter> all = model.named_parameters();
        all.push_back({"inputs", inputs});
        all.push_back({"targets", targets});
        std::ofstream file(path, std::ios::binary);
        for (const auto& [name, tensor, role] : all) {
            file << name;
            for (int axis = 0; axis < tensor.rank(); ++axis) file << ' ' << tensor.size(axis);
            file << '\n';
            const bool whole = tensor.dtype() == DType::i64;
            file.write(whole ? reinterpret_cast<const char*>(tensor.data<std::int64_t>())
                             : reinterpret_cast<const char*>(tensor.data<float>()),
                       tensor.numel() * (whole ? 8 : 4));
        }
        if (!file.flush()) throw Error(std::string("bench: cannot write ") + path);
    }
};

}  // namespace

int main(int argc, char** argv) try {
    if (argc != 10 && argc != 11) {
        std::fprintf(stderr, "usage: %s vocab T d_model heads layers d_ff batch threads steps [FILE]\n", argv[0]);
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
    set_num_threads(static_cast<int>(argument(8)));

    // A few tiny steps first: threads and libraries are part of the process at rest.
    nn::TransformerOptions tiny;
    tiny.vocab_size = tiny.max_len = tiny.block.d_model = tiny.block.d_ff = 16;
    tiny.block.num_heads = 2;
    tiny.num_layers = 1;
    for (int i = 0; i < 3; ++i) Training(tiny, 2).step();
    reset_peak_memory();
    const long long at_rest = memory("VmRSS");

    Training training(options, argument(7));
    if (argc == 11) training.write(argv[10]);
    for (std::int64_t step = 0; step < argument(9); ++step) {
        const auto start = std::chrono::steady_clock::now();
        const float loss = training.step();
        const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
        if (step == 0) std::printf("loss %.9g\n", static_cast<double>(loss));
        std::printf("seconds %.9f\n", seconds.count());
    }
    std::printf("memory %lld\n", memory("VmHWM") - at_rest);
} catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
