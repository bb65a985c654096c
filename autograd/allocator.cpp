#include "autograd/allocator.h"

#include <array>
#include <bit>
#include <cstdlib>
#include <mutex>
#include <string>
#include <vector>

#include "autograd/error.h"
#include "autograd/large_blocks.h"

namespace headscope::allocator {
namespace {

constexpr std::size_t alignment = 64;
constexpr std::size_t steps = 8;  // size classes per power of two: at most an eighth of a block is unused

#if defined(HEADSCOPE_SANITIZES_ADDRESS)
constexpr bool caching = false;  // a cache would hide uses after free
#else
constexpr bool caching = true;
#endif

struct SizeClass {
    std::size_t index;
    std::size_t bytes;
};

/// The smallest class that holds `bytes`: multiples of 64 up to 512, then eight steps per power of two.
SizeClass size_class(std::size_t bytes) {
    if (bytes <= alignment * steps) {
        const std::size_t units = bytes == 0 ? 1 : (bytes + alignment - 1) / alignment;
        return {units, units * alignment};
    }
    const std::size_t power = std::bit_floor(bytes - 1);  // power < bytes <= 2 * power
    const std::size_t step = power / steps;
    const std::size_t extra = (bytes - power + step - 1) / step;  // 1 ... 8
    const auto log = static_cast<std::size_t>(std::countr_zero(power));
    return {log * steps + extra, power + extra * step};
}

struct Cache {
    std::mutex mutex;
    std::array<std::vector<void*>, 64 * (steps + 1)> free_blocks;  // small ones, by size class
    LargeBlocks large;
    Stats stats;
};

/// Blocks of this size and more are large ones.
constexpr std::size_t large_bytes = std::size_t{128} << 10;
bool is_large(std::size_t bytes) { return caching && bytes >= large_bytes; }

/// What a block of that size counts for in Stats.
std::size_t counted_bytes(std::size_t bytes) {
    return is_large(bytes) ? (bytes + alignment - 1) / alignment * alignment : size_class(bytes).bytes;
}

/// Never destroyed: tensors in static variables may outlive it otherwise.
Cache& cache() {
    static Cache* const instance = new Cache;
    return *instance;
}

void* ask_system(std::size_t bytes, Cache& c) {
    ++c.stats.system_requests;
    return std::aligned_alloc(alignment, bytes);
}

void drop_cached(Cache& c) {
    for (auto& blocks : c.free_blocks) {
        for (void* block : blocks) std::free(block);
        blocks.clear();
    }
    c.stats.cached = 0;
    c.large.drop_free();
}

/// A block from the cache or the system; null when there is none.
void* find_block(std::size_t bytes, Cache& c) {
    if (is_large(bytes)) return c.large.take(bytes);
    const SizeClass size = size_class(bytes);
    auto& blocks = c.free_blocks[size.index];
    if (blocks.empty()) return ask_system(size.bytes, c);
    void* const block = blocks.back();
    blocks.pop_back();
    c.stats.cached -= size.bytes;
    return block;
}

}  // namespace

void* allocate(std::size_t bytes) {
    Cache& c = cache();
    if (bytes > (std::size_t{1} << 47))
        throw Error("memory: a block of " + std::to_string(bytes) + " bytes is too large");
    const std::lock_guard lock(c.mutex);
    void* block = find_block(bytes, c);
    if (block == nullptr) {  // what lies in the cache may be what is missing
        drop_cached(c);
        block = find_block(bytes, c);
    }
    if (block == nullptr)
        throw Error("memory: the system has no block of " + std::to_string(counted_bytes(bytes)) + " bytes; " +
                    std::to_string(c.stats.in_use) + " bytes are in use; make the model or the batch smaller");
    c.stats.in_use += counted_bytes(bytes);
    if (c.stats.in_use > c.stats.peak) c.stats.peak = c.stats.in_use;
    return block;
}

void release(void* block, std::size_t bytes) noexcept {
    Cache& c = cache();
    const std::lock_guard lock(c.mutex);
    c.stats.in_use -= counted_bytes(bytes);
    if (!caching) {
        std::free(block);
        return;
    }
    if (is_large(bytes)) {
        c.large.give(block, bytes);
        return;
    }
    const SizeClass size = size_class(bytes);
    c.free_blocks[size.index].push_back(block);
    c.stats.cached += size.bytes;
}

Stats stats() {
    Cache& c = cache();
    const std::lock_guard lock(c.mutex);
    Stats all = c.stats;
    all.cached += c.large.cached();
    all.system_requests += c.large.system_requests();
    return all;
}

void reset_peak() {
    Cache& c = cache();
    const std::lock_guard lock(c.mutex);
    c.stats.peak = c.stats.in_use;
}

void release_cache() {
    Cache& c = cache();
    const std::lock_guard lock(c.mutex);
    drop_cached(c);
}

}  // namespace headscope::allocator
