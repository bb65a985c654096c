// The part of the log that grows: groups whose datasets gain a row together, with their own `step` scale.
// Rows wait in memory until flush(), or until a group has a million values, so that adding one costs no HDF5 call.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "experiments/storage/hdf5.h"

namespace headscope::experiments {

/// A dataset that grows, and its rows that are not yet in the file.
struct GrowingDataset {
    std::string name, units, long_name;
    hdf5::Type type;
    std::vector<std::string> scales{};  ///< datasets beside it: the scales of the axes after the first
    hdf5::Dims row_shape{};
    std::vector<double> pending{};
    std::vector<std::string> pending_texts{};  ///< instead, when the type is text

    std::size_t row_size() const;
};

struct Table {
    std::vector<GrowingDataset> datasets;
    std::vector<std::int64_t> pending_steps{};
};

class LogTables {
public:
    /// `path` names the log in messages. `file` must outlive this.
    LogTables(hdf5::File& file, std::string path) : file_(file), path_(std::move(path)) {}

    /// Makes a group with its step scale and datasets. A group that is there (a resumed run) keeps its rows; throws
    /// IoError when types or shapes are not the same.
    void declare(const std::string& group, std::vector<GrowingDataset> datasets);
    /// Throws Error when the group is not declared.
    Table& table(const std::string& group);
    /// Adds one row: `values` holds a row of each dataset, one after another. Throws Error when their number is wrong
    /// or a value of an integer dataset is not below 2^53.
    void append(const std::string& group, std::int64_t step, const std::vector<double>& values);
    /// Puts all rows into the file.
    void flush();
    /// Drops the rows of `first_step` and later of a group in the file, after reading it all. Throws IoError when it is
    /// damaged.
    void drop_rows(const std::string& group, std::int64_t first_step);

private:
    void check_same(const std::string& group, const std::vector<GrowingDataset>& datasets) const;
    void flush(const std::string& group, Table& table);

    hdf5::File& file_;
    std::string path_;
    std::map<std::string, Table> tables_;  // by group: "/train", "/heads/overlap", ...
};

}  // namespace headscope::experiments
