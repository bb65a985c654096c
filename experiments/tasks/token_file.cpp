#include "experiments/tasks/token_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

#include "experiments/base/available_memory.h"
#include "experiments/base/errors.h"
#include "experiments/storage/child_process.h"
#include "experiments/storage/hdf5.h"
#include "experiments/tasks/token_values.h"

namespace headscope::experiments {

namespace {

/// Values of one dataset that there is memory for: both are held three times over while they are handed on.
std::int64_t most_values() {
    constexpr double bytes_per_value = 64, unknown = 1LL << 36;
    return static_cast<std::int64_t>(available_memory().value_or(unknown) / bytes_per_value);
}

/// Compression makes tokens 10 to 60 times smaller. What grows by far more is made to fill memory, or a mistake.
void check_expansion(const std::string& path, const Shape& shape) {
    constexpr double most_times = 100, harmless = 64 << 20;
    const double bytes = 2 * sizeof(std::int64_t) * static_cast<double>(shape.numel());
    const auto size = static_cast<double>(std::filesystem::file_size(path));
    if (bytes <= std::max(harmless, most_times * size)) return;
    throw UsageError(
        fmt::format("tokens: {}: /inputs and /targets {} take {:.0f} MB, {:.0f} times the size of the file; more than "
                    "{:.0f} times is refused: write them with less compression, or split the file",
                    path, shape.str(), bytes / 1e6, bytes / size, most_times));
}

/// The dataset's shape [batches, B, T], checked with its type. `name` is "tokens: FILE: /inputs".
Shape check_layout(const hdf5::File& file, const std::string& dataset, const std::string& name, std::int64_t seq_len) {
    if (!file.has_dataset(dataset))
        throw UsageError(name +
                         (file.has_dataset("/tokens")
                              ? " is missing; for the stream in /tokens set task.stream = true"
                              : " is missing; the file must hold /inputs and /targets, integers [batches, B, T]"));
    const hdf5::DatasetInfo info = file.info(dataset);
    const std::string shape = fmt::format("[{}]", fmt::join(info.shape, ", "));
    if (!info.integers) throw UsageError(name + " is not of integers; write it as int64, or integers of another size");
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

/// Both datasets, as they lie in the file.
struct Contents {
    Shape shape;
    std::vector<std::int64_t> inputs, targets;
};

Contents read_contents(const std::string& path, const std::string& inputs, const std::string& targets,
                       std::int64_t seq_len) {
    const hdf5::File file = hdf5::File::open(path);
    file.children("/");  // refuses links, which could make us read some other file
    const Shape shape = check_layout(file, "/inputs", inputs, seq_len);
    if (const Shape other = check_layout(file, "/targets", targets, seq_len); !(other == shape))
        throw UsageError(
            fmt::format("{} is {}, but /inputs is {}; give both one shape", targets, other.str(), shape.str()));
    check_expansion(path, shape);
    return {shape, file.read<std::int64_t>("/inputs"), file.read<std::int64_t>("/targets")};
}

// How contents come from the process that reads them: the three sizes, the inputs, the targets.
std::string pack(const Contents& contents) {
    std::string bytes;
    const auto put = [&](std::span<const std::int64_t> values) {
        bytes.append(reinterpret_cast<const char*>(values.data()), values.size_bytes());
    };
    bytes.reserve((3 + contents.inputs.size() + contents.targets.size()) * sizeof(std::int64_t));
    for (const std::int64_t size : contents.shape) put({&size, 1});
    put(contents.inputs);
    put(contents.targets);
    return bytes;
}

// Does not trust its input: a damaged file may have upset the process that read it.
TokenFile unpack(const std::string& bytes, const std::string& path) {
    const std::size_t count = bytes.size() / sizeof(std::int64_t);
    std::vector<std::int64_t> values(count);
    std::memcpy(values.data(), bytes.data(), count * sizeof(std::int64_t));
    const std::span<const std::int64_t> all(values), sizes = all.first(std::min<std::size_t>(count, 3));
    double product = sizes.size() == 3 ? 1 : 0;
    for (const std::int64_t size : sizes) product *= static_cast<double>(size);
    if (product < 1 || std::ranges::min(sizes) < 1 || 3 + 2 * product != static_cast<double>(count))
        throw IoError(fmt::format("tokens: {} is damaged; make the file anew", path));
    const Shape shape{sizes};
    const std::size_t half = (count - 3) / 2;
    return {Tensor::from(shape, all.subspan(3, half)), Tensor::from(shape, all.subspan(3 + half))};
}

/// Throws unless each value is in [least, vocab_size); a `least` of -1 is for targets.
void check_values(const Tensor& tensor, const std::string& name, std::int64_t least, std::int64_t vocab_size) {
    constexpr std::int64_t ignored_by_pytorch = -100;
    const Shape& shape = tensor.shape();
    const auto* values = tensor.data<std::int64_t>();
    for (std::int64_t i = 0; i < tensor.numel(); ++i) {
        if (values[i] >= least && values[i] < vocab_size) continue;
        const bool is_target = least < 0;
        throw UsageError(
            fmt::format("{}[{}, {}, {}] is {}, but task.vocab_size = {} allows 0 to {}{}; {}", name,
                        i / shape[2] / shape[1], i / shape[2] % shape[1], i % shape[2], token_text(values[i]),
                        vocab_size, vocab_size - 1, is_target ? ", and -1 for a target that is not scored" : "",
                        is_target && values[i] == ignored_by_pytorch ? "write -1 where PyTorch has -100"
                                                                     : "correct the value or task.vocab_size"));
    }
}

}  // namespace

TokenFile read_token_file(const std::string& path, std::int64_t vocab_size, std::int64_t seq_len) {
    require_tokens_file(path, "/inputs and /targets");
    const std::string inputs = fmt::format("tokens: {}: /inputs", path);
    const std::string targets = fmt::format("tokens: {}: /targets", path);
    const std::string packed = read_in_child(path, [&] { return pack(read_contents(path, inputs, targets, seq_len)); });
    TokenFile tokens = unpack(packed, path);
    check_values(tokens.inputs, inputs, 0, vocab_size);
    check_values(tokens.targets, targets, -1, vocab_size);
    return tokens;
}

}  // namespace headscope::experiments
