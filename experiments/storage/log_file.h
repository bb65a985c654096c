// The file of a log on disk, the changes that are not published yet, and the tail (log_tail.h) for rows in between.
// What is in it is log.h's matter.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "experiments/storage/hdf5.h"
#include "experiments/storage/hdf5_overlay.h"
#include "experiments/storage/log_place.h"
#include "experiments/storage/log_seal.h"
#include "experiments/storage/log_tail.h"

namespace headscope::experiments {

/// Every function throws IoError.
class LogFile {
public:
    /// Empty, to be published at `place`.
    explicit LogFile(const LogPlace& place);
    /// Begins with the log at the path `from` and its tail. Throws when the folder is not in place after that: it may
    /// have been another log.
    LogFile(const LogPlace& place, const std::string& from);
    LogFile(const LogFile&) = delete;
    LogFile& operator=(const LogFile&) = delete;

    const std::string& path() const { return path_; }
    /// The log with the changes that are not published yet, but for rows in the tail.
    hdf5::File& hdf5();

    /// Adds a block of rows: to the tail, or to hdf5() before the first publish.
    void add_rows(std::span<const std::byte> rows);
    bool published() const { return published_; }
    /// Did it begin with a file that another program has rewritten, so that its checksum is gone?
    bool was_rewritten() const { return base_.file >= 0 && base_.sha256.empty(); }
    /// The tail is on disk when this returns.
    void sync_tail() { tail_.sync(); }
    /// Throws when the folder was moved or replaced since this was made. Puts hdf5() with the rows of the tail, and
    /// behind them `rows`, a block or nothing, in the place of the file, which stays as it is until then. Sets
    /// attributes publication, one more than before, and complete_until.
    void publish(std::span<const std::byte> rows, std::int64_t complete_until);

private:
    void require_unchanged_base() const;
    void write_out();

    LogPlace place_;
    std::string path_;   ///< its own, for messages
    SealedFile base_{};  ///< what the changes are made to: the file published last; none for a new log
    TailWriter tail_;
    std::uint64_t blocks_taken_ = 0;  ///< blocks of the tail that hdf5() has, after a publish that failed
    std::int64_t publication_ = 0;    ///< attribute of `base_`
    bool published_ = false;          ///< `base_` is ours, and its tail may be written
    // In this order: the file is closed first.
    std::optional<hdf5::Overlay> changes_;
    std::optional<hdf5::File> changed_;
};

}  // namespace headscope::experiments
