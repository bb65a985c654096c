#include "experiments/storage/log_file.h"

#include <utility>

#include "experiments/base/errors.h"
#include "experiments/base/file_replacement.h"
#include "experiments/base/sha256.h"

namespace headscope::experiments {

LogFile::LogFile(const LogPlace& place)
    : place_(place), path_(place.folder.path_of(place.name)), tail_(place.folder, place.name) {}

LogFile::LogFile(const LogPlace& place, const std::string& from) : LogFile(place) {
    base_ = open_sealed_file(from);
    require_log(hdf5(), from);
    if (hdf5().has_attribute("/", "publication")) publication_ = hdf5().integer_attribute("/", "publication");
    add_tail(hdf5(), from);
    place_.folder.require_in_place();
}

hdf5::File& LogFile::hdf5() {
    if (changed_) return *changed_;
    if (changes_) changed_.emplace(hdf5::File::open_in(*changes_, path_));  // a publish has failed
    else if (base_.file < 0) changed_.emplace(hdf5::File::create_in(changes_.emplace(path_), path_));
    else changed_.emplace(hdf5::File::open_in(changes_.emplace(path_, base_.file, base_.size), path_));
    return *changed_;
}

void LogFile::add_rows(std::span<const std::byte> rows) {
    if (published_) tail_.append(publication_, rows);
    else append_rows(hdf5(), hdf5::File::open_image(rows, path_));
}

/// Of a file that another program has written to nobody knows what it holds, and what it holds would be sealed.
void LogFile::require_unchanged_base() const {
    if (!base_.sha256.empty() && !is_unchanged(base_, path_))
        throw IoError(path_ +
                      ": was changed by another program while the run went on; `headscope verify` says whether "
                      "it is sound, then `headscope resume` goes on");
}

/// The file with its changes, as a new file in its place.
void LogFile::write_out() {
    changed_->close();
    changed_.reset();
    changes_->check();
    FileReplacement out(place_.folder, place_.name);
    SealedFile written;
    Sha256 digest;
    changes_->read_all([&](std::span<const std::byte> bytes) {
        digest.add(bytes);
        out.write(bytes);
    });
    written.size = changes_->size();
    written.sha256 = digest.hex();
    const std::string seal = seal_of(written.sha256);
    out.write(std::as_bytes(std::span(seal)));
    written.file = out.share();
    if (!is_unchanged(written, path_))
        throw IoError(path_ + ": reads back other than it was written; the disk may be failing, the file before stays");
    if (was_rewritten()) require_readable(written, path_);  // another tool wrote it
    out.replace();
    changes_.reset();  // not before: a failure leaves them to the next try
    base_ = std::move(written);
}

void LogFile::publish(std::span<const std::byte> rows, std::int64_t complete_until) {
    require_unchanged_base();
    const auto append = [&](std::span<const std::byte> block) {
        append_rows(hdf5(), hdf5::File::open_image(block, path_));
    };
    blocks_taken_ = tail_.read_back(blocks_taken_, append);
    if (!rows.empty()) append(rows);
    hdf5().set_attribute("/", "publication", publication_ + 1);
    hdf5().set_attribute("/", "complete_until", complete_until);
    write_out();
    ++publication_;
    tail_.remove();
    blocks_taken_ = 0;
    published_ = true;
}

}  // namespace headscope::experiments
