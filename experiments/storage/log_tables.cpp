#include "experiments/storage/log_tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "experiments/base/errors.h"

namespace headscope::experiments {

namespace {

template <class T>
void write_as(hdf5::File& file, const std::string& path, const hdf5::Dims& shape, const std::vector<double>& values) {
    std::vector<T> converted(values.size());
    std::transform(values.begin(), values.end(), converted.begin(), [](double value) { return static_cast<T>(value); });
    file.write<T>(path, shape, converted);
}

void write_rows(hdf5::File& file, const std::string& path, std::int64_t rows, GrowingDataset& dataset) {
    hdf5::Dims shape = dataset.row_shape;
    shape.insert(shape.begin(), rows);
    switch (dataset.type) {
        case hdf5::Type::f32: return write_as<float>(file, path, shape, dataset.pending);
        case hdf5::Type::i64:
            for (double& value : dataset.pending) value = std::round(value);
            return write_as<std::int64_t>(file, path, shape, dataset.pending);
        case hdf5::Type::text: return file.write_texts(path, dataset.pending_texts);
        default: return file.write<double>(path, shape, dataset.pending);
    }
}

}  // namespace

std::size_t GrowingDataset::row_size() const {
    std::int64_t size = 1;
    for (const std::int64_t length : row_shape) size *= length;
    return static_cast<std::size_t>(size);
}

void LogTables::declare(hdf5::File& file, const std::string& group, std::vector<GrowingDataset> datasets) {
    const std::string step = group + "/step";
    if (file.has_dataset(step)) {
        check_same(file, group, datasets);
    } else {
        file.create_growing(step, hdf5::Type::i64, {});
        file.make_scale(step, "step");
        file.describe(step, "1", "number of updates before this row");
        for (const GrowingDataset& dataset : datasets) {
            const std::string name = group + "/" + dataset.name;
            file.create_growing(name, dataset.type, dataset.row_shape);
            file.describe(name, dataset.units, dataset.long_name);
            file.attach_scale(name, 0, step);
            for (std::size_t axis = 0; axis < dataset.scales.size(); ++axis) {
                file.attach_scale(name, static_cast<int>(axis) + 1, group + "/" + dataset.scales[axis]);
            }
        }
    }
    tables_.try_emplace(group, Table{std::move(datasets)});
}

void LogTables::check_same(const hdf5::File& file, const std::string& group,
                           const std::vector<GrowingDataset>& datasets) const {
    const std::vector<std::int64_t> steps = file.read<std::int64_t>(group + "/step");
    const std::int64_t rows = std::ssize(steps);
    for (const GrowingDataset& dataset : datasets) {
        const std::string name = group + "/" + dataset.name;
        hdf5::Dims shape = dataset.row_shape;
        shape.insert(shape.begin(), rows);
        const hdf5::DatasetInfo found = file.info(name);
        if (!found.growing || found.type != dataset.type || found.shape != shape) {
            throw IoError(
                fmt::format("{}: {} is of another type or shape than this run writes: it is [{}], the run's "
                            "is [{}]; the log is of another run",
                            path_, name, fmt::join(found.shape, ", "), fmt::join(shape, ", ")));
        }
    }
}

Table& LogTables::table(const std::string& group) {
    const auto found = tables_.find(group);
    if (found == tables_.end()) throw Error("log: " + group + " is not declared; declare it before the first row");
    return found->second;
}

void LogTables::append(const std::string& group, std::int64_t step, const std::vector<double>& values) {
    constexpr double exact = 9007199254740992.0;  // 2^53
    Table& rows = table(group);
    std::size_t needed = 0;
    for (const GrowingDataset& dataset : rows.datasets) {
        const std::size_t first = needed;
        needed += dataset.row_size();
        if (dataset.type != hdf5::Type::i64) continue;
        for (std::size_t i = first; i < std::min(needed, values.size()); ++i) {
            if (std::abs(values[i]) < exact) continue;
            throw Error(fmt::format("log: {}/{} holds integers below 2^53, not {}", group, dataset.name, values[i]));
        }
    }
    if (values.size() != needed) {
        throw Error(fmt::format("log: a row of {} is {} values, {} were given", group, needed, values.size()));
    }
    auto next = values.begin();
    for (GrowingDataset& dataset : rows.datasets) {
        const auto end = next + static_cast<std::ptrdiff_t>(dataset.row_size());
        dataset.pending.insert(dataset.pending.end(), next, end);
        next = end;
    }
    rows.pending_steps.push_back(step);
    pending_values_ += needed;
}

bool LogTables::has_rows() const {
    return std::ranges::any_of(tables_, [](const auto& table) { return !table.second.pending_steps.empty(); });
}

std::vector<std::byte> LogTables::take_rows(std::int64_t complete_until) {
    hdf5::File rows = hdf5::File::create_in_memory(0, pending_values_ * sizeof(double) + (256 << 10));
    rows.set_attribute("/", "complete_until", complete_until);
    for (auto& [group, table] : tables_) {
        if (table.pending_steps.empty()) continue;
        const std::int64_t count = std::ssize(table.pending_steps);
        rows.write<std::int64_t>(group + "/step", {count}, table.pending_steps);
        for (GrowingDataset& dataset : table.datasets) {
            write_rows(rows, group + "/" + dataset.name, count, dataset);
            dataset.pending.clear();
            dataset.pending_texts.clear();
        }
        table.pending_steps.clear();
    }
    pending_values_ = 0;
    return rows.image();
}

void drop_rows(hdf5::File& file, const std::string& path, const std::string& group, std::int64_t first_step) {
    const std::vector<std::int64_t> steps = file.read<std::int64_t>(group + "/step");
    const auto end = std::find_if(steps.begin(), steps.end(), [&](std::int64_t step) { return step >= first_step; });
    for (const std::string& name : file.children(group)) {
        const std::string dataset = group + "/" + name;
        if (!file.has_dataset(dataset)) continue;
        const hdf5::DatasetInfo info = file.info(dataset);
        if (!info.growing) continue;
        if (info.shape[0] != static_cast<std::int64_t>(steps.size())) {
            throw IoError(fmt::format("{}: {} has {} rows, its step scale {}; the log is damaged", path, dataset,
                                      info.shape[0], steps.size()));
        }
        file.truncate_rows(dataset, end - steps.begin());
    }
}

}  // namespace headscope::experiments
