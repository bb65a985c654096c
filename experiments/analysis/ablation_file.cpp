#include "experiments/analysis/ablation_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "experiments/base/errors.h"
#include "experiments/base/file_replacement.h"
#include "experiments/storage/file_lock.h"
#include "experiments/storage/hdf5.h"
#include "experiments/storage/log_seal.h"

namespace headscope::experiments {
namespace {

constexpr const char* schema_name = "headscope.ablation";
constexpr const char* schema_version = "1.0";

struct Scale {
    std::string name, long_name;
    std::int64_t size;
    std::vector<std::string> labels = {};  ///< none: 0, 1, 2, ...
};

/// A dataset [step, axes...]; `row` are the values of one step.
struct Dataset {
    std::string name, units, long_name;
    std::vector<std::string> axes;
    std::vector<double> row = {};
    bool integer = false;
};

std::vector<Scale> scales_of(const AblationShape& shape) {
    std::vector<std::string> kinds;
    for (const Ablation ablation : ablations) kinds.push_back(name_of(ablation));
    std::vector<Scale> scales{{"layer", "layer", shape.layers},
                              {"head", "head", shape.heads},
                              {"ablation", "what the head's output becomes", std::ssize(kinds), kinds},
                              {"draw", "random direction", shape.draws}};
    if (!shape.classes.empty()) scales.push_back({"class", "target class", std::ssize(shape.classes), shape.classes});
    return scales;
}

/// Values of a row, in the order of the axes layer, head and a third one.
template <class Value>
std::vector<double> each_head(const AblationShape& shape, std::int64_t count, Value&& value) {
    std::vector<double> row;
    for (std::int64_t layer = 0; layer < shape.layers; ++layer)
        for (std::int64_t head = 0; head < shape.heads; ++head)
            for (std::int64_t i = 0; i < count; ++i) row.push_back(value(layer, head, i));
    return row;
}

/// The datasets of a file, in their order. Rows are left empty where there is no result.
std::vector<Dataset> fields_of(const AblationShape& shape, const AblationResult* result) {
    const std::string nat = "nat/token";
    const std::vector<std::string> none, heads{"layer", "head"}, kinds{"layer", "head", "ablation"},
        draws{"layer", "head", "draw"}, classes{"class"}, kinds_classes{"layer", "head", "ablation", "class"};
    std::vector<Dataset> fields;
    const auto add = [&](Dataset field, auto&& row) {
        if (result != nullptr) field.row = row();
        fields.push_back(std::move(field));
    };
    const auto kind = [](std::int64_t i) { return ablations[static_cast<std::size_t>(i)]; };
    const auto by_kind = [&](auto&& value) {
        return [&, value] {
            return each_head(shape, std::ssize(ablations), [&](std::int64_t l, std::int64_t h, std::int64_t i) {
                return value(result->of(l, h, kind(i)));
            });
        };
    };
    const auto one = [](double value) { return std::vector<double>{value}; };

    add({"baseline_loss", nat, "loss, nothing ablated", none}, [&] { return one(result->baseline.loss); });
    add({"baseline_loss_refit", nat, "loss, nothing ablated, temperature refitted", none},
        [&] { return one(result->baseline.loss_refit); });
    add({"baseline_inverse_temperature", "1", "inverse temperature refitted, nothing ablated", none},
        [&] { return one(result->baseline.inverse_temperature); });
    add({"loss", nat, "loss with a head ablated", kinds}, by_kind([](const Losses& losses) { return losses.loss; }));
    add({"delta", nat, "change of the loss as a head is ablated", kinds},
        by_kind([&](const Losses& losses) { return losses.loss - result->baseline.loss; }));
    add({"loss_refit", nat, "loss with a head ablated, temperature refitted", kinds},
        by_kind([](const Losses& losses) { return losses.loss_refit; }));
    add({"inverse_temperature", "1", "inverse temperature refitted, a head ablated", kinds},
        by_kind([](const Losses& losses) { return losses.inverse_temperature; }));
    add({"control_head", "1", "another head of the layer, chosen at random; -1: there is none", heads, {}, true},
        [&] { return std::vector<double>(result->control_head.begin(), result->control_head.end()); });
    add({"control_delta", nat, "change of the loss as the control head is ablated", kinds}, [&] {
        return each_head(shape, std::ssize(ablations), [&](std::int64_t l, std::int64_t h, std::int64_t i) {
            return result->control_delta(l, h, kind(i));
        });
    });
    add({"direction_delta", nat, "change of the loss as a random vector as long as what the head adds is subtracted",
         draws},
        [&] {
            return each_head(shape, shape.draws, [&](std::int64_t l, std::int64_t h, std::int64_t i) {
                return result->direction_delta(l, h, i);
            });
        });
    add({"direction_loss_refit", nat, "loss with that vector subtracted, temperature refitted", draws}, [&] {
        return each_head(shape, shape.draws, [&](std::int64_t l, std::int64_t h, std::int64_t i) {
            return result->direction(l, h, i).loss_refit;
        });
    });
    add({"importance", "nat", "mean size of the loss gradient of a gate on the head's output", heads},
        [&] { return result->importance; });
    add({"spearman", "1", "rank correlation of importance and delta over all heads", {"ablation"}},
        [&] { return std::vector<double>(result->spearman.begin(), result->spearman.end()); });
    if (shape.classes.empty()) return fields;

    const auto by_class = [&](auto&& value) {
        return [&, value] {
            const std::int64_t C = std::ssize(shape.classes);
            return each_head(shape, std::ssize(ablations) * C, [&](std::int64_t l, std::int64_t h, std::int64_t i) {
                return value(result->of(l, h, kind(i / C)), static_cast<std::size_t>(i % C));
            });
        };
    };
    add({"baseline_class_loss", nat, "loss of targets of a class, nothing ablated", classes},
        [&] { return result->baseline.class_loss; });
    add({"baseline_class_loss_refit", nat, "loss of targets of a class, nothing ablated, temperature refitted",
         classes},
        [&] { return result->baseline.class_loss_refit; });
    add({"class_loss", nat, "loss of targets of a class with a head ablated", kinds_classes},
        by_class([](const Losses& losses, std::size_t c) { return losses.class_loss[c]; }));
    add({"class_delta", nat, "change of the loss of targets of a class as a head is ablated", kinds_classes},
        by_class([&](const Losses& losses, std::size_t c) {
            return losses.class_loss[c] - result->baseline.class_loss[c];
        }));
    add({"class_loss_refit", nat, "loss of targets of a class with a head ablated, temperature refitted",
         kinds_classes},
        by_class([](const Losses& losses, std::size_t c) { return losses.class_loss_refit[c]; }));
    return fields;
}

/// Sizes of a field's axes after the first.
hdf5::Dims row_shape(const Dataset& field, const std::vector<Scale>& scales) {
    hdf5::Dims sizes;
    for (const std::string& axis : field.axes) sizes.push_back(std::ranges::find(scales, axis, &Scale::name)->size);
    return sizes;
}

/// Rows by step; each holds the row of every field.
using Rows = std::map<std::int64_t, std::vector<std::vector<double>>>;

[[noreturn]] void refuse(const std::string& path, const std::string& what) {
    throw UsageError(path + ": " + what + "; give another file with --out, or remove this one");
}

void check_settings(const hdf5::File& file, const std::string& path, const std::string& run_id,
                    const AblationShape& shape) {
    if (!file.has_attribute("/", "schema_name") || file.text_attribute("/", "schema_name") != schema_name)
        refuse(path, "is there, and is no file of `headscope ablate`");
    if (const std::string version = file.text_attribute("/", "schema_version"); version != schema_version)
        refuse(path, fmt::format("is of schema {}, and this program writes {}", version, schema_version));
    if (file.text_attribute("/", "run_id") != run_id) refuse(path, "is about another run");
    for (const auto& [name, value] : {std::pair{"eval_batches", shape.eval_batches}, std::pair{"draws", shape.draws}})
        if (const std::int64_t found = file.integer_attribute("/", name); found != value)
            refuse(path, fmt::format("was made with {} = {}, not {}", name, found, value));
    for (const Scale& scale : scales_of(shape)) {
        const std::string dataset = "/" + scale.name;
        if (!file.has_dataset(dataset) || file.info(dataset).shape != hdf5::Dims{scale.size} ||
            (!scale.labels.empty() && file.read_texts(dataset) != scale.labels))
            refuse(path, fmt::format("has another axis `{}`", scale.name));
    }
    if (shape.classes.empty() && file.has_dataset("/class")) refuse(path, "has target classes, the task has none");
}

Rows read_rows(const std::string& path, const std::string& run_id, const AblationShape& shape) {
    if (!path_exists(path)) return {};
    const hdf5::File file = open_sealed(path);
    check_settings(file, path, run_id, shape);
    const std::vector<std::int64_t> steps = file.read<std::int64_t>("/step");
    const std::vector<Scale> scales = scales_of(shape);
    Rows rows;
    for (const Dataset& field : fields_of(shape, nullptr)) {
        const std::string path_inside = "/" + field.name;
        hdf5::Dims expected = row_shape(field, scales);
        expected.insert(expected.begin(), std::ssize(steps));
        if (const hdf5::Dims found = file.info(path_inside).shape; found != expected)
            throw IoError(fmt::format("{}: {} is [{}] and should be [{}]; the file is damaged", path, field.name,
                                      fmt::join(found, ", "), fmt::join(expected, ", ")));
        std::vector<double> values;
        if (field.integer) {
            const std::vector<std::int64_t> integers = file.read<std::int64_t>(path_inside);
            values.assign(integers.begin(), integers.end());
        } else {
            values = file.read<double>(path_inside);
        }
        const std::size_t size = steps.empty() ? 0 : values.size() / steps.size();
        for (std::size_t row = 0; row < steps.size(); ++row) {
            const auto begin = values.begin() + static_cast<std::ptrdiff_t>(row * size);
            rows[steps[row]].emplace_back(begin, begin + static_cast<std::ptrdiff_t>(size));
        }
    }
    return rows;
}

void describe_file(hdf5::File& file, const std::string& run_id, const AblationShape& shape) {
    file.set_attribute("/", "schema_name", std::string(schema_name));
    file.set_attribute("/", "schema_version", std::string(schema_version));
    file.set_attribute("/", "run_id", run_id);
    file.set_attribute("/", "eval_batches", shape.eval_batches);
    file.set_attribute("/", "draws", shape.draws);
    const std::pair<const char*, const char*> words[] = {
        {"zero", "the head's output, before W_o, becomes 0; b_o stays"},
        {"mean", "the head's output, before W_o, becomes its mean over all evaluation sequences and positions"},
        {"resample",
         "the head's output, before W_o, becomes its output at the same position of the next evaluation sequence; the "
         "last sequence takes the first's"},
        {"control_head", "another head of the same layer, chosen at random, is ablated in the same way"},
        {"direction",
         "what the head adds to the layer's output, r = z W_o, stays; |r| u is subtracted at every position instead, u "
         "a random unit vector of R^d_model"},
        {"refit", "the loss of softmax(beta * logits) at the one inverse temperature beta > 0 where it is lowest"}};
    for (const auto& [name, text] : words) file.set_attribute("/", name, std::string(text));
}

void write_scale(hdf5::File& file, const Scale& scale, std::vector<std::int64_t> numbers) {
    const std::string path = "/" + scale.name;
    if (!scale.labels.empty()) file.write_texts(path, scale.labels, hdf5::Layout::compressed);
    else file.write<std::int64_t>(path, {scale.size}, numbers, hdf5::Layout::compressed);
    file.make_scale(path, scale.name);
    file.describe(path, "1", scale.long_name);
}

void write_field(hdf5::File& file, const Dataset& field, const hdf5::Dims& shape, const std::vector<double>& values) {
    const std::string path = "/" + field.name;
    if (field.integer) {
        const std::vector<std::int64_t> integers(values.begin(), values.end());
        file.write<std::int64_t>(path, shape, integers, hdf5::Layout::compressed);
    } else {
        file.write<double>(path, shape, values, hdf5::Layout::compressed);
    }
    file.describe(path, field.units, field.long_name);
    file.attach_scale(path, 0, "/step");
    for (std::size_t axis = 0; axis < field.axes.size(); ++axis)
        file.attach_scale(path, static_cast<int>(axis) + 1, "/" + field.axes[axis]);
}

}  // namespace

void check_ablation_file(const std::string& path, const std::string& run_id, const AblationShape& shape) {
    const std::filesystem::path folder = std::filesystem::path(path).parent_path();
    std::error_code error;
    if (!folder.empty() && !std::filesystem::is_directory(folder, error))
        throw IoError(path + ": cannot be made: " + folder.string() + " is no folder");
    read_rows(path, run_id, shape);
}

void write_ablation(const std::string& path, const std::string& run_id, const AblationResult& result) {
    const Folder folder = Folder::of_file(path);
    const std::string name = std::filesystem::path(path).filename().string();
    const FileLock lock(folder, name);
    Rows rows = read_rows(path, run_id, result);
    const std::vector<Dataset> fields = fields_of(result, &result);
    std::vector<std::vector<double>>& own = rows[result.step];
    own.clear();
    for (const Dataset& field : fields) own.push_back(field.row);

    hdf5::File file = hdf5::File::create_in_memory();
    describe_file(file, run_id, result);
    std::vector<std::int64_t> steps;
    for (const auto& [step, row] : rows) steps.push_back(step);
    write_scale(file, {"step", "number of updates before", std::ssize(steps)}, steps);
    const std::vector<Scale> scales = scales_of(result);
    for (const Scale& scale : scales) {
        std::vector<std::int64_t> numbers;
        for (std::int64_t i = 0; i < scale.size; ++i) numbers.push_back(i);
        write_scale(file, scale, numbers);
    }
    for (std::size_t f = 0; f < fields.size(); ++f) {
        std::vector<double> values;
        for (const auto& [step, row] : rows) values.insert(values.end(), row[f].begin(), row[f].end());
        hdf5::Dims shape = row_shape(fields[f], scales);
        shape.insert(shape.begin(), std::ssize(steps));
        write_field(file, fields[f], shape, values);
    }
    std::vector<std::byte> bytes = file.image();
    seal_log(bytes);
    write_file_atomically(folder, name, bytes);
}

}  // namespace headscope::experiments
