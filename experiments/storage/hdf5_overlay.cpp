#include "experiments/storage/hdf5_overlay.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "experiments/base/errors.h"
#include "experiments/base/sha256.h"

namespace headscope::experiments::hdf5 {

Overlay::Overlay(std::string path, std::size_t most_pages) : path_(std::move(path)), most_pages_(most_pages) {}

Overlay::Overlay(std::string path, const Descriptor& base, std::uint64_t size, std::size_t most_pages)
    : path_(std::move(path)), base_(&base), base_size_(size), size_(size), most_pages_(most_pages) {}

void Overlay::check() const {
    if (error_) std::rethrow_exception(error_);
}

/// How much of a range lies in its first page.
Overlay::Part Overlay::first_part(std::uint64_t at, std::size_t size) {
    const auto offset = static_cast<std::size_t>(at % page_size);
    return {at / page_size, offset, std::min(size, page_size - offset)};
}

void Overlay::read_below(std::uint64_t at, std::span<std::byte> bytes) const {
    const std::size_t there =
        at >= base_size_ ? 0 : static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), base_size_ - at));
    if (there > 0) read_at(*base_, path_, at, bytes.first(there));
    std::ranges::fill(bytes.subspan(there), std::byte{0});
}

/// A page that lies in the file without a name.
Overlay::Page Overlay::load(std::uint64_t number) {
    Page page(page_size);
    read_at(spill_, path_, number * page_size, page);
    if (sha256(page) != spilled_.at(number))
        throw IoError(path_ + ": reads back other than it was written; the disk may be failing");
    return page;
}

/// The page in memory, to be changed.
Overlay::Page& Overlay::changed_page(std::uint64_t number) {
    if (const auto found = pages_.find(number); found != pages_.end()) return found->second;
    make_room();
    Page page = spilled_.contains(number) ? load(number) : Page(page_size);
    if (!spilled_.contains(number)) read_below(number * page_size, page);
    unchanged_.erase(number);
    return pages_[number] = std::move(page);
}

const Overlay::Page& Overlay::unchanged_page(std::uint64_t number) {
    if (const auto found = unchanged_.find(number); found != unchanged_.end()) return found->second;
    Page page(page_size);
    read_below(number * page_size, page);
    if (unchanged_.size() == most_unchanged) unchanged_.clear();
    return unchanged_[number] = std::move(page);
}

void Overlay::make_room() {
    if (pages_.size() < most_pages_) return;
    if (spill_ < 0) spill_ = FileReplacement(path_).share();  // its name is gone at once
    for (const auto& [number, page] : pages_) {
        std::span<const std::byte> rest = page;
        while (!rest.empty()) {
            const auto at = static_cast<off_t>(number * page_size + (page_size - rest.size()));
            const ssize_t written = ::pwrite(spill_, rest.data(), rest.size(), at);
            if (written < 0 && errno != EINTR) fail_io(path_, "cannot be written", errno);
            if (written > 0) rest = rest.subspan(static_cast<std::size_t>(written));
        }
        spilled_[number] = sha256(page);
    }
    pages_.clear();
}

bool Overlay::read(std::uint64_t at, std::span<std::byte> bytes) noexcept {
    try {
        while (!bytes.empty()) {
            const Part part = first_part(at, bytes.size());
            if (const auto page = pages_.find(part.page); page != pages_.end())
                std::memcpy(bytes.data(), page->second.data() + part.offset, part.size);
            else if (spilled_.contains(part.page))
                std::memcpy(bytes.data(), load(part.page).data() + part.offset, part.size);
            else std::memcpy(bytes.data(), unchanged_page(part.page).data() + part.offset, part.size);
            at += part.size;
            bytes = bytes.subspan(part.size);
        }
        return true;
    } catch (...) {
        if (!error_) error_ = std::current_exception();
        return false;
    }
}

void Overlay::write(std::uint64_t at, std::span<const std::byte> bytes) noexcept {
    try {
        while (!bytes.empty()) {
            const Part part = first_part(at, bytes.size());
            std::memcpy(changed_page(part.page).data() + part.offset, bytes.data(), part.size);
            at += part.size;
            bytes = bytes.subspan(part.size);
        }
        size_ = std::max(size_, at);
    } catch (...) {
        if (!error_) error_ = std::current_exception();
    }
}

void Overlay::read_all(const std::function<void(std::span<const std::byte>)>& use) {
    check();
    constexpr std::uint64_t pages_a_piece = 16;
    std::vector<std::byte> piece;
    for (std::uint64_t at = 0; at < size_; at += pages_a_piece * page_size) {
        piece.resize(static_cast<std::size_t>(std::min<std::uint64_t>(size_ - at, pages_a_piece * page_size)));
        if (!read(at, piece)) check();
        use(piece);
    }
}

}  // namespace headscope::experiments::hdf5
