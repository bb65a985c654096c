#include "experiments/storage/checkpoint.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <span>
#include <string_view>

#include "experiments/base/errors.h"
#include "experiments/base/file_replacement.h"
#include "experiments/base/files.h"
#include "experiments/base/sha256.h"
#include "experiments/storage/hdf5.h"

namespace headscope::experiments {

namespace {

constexpr std::size_t user_block_size = 512;
constexpr std::int64_t format_version = 1;
constexpr const char* best_checkpoint_name = "best.h5";
constexpr std::string_view magic = "headscope checkpoint\n";
constexpr std::string_view mend = "`headscope resume` falls back to the checkpoint before it";

// The user block is text, and a function of what follows it. So a reader makes it anew and compares: each of its bytes
// counts, the zeros that fill it included.
std::string user_block(std::span<const std::byte> body) {
    std::string block = fmt::format("{}format {:010}\nlength {:020}\nsha256 {}\n", magic, format_version,
                                    user_block_size + body.size(), sha256(body));
    block.resize(user_block_size, '\0');
    return block;
}

/// The number of a line "key 0000123"; -1 when there is none.
std::int64_t number_in(std::string_view block, std::string_view key) {
    const std::size_t found = block.find(key);
    std::int64_t value = -1;
    if (found != std::string_view::npos) {
        std::from_chars(block.data() + found + key.size(), block.data() + block.size(), value);
    }
    return value;
}

void verify(const std::string& path, std::string_view file) {
    const auto refuse = [&](const std::string& what) { throw IoError(fmt::format("{}: {}; {}", path, what, mend)); };
    if (file.size() < user_block_size) {
        refuse(fmt::format("truncated: {} bytes are less than a checkpoint's header", file.size()));
    }
    const std::string_view block = file.substr(0, user_block_size);
    if (!block.starts_with(magic)) refuse("not a checkpoint of headscope, or its header is damaged");
    const std::int64_t version = number_in(block, "\nformat "), length = number_in(block, "\nlength ");
    if (version > format_version) {
        refuse(fmt::format("checkpoint format {}, and this program reads {} at most; use a newer headscope", version,
                           format_version));
    }
    if (length > static_cast<std::int64_t>(file.size())) {
        refuse(fmt::format("truncated: {} of {} bytes are there", file.size(), length));
    }
    if (block != user_block(std::as_bytes(std::span(file.substr(user_block_size))))) {
        refuse("damaged: its checksum does not fit its contents");
    }
}

void write_tensor(hdf5::File& file, const std::string& path, const Tensor& tensor) {
    const hdf5::Dims shape(tensor.shape().begin(), tensor.shape().end());
    switch (tensor.dtype()) {
        case DType::f32: return file.write(path, shape, tensor.values<float>());
        case DType::f64: return file.write(path, shape, tensor.values<double>());
        case DType::i64: return file.write(path, shape, tensor.values<std::int64_t>());
        case DType::boolean: break;
    }
    throw Error("save_checkpoint: " + path + " is of type bool; checkpoints hold float32, float64 and int64");
}

Tensor read_tensor(const hdf5::File& file, const std::string& path) {
    Tensor tensor;
    const auto make = [&](const hdf5::DatasetInfo& info, DType dtype) {
        tensor = Tensor::empty(Shape(info.shape), dtype);
    };
    file.read_stored(path, [&](const hdf5::DatasetInfo& info) -> void* {
        if (info.shape.size() <= Shape::max_rank) {
            switch (info.type) {
                case hdf5::Type::f32: make(info, DType::f32); return tensor.data<float>();
                case hdf5::Type::f64: make(info, DType::f64); return tensor.data<double>();
                case hdf5::Type::i64: make(info, DType::i64); return tensor.data<std::int64_t>();
                default: break;
            }
        }
        throw IoError(path + " is not a tensor of float32, float64 or int64 with six axes at most");
    });
    return tensor;
}

std::size_t bytes_of(const std::map<std::string, Tensor>& tensors) {
    std::size_t bytes = 0;
    for (const auto& [name, tensor] : tensors)
        bytes += static_cast<std::size_t>(tensor.numel()) * size_of(tensor.dtype());
    return bytes;
}

std::vector<std::byte> pack(const Checkpoint& checkpoint) {
    constexpr std::size_t room_for_metadata = 1 << 20;
    hdf5::File file = hdf5::File::create_in_memory(
        user_block_size, bytes_of(checkpoint.model) + bytes_of(checkpoint.optimizer) + room_for_metadata);
    file.make_group("/model");
    file.make_group("/optimizer");
    file.make_group("/trainer");
    for (const auto& [name, tensor] : checkpoint.model) write_tensor(file, "/model/" + name, tensor);
    for (const auto& [name, tensor] : checkpoint.optimizer) write_tensor(file, "/optimizer/" + name, tensor);
    file.set_attribute("/trainer", "step", checkpoint.step);
    file.set_attribute("/trainer", "seed", checkpoint.seed);
    file.set_attribute("/trainer", "tokens_seen", checkpoint.tokens_seen);
    file.set_attribute("/trainer", "elapsed", checkpoint.elapsed);
    file.set_attribute("/trainer", "config_sha256", checkpoint.config_identity);
    file.set_attribute("/trainer", "data_sha256", checkpoint.data_sha256);
    file.set_attribute("/", "run_id", checkpoint.run_id);
    file.set_attribute("/trainer", "best_step", checkpoint.best.step);
    file.set_attribute("/trainer", "best_loss", checkpoint.best.loss);
    file.set_attribute("/trainer", "evaluations_since_best", checkpoint.best.since);
    file.set_attribute("/trainer", "last_evaluation", checkpoint.best.last_step);
    std::vector<std::byte> bytes = file.image();
    const std::string block = user_block(bytes);
    const auto block_bytes = std::as_bytes(std::span(block));
    bytes.insert(bytes.begin(), block_bytes.begin(), block_bytes.end());
    return bytes;
}

Checkpoint unpack(const hdf5::File& file) {
    Checkpoint checkpoint;
    for (const std::string& name : file.children("/model")) {
        checkpoint.model[name] = read_tensor(file, "/model/" + name);
    }
    for (const std::string& parameter : file.children("/optimizer")) {
        for (const std::string& state : file.children("/optimizer/" + parameter)) {
            const std::string name = parameter + "/" + state;
            checkpoint.optimizer[name] = read_tensor(file, "/optimizer/" + name);
        }
    }
    checkpoint.step = file.integer_attribute("/trainer", "step");
    checkpoint.seed = file.integer_attribute("/trainer", "seed");
    checkpoint.tokens_seen = file.integer_attribute("/trainer", "tokens_seen");
    checkpoint.elapsed = file.number_attribute("/trainer", "elapsed");
    checkpoint.config_identity = file.text_attribute("/trainer", "config_sha256");
    // Older checkpoints say nothing about data, run and the best evaluation.
    if (file.has_attribute("/trainer", "data_sha256"))
        checkpoint.data_sha256 = file.text_attribute("/trainer", "data_sha256");
    if (file.has_attribute("/", "run_id")) checkpoint.run_id = file.text_attribute("/", "run_id");
    if (file.has_attribute("/trainer", "best_step")) {
        checkpoint.best.step = file.integer_attribute("/trainer", "best_step");
        checkpoint.best.loss = file.number_attribute("/trainer", "best_loss");
        checkpoint.best.since = file.integer_attribute("/trainer", "evaluations_since_best");
        checkpoint.best.last_step = file.integer_attribute("/trainer", "last_evaluation");
    }
    return checkpoint;
}

bool holds(const Folder& folder, const std::string& name, std::span<const std::byte> bytes) {
    const Descriptor file = folder.open(name, O_RDONLY);
    struct stat status {};
    if (file < 0 || ::fstat(file, &status) != 0) folder.fail(name, "cannot be read back", errno);
    if (static_cast<std::size_t>(status.st_size) != bytes.size()) return false;
    bool same = true;
    read_pieces(file, folder.path_of(name), 0, bytes.size(), [&](std::span<const std::byte> piece) {
        same = same && std::memcmp(piece.data(), bytes.data(), piece.size()) == 0;
        bytes = bytes.subspan(piece.size());
    });
    return same;
}

// Written, then read back: only a file that is whole on disk lets older ones go.
std::string write_checkpoint(const Folder& folder, const std::string& name, const Checkpoint& checkpoint) {
    const std::string path = folder.path_of(name);
    const std::vector<std::byte> bytes = pack(checkpoint);
    write_file_atomically(folder, name, bytes);
    if (!holds(folder, name, bytes))
        throw IoError(path + ": reads back other than it was written; the disk may be failing, older checkpoints stay");
    return path;
}

/// The step of a name that checkpoint_name() gives.
std::optional<std::int64_t> step_of(const std::string& name) {
    constexpr std::string_view prefix = "step-";
    std::int64_t step = -1;
    if (!name.starts_with(prefix)) return std::nullopt;
    std::from_chars(name.data() + prefix.size(), name.data() + name.size(), step);
    return step >= 0 && name == checkpoint_name(step) ? std::optional(step) : std::nullopt;
}

/// Steps of the checkpoints among `names`, ascending.
std::vector<std::int64_t> steps_of(const std::vector<std::string>& names) {
    std::vector<std::int64_t> steps;
    for (const std::string& name : names)
        if (const std::optional<std::int64_t> step = step_of(name)) steps.push_back(*step);
    std::sort(steps.begin(), steps.end());
    return steps;
}

// Checkpoints newer than `step` are what a resumed run has passed over; they do not count, or the one just written
// might be deleted in favour of a damaged one.
void delete_old(const Folder& folder, std::int64_t step, std::int64_t keep) {
    std::vector<std::int64_t> steps = steps_of(folder.list());
    std::erase_if(steps, [&](std::int64_t other) { return other > step; });
    const std::size_t kept = std::min(steps.size(), static_cast<std::size_t>(keep));
    steps.resize(steps.size() - kept);
    for (const std::int64_t old : steps) folder.remove(checkpoint_name(old));
}

}  // namespace

bool is_checkpoint_name(const std::string& name) {
    return step_of(name) || name == best_checkpoint_name || name == start_checkpoint_name;
}

std::string checkpoint_name(std::int64_t step) { return fmt::format("step-{:08}.h5", step); }

std::string save_checkpoint(const Folder& folder, const Checkpoint& checkpoint, std::int64_t keep) {
    const std::string path = write_checkpoint(folder, checkpoint_name(checkpoint.step), checkpoint);
    if (keep > 0) delete_old(folder, checkpoint.step, keep);
    return path;
}

std::string save_best_checkpoint(const Folder& folder, const Checkpoint& checkpoint) {
    return write_checkpoint(folder, best_checkpoint_name, checkpoint);
}

std::string save_start_checkpoint(const Folder& folder, const Checkpoint& checkpoint) {
    return write_checkpoint(folder, start_checkpoint_name, checkpoint);
}

Checkpoint load_checkpoint(const std::string& path) {
    const std::string bytes = read_file(path);
    verify(path, bytes);
    try {
        Checkpoint checkpoint = unpack(hdf5::File::open_image(std::as_bytes(std::span(bytes)), "its HDF5 part"));
        const std::optional<std::int64_t> named = step_of(path.substr(path.rfind('/') + 1));
        if (named && *named != checkpoint.step)
            throw IoError(fmt::format("holds step {}; its name says otherwise", checkpoint.step));
        return checkpoint;
    } catch (const std::exception& error) {
        throw IoError(fmt::format("{}: not the contents of a checkpoint: {}; {}", path, error.what(), mend));
    }
}

std::vector<std::int64_t> list_checkpoints(const std::string& folder) { return steps_of(list_folder(folder)); }

std::optional<Checkpoint> load_newest_good(const std::string& folder, std::vector<std::string>& passed_over,
                                           std::optional<std::int64_t> rows_until) {
    std::vector<std::string> names;
    if (path_exists(folder + "/" + start_checkpoint_name)) names.push_back(start_checkpoint_name);
    for (const std::int64_t step : list_checkpoints(folder)) names.push_back(checkpoint_name(step));
    std::reverse(names.begin(), names.end());
    for (const std::string& name : names) {
        try {
            Checkpoint checkpoint = load_checkpoint(folder + "/" + name);
            if (!rows_until || checkpoint.step <= *rows_until) return checkpoint;
            passed_over.push_back(
                fmt::format("{}/{}: the log lacks rows before it: it ends before step {}", folder, name, *rows_until));
        } catch (const IoError& error) {
            passed_over.push_back(error.what());
        }
    }
    return std::nullopt;
}

}  // namespace headscope::experiments
