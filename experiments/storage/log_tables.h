// The part of the log that grows: groups whose datasets gain a row together, with their own `step` scale.
// Rows wait in memory until they are taken, so that adding one costs no HDF5 call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "experiments/storage/hdf5.h"

namespace headscope::experiments {

/// A dataset that grows, and its rows that have not been taken yet.
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
    /// `path` names the log in messages.
    explicit LogTables(std::string path) : path_(std::move(path)) {}

    /// Makes a group with its step scale and datasets in the log's file. A group that is there (a resumed run) keeps
    /// its rows; throws IoError when types or shapes are not the same.
    void declare(hdf5::File& file, const std::string& group, std::vector<GrowingDataset> datasets);
    /// Throws Error when the group is not declared.
    Table& table(const std::string& group);
    /// Adds one row: `values` holds a row of each dataset, one after another. Throws Error when their number is wrong
    /// or a value of an integer dataset is not below 2^53.
    void append(const std::string& group, std::int64_t step, const std::vector<double>& values);
    /// Do rows wait?
    bool has_rows() const;
    /// Values that wait, of all groups; of events none.
    std::size_t pending_values() const { return pending_values_; }
    /// The rows that wait, as a block for the log's tail (log_tail.h); they wait no longer.
    std::vector<std::byte> take_rows(std::int64_t complete_until);

private:
    void check_same(const hdf5::File& file, const std::string& group,
                    const std::vector<GrowingDataset>& datasets) const;

    std::string path_;
    std::map<std::string, Table> tables_;  // by group: "/train", "/heads/overlap", ...
    std::size_t pending_values_ = 0;
};

/// Drops the rows of `first_step` and later of a group in a log. Throws IoError when its datasets differ in length;
/// `path` names the log.
void drop_rows(hdf5::File& file, const std::string& path, const std::string& group, std::int64_t first_step);

}  // namespace headscope::experiments
