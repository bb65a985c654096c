// Changes to an HDF5 file that touch no file: HDF5 reads and writes through an overlay, which keeps the pages that have
// changed and takes all others from the file below, the base. The result is then written out in one go, from the
// beginning to the end, as a new file.
//
// Memory is bounded: pages that are too many go to a file without a name. No write of HDF5 ever fails, for it cannot
// recover from that: what went wrong is thrown by check().
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "experiments/base/files.h"

namespace headscope::experiments::hdf5 {

class Overlay {
public:
    static constexpr std::size_t page_size = 64 << 10;
    static constexpr std::size_t default_pages = 256;  ///< 16 MiB
    static constexpr std::size_t most_unchanged = 16;  ///< pages of the base in memory; HDF5 reads in small pieces

    /// An empty file. `path` names it in messages, and the file without a name is made beside it. At most `most_pages`
    /// pages are kept in memory.
    explicit Overlay(std::string path, std::size_t most_pages = default_pages);
    /// The first `size` bytes of `base`, which must stay open and as it is.
    Overlay(std::string path, const Descriptor& base, std::uint64_t size, std::size_t most_pages = default_pages);
    Overlay(const Overlay&) = delete;
    Overlay& operator=(const Overlay&) = delete;

    std::uint64_t size() const { return size_; }
    /// Hands over all bytes, in order, piece by piece. Throws IoError.
    void read_all(const std::function<void(std::span<const std::byte>)>& use);
    /// Throws what went wrong in reads and writes so far.
    void check() const;

    // For HDF5. Bytes behind the end read as zeros. A read returns false when it fails.
    bool read(std::uint64_t at, std::span<std::byte> bytes) noexcept;
    void write(std::uint64_t at, std::span<const std::byte> bytes) noexcept;
    void set_size(std::uint64_t size) { size_ = size; }

private:
    using Page = std::vector<std::byte>;
    struct Part {
        std::uint64_t page;
        std::size_t offset, size;
    };
    static Part first_part(std::uint64_t at, std::size_t size);
    Page& changed_page(std::uint64_t number);
    const Page& unchanged_page(std::uint64_t number);
    Page load(std::uint64_t number);
    void read_below(std::uint64_t at, std::span<std::byte> bytes) const;
    void make_room();

    std::string path_;
    const Descriptor* base_ = nullptr;
    std::uint64_t base_size_ = 0, size_ = 0;
    std::size_t most_pages_;
    std::map<std::uint64_t, Page> pages_;           ///< those that have changed
    std::map<std::uint64_t, Page> unchanged_;       ///< some of the base
    Descriptor spill_;                              ///< the file without a name
    std::map<std::uint64_t, std::string> spilled_;  ///< pages in it, with their SHA-256
    std::exception_ptr error_;
};

}  // namespace headscope::experiments::hdf5
