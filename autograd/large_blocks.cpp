#include "autograd/large_blocks.h"

#include <sys/mman.h>

#include <algorithm>
#include <utility>

namespace headscope {
namespace {

/// Sizes are whole cache lines. A few more than asked for, so that tensors of a power-of-two size do not all begin at
/// the same place of a page, where they would push each other out of the cache.
std::size_t size_of_block(std::size_t bytes) { return (bytes + 63) / 64 * 64 + 3 * 64; }

constexpr std::size_t page = 4096;
constexpr std::size_t huge_page = std::size_t{2} << 20;

/// The whole pages within a block: [first, last).
std::pair<std::byte*, std::byte*> whole_pages(std::byte* begin, std::size_t size) {
    const auto from = reinterpret_cast<std::uintptr_t>(begin), to = from + size;
    const std::size_t skip = (page - from % page) % page;
    if (skip + page > size) return {begin, begin};
    return {begin + skip, begin + (to / page * page - from)};
}

}  // namespace

void* LargeBlocks::take(std::size_t bytes) {
    const std::size_t size = size_of_block(bytes);
    auto best = free_.end();
    for (auto block = free_.begin(); block != free_.end(); ++block)
        if (block->size >= size && (best == free_.end() || block->size < best->size)) best = block;
    // Never used space at the end of the range is one large block, the last choice.
    if (best == free_.end()) best = grow(size);
    if (best == free_.end()) return nullptr;
    std::byte* const begin = best->begin;
    const std::size_t used = std::min(best->used, size);
    if (size >= huge_page && used < size) {  // fewer entries of the table of pages: 2 to 4 % of a large model's step
        const auto [first, last] = whole_pages(begin, size);
        madvise(first, static_cast<std::size_t>(last - first), MADV_HUGEPAGE);
    }
    cached_ -= used;
    best->begin += size;
    best->size -= size;
    best->used -= used;
    if (best->size == 0) free_.erase(best);
    return begin;
}

void LargeBlocks::give(void* block, std::size_t bytes) {
    auto* const begin = static_cast<std::byte*>(block);
    const std::size_t size = size_of_block(bytes);
    cached_ += size;
    auto next = std::lower_bound(free_.begin(), free_.end(), begin,
                                 [](const FreeBlock& a, const std::byte* at) { return a.begin < at; });
    const bool joins_next = next != free_.end() && begin + size == next->begin;
    const bool joins_previous = next != free_.begin() && std::prev(next)->begin + std::prev(next)->size == begin;
    if (joins_previous) {
        FreeBlock& previous = *std::prev(next);
        previous.size += size;
        previous.used += size;
        if (joins_next) {
            previous.size += next->size;
            previous.used += next->used;
            free_.erase(next);
        }
    } else if (joins_next) {
        next->begin = begin;
        next->size += size;
        next->used += size;
    } else {
        free_.insert(next, {begin, size, size});
    }
}

std::vector<LargeBlocks::FreeBlock>::iterator LargeBlocks::grow(std::size_t bytes) {
    // Address space costs nothing before it is used, so more is asked for each time; under a limit, only what is
    // needed.
    const std::size_t least = (bytes + page - 1) / page * page;
    for (const std::size_t size : {std::max(next_region_, least), least}) {
        ++system_requests_;
        void* const region =
            mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (region == MAP_FAILED) continue;
        next_region_ = std::min(std::size_t{1} << 30, 2 * next_region_);
        auto* const begin = static_cast<std::byte*>(region);
        const auto place = std::lower_bound(free_.begin(), free_.end(), begin,
                                            [](const FreeBlock& a, const std::byte* at) { return a.begin < at; });
        return free_.insert(place, {begin, size, 0});
    }
    return free_.end();
}

void LargeBlocks::drop_free() {
    std::vector<FreeBlock> rests;  // less than a page each
    for (const FreeBlock& block : free_) {
        const auto [first, last] = whole_pages(block.begin, block.size);
        if (first == last) {
            rests.push_back({block.begin, block.size, 0});
            continue;
        }
        munmap(first, static_cast<std::size_t>(last - first));
        std::byte* const end = block.begin + block.size;
        if (block.begin != first) rests.push_back({block.begin, static_cast<std::size_t>(first - block.begin), 0});
        if (last != end) rests.push_back({last, static_cast<std::size_t>(end - last), 0});
    }
    free_ = std::move(rests);
    cached_ = 0;
}

}  // namespace headscope
