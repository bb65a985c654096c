// Writes what Capture finds for tests/oracle/test_captures.py:
//   headscope_capture_runner RUN TOKENS.h5 OUT.h5
// runs the model of RUN's newest checkpoint, in f64, over the first batch of TOKENS. OUT holds /<layer>/<name> for
// every value and gradient of LayerCapture ("q", "grad_q", ...), and /logits.
#include <cstdio>
#include <string>
#include <vector>

#include "experiments/base/file_replacement.h"
#include "experiments/base/files.h"
#include "experiments/config/config.h"
#include "experiments/probes/capture.h"
#include "experiments/storage/checkpoint.h"
#include "experiments/storage/hdf5.h"
#include "experiments/storage/run_folder.h"
#include "experiments/tasks/token_file.h"

namespace headscope::experiments {
namespace {

Tensor first_of(const Tensor& batches) {
    const std::int64_t B = batches.size(1), T = batches.size(2);
    return Tensor::from<std::int64_t>({B, T}, batches.values<std::int64_t>().first(static_cast<std::size_t>(B * T)));
}

void write(hdf5::File& file, const std::string& path, const Tensor& tensor) {
    file.write(path, hdf5::Dims(tensor.shape().begin(), tensor.shape().end()), tensor.values<double>());
}

void run(const std::string& folder, const std::string& tokens_path, const std::string& out) {
    const RunPaths paths(folder);
    const Experiment experiment = build_experiment_of_any_size(load_config(paths.config));
    const TokenFile tokens = read_token_file(tokens_path, experiment.task->vocab_size(), 0);
    std::vector<std::string> passed_over;
    nn::Transformer model(experiment.model);
    model.load_state_dict(load_newest_good(paths.checkpoints, passed_over).value().model);
    model.to(DType::f64);
    const Batch batch{first_of(tokens.inputs), first_of(tokens.targets), {}, {}};
    const Capture capture(model, batch, SequenceSource::evaluation, true);

    hdf5::File file = hdf5::File::create_in_memory();
    write(file, "/logits", capture.logits());
    for (std::int64_t l = 0; l < capture.num_layers(); ++l) {
        const LayerCapture& layer = capture.layer(l);
        const std::string group = "/" + std::to_string(l) + "/";
        write(file, group + "q", layer.q());
        write(file, group + "k", layer.k());
        write(file, group + "v", layer.v());
        write(file, group + "scores", layer.scores());
        write(file, group + "weights", layer.weights());
        write(file, group + "head_out", layer.head_out());
        write(file, group + "head_result", layer.head_result());
        write(file, group + "grad_q", layer.grad_q());
        write(file, group + "grad_k", layer.grad_k());
        write(file, group + "grad_v", layer.grad_v());
        write(file, group + "grad_weights", layer.grad_weights());
        write(file, group + "grad_head_out", layer.grad_head_out());
        write(file, group + "grad_head_result", layer.grad_head_result());
        if (experiment.model.block.attention == AttentionKind::softmax)
            write(file, group + "grad_scores", layer.grad_scores());
    }
    write_file_atomically(out, file.image());
}

}  // namespace
}  // namespace headscope::experiments

int main(int argc, char** argv) try {
    if (argc != 4) {
        std::fprintf(stderr, "usage: headscope_capture_runner RUN TOKENS.h5 OUT.h5\n");
        return 2;
    }
    headscope::experiments::run(argv[1], argv[2], argv[3]);
    return 0;
} catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
