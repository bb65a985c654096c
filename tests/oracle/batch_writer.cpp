// Writes the batches that a run trains on, or is evaluated on, for tests/oracle/test_gradient_probes.py and
// test_ablation.py.
//
// usage: headscope_batch_writer CONFIG.toml STEPS|eval OUT.h5
// leaves /inputs, /targets and, where the task has classes, /classes: i64 [batches, B, T]; where it knows them, the
// true distributions, /truth: f64 [batches, B, T, V].
#include <cstdio>
#include <exception>
#include <string>
#include <type_traits>
#include <vector>

#include "experiments/base/file_replacement.h"
#include "experiments/base/files.h"
#include "experiments/config/config.h"
#include "experiments/storage/hdf5.h"
#include "experiments/training/evaluation.h"

int main(int count, char** arguments) try {
    using namespace headscope;
    using namespace headscope::experiments;
    if (count != 4) {
        std::fprintf(stderr, "usage: headscope_batch_writer CONFIG.toml STEPS|eval OUT.h5\n");
        return 2;
    }
    const Experiment experiment = build_experiment(load_config(arguments[1]));
    std::vector<Batch> batches;
    if (std::string(arguments[2]) == "eval") {
        batches = evaluation_batches(experiment);
    } else {
        for (std::int64_t step = 0; step < std::stoll(arguments[2]); ++step)
            batches.push_back(experiment.task->train_batch(step, experiment.config.train.batch_size));
    }
    std::vector<std::int64_t> inputs, targets, classes;
    std::vector<double> truth;
    const auto append = [](auto& all, const Tensor& tensor) {
        const auto values = tensor.values<typename std::remove_reference_t<decltype(all)>::value_type>();
        all.insert(all.end(), values.begin(), values.end());
    };
    for (const Batch& batch : batches) {
        append(inputs, batch.inputs);
        append(targets, batch.targets);
        if (batch.classes.defined()) append(classes, batch.classes);
        if (batch.truth.defined()) append(truth, batch.truth);
    }
    hdf5::File file = hdf5::File::create_in_memory();
    hdf5::Dims shape{std::ssize(batches), experiment.config.train.batch_size, experiment.task->seq_len()};
    file.write<std::int64_t>("/inputs", shape, inputs);
    file.write<std::int64_t>("/targets", shape, targets);
    if (!classes.empty()) file.write<std::int64_t>("/classes", shape, classes);
    shape.push_back(experiment.task->vocab_size());
    if (!truth.empty()) file.write<double>("/truth", shape, truth);
    write_file_atomically(arguments[3], file.image());
    return 0;
} catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
