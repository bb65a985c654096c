// Writes the batches that a run trains on, for tests/oracle/test_gradient_probes.py.
//
// usage: headscope_batch_writer CONFIG.toml STEPS OUT.h5
// leaves /inputs, /targets and, where the task has classes, /classes: i64 [STEPS, B, T].
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "experiments/config/config.h"
#include "experiments/storage/hdf5.h"
#include "experiments/storage/run_folder.h"

int main(int count, char** arguments) try {
    using namespace headscope;
    if (count != 4) {
        std::fprintf(stderr, "usage: headscope_batch_writer CONFIG.toml STEPS OUT.h5\n");
        return 2;
    }
    const Experiment experiment = prepare(load_config(arguments[1]));
    const std::int64_t steps = std::stoll(arguments[2]), size = experiment.config.train.batch_size;
    std::vector<std::int64_t> inputs, targets, classes;
    const auto append = [](std::vector<std::int64_t>& all, const Tensor& tokens) {
        const auto values = tokens.values<std::int64_t>();
        all.insert(all.end(), values.begin(), values.end());
    };
    for (std::int64_t step = 0; step < steps; ++step) {
        const Batch batch = experiment.task->train_batch(step, size);
        append(inputs, batch.inputs);
        append(targets, batch.targets);
        if (batch.classes.defined()) append(classes, batch.classes);
    }
    hdf5::File file = hdf5::File::create_in_memory();
    const hdf5::Dims shape{steps, size, experiment.task->seq_len()};
    file.write<std::int64_t>("/inputs", shape, inputs);
    file.write<std::int64_t>("/targets", shape, targets);
    if (!classes.empty()) file.write<std::int64_t>("/classes", shape, classes);
    write_file_atomically(arguments[3], file.image());
    return 0;
} catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
