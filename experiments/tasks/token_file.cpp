#include "experiments/tasks/token_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>

#include "experiments/errors.h"
#include "experiments/storage/hdf5.h"

namespace headscope {

namespace {

/// Values of both datasets that this machine can keep at once: half of its memory.
std::int64_t most_values() {
    return sysconf(_SC_PHYS_PAGES) / 4 * (sysconf(_SC_PAGE_SIZE) / static_cast<std::int64_t>(sizeof(std::int64_t)));
}

/// The dataset's shape [batches, B, T], checked with its type. `name` is "tokens: FILE: /inputs".
Shape check_layout(const hdf5::File& file, const std::string& dataset, const std::string& name, std::int64_t seq_len) {
    if (!file.has_dataset(dataset))
        throw UsageError(name + " is missing; the file must hold /inputs and /targets, int64 [batches, B, T]");
    const hdf5::DatasetInfo info = file.info(dataset);
    const std::string shape = fmt::format("[{}]", fmt::join(info.shape, ", "));
    if (info.type != hdf5::Type::i64) throw UsageError(name + " is not of signed 64-bit integers; write it as int64");
    if (info.shape.size() != 3)
        throw UsageError(
            fmt::format("{} is {}, of rank {}; write it as [batches, B, T]", name, shape, info.shape.size()));
    std::int64_t room = most_values();
    for (const std::int64_t size : info.shape) {
        if (size < 1)
            throw UsageError(
                fmt::format("{} is {}, without a token; write at least one batch of one sequence", name, shape));
        room /= size;
    }
    if (seq_len > 0 && info.shape[2] != seq_len)
        throw UsageError(fmt::format("{} is {}, but task.seq_len is {}; set task.seq_len = {}", name, shape, seq_len,
                                     info.shape[2]));
    if (room == 0)
        throw UsageError(fmt::format("{} is {}, more than this machine's memory holds; split the file", name, shape));
    return Shape(info.shape);
}

/// All values, each in [least, vocab_size).
Tensor read_values(const hdf5::File& file, const std::string& dataset, const std::string& name, const Shape& shape,
                   std::int64_t least, std::int64_t vocab_size) {
    Tensor tensor = Tensor::empty(shape, DType::i64);
    auto* values = tensor.data<std::int64_t>();
    file.read_into(dataset, std::span(values, static_cast<std::size_t>(tensor.numel())));
    for (std::int64_t i = 0; i < tensor.numel(); ++i) {
        if (values[i] >= least && values[i] < vocab_size) continue;
        throw UsageError(fmt::format(
            "{}[{}, {}, {}] is {}, but task.vocab_size = {} allows {} to {}; correct the value or task.vocab_size",
            name, i / shape[2] / shape[1], i / shape[2] % shape[1], i % shape[2], values[i], vocab_size, least,
            vocab_size - 1));
    }
    return tensor;
}

}  // namespace

TokenFile read_token_file(const std::string& path, std::int64_t vocab_size, std::int64_t seq_len) {
    namespace fs = std::filesystem;
    std::error_code ignored;
    const fs::file_status status = fs::status(path, ignored);
    if (status.type() == fs::file_type::not_found)
        throw IoError(fmt::format("tokens: {} does not exist; name an HDF5 file with /inputs and /targets", path));
    if (status.type() == fs::file_type::directory)
        throw IoError(fmt::format("tokens: {} is a folder; name an HDF5 file with /inputs and /targets", path));

    const hdf5::File file = hdf5::File::open(path);
    file.children("/");  // refuses links, which could make us read some other file
    const std::string inputs = fmt::format("tokens: {}: /inputs", path);
    const std::string targets = fmt::format("tokens: {}: /targets", path);
    const Shape shape = check_layout(file, "/inputs", inputs, seq_len);
    if (const Shape other = check_layout(file, "/targets", targets, seq_len); !(other == shape))
        throw UsageError(
            fmt::format("{} is {}, but /inputs is {}; give both one shape", targets, other.str(), shape.str()));
    return {read_values(file, "/inputs", inputs, shape, 0, vocab_size),
            read_values(file, "/targets", targets, shape, -1, vocab_size)};
}

}  // namespace headscope
