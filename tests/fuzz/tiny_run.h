// A run of two steps, for the seeds of those who read what a run leaves.
#pragma once

#include <string>

#include "experiments/base/files.h"
#include "experiments/config/config.h"
#include "experiments/storage/checkpoint.h"
#include "experiments/storage/run_folder.h"
#include "experiments/training/run.h"
#include "tests/experiments/temporary_folder.h"

namespace headscope::experiments::fuzz {

class TinyRun {
public:
    TinyRun() {
        const std::string config =
            "name = \"tiny\"\ntask = {type = \"reversal\", vocab_size = 5, length = 3}\n"
            "model = {d_model = 4, num_heads = 2, d_ff = 4, num_layers = 1}\n"
            "train = {steps = 2, batch_size = 2}\neval = {batches = 1}\nlog.every = 1\n"
            "log.probes = {grad_norm = 1, overlap = 1, attention_entropy = 1, attention_distance = 1}\n";
        start_run(build_experiment(parse_config(config, "tiny")), {.out = folder_.path("run")});
    }

    std::string log() const { return read_file(RunPaths(folder_.path("run")).log); }
    std::string checkpoint() const {
        return read_file(RunPaths(folder_.path("run")).checkpoints + "/" + checkpoint_name(2));
    }

private:
    TemporaryFolder folder_;
};

}  // namespace headscope::experiments::fuzz
