#include "autograd/allocator.h"

#include <array>
#include <bit>
#include <cstdlib>
#include <mutex>
#include <string>
#include <vector>

#include "autograd/error.h"

namespace headscope::allocator {
namespace {

constexpr std::size_t alignment = 64;
constexpr std::size_t steps = 8;  // size classes per power of two: at most an eighth of a block is unused

#if defined(__SANITIZE_ADDRESS__)
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
    std::array<std::vector<void*>, 64 * (steps + 1)> free_blocks;
    Stats stats;
};

/// Never destroyed: tensors in static variables may outlive it otherwise.
Cache& cache() {
    static Cache* const instance = new Cache;
    return *instance;
}

void* ask_system(std::size_t bytes, Cache& c) {
    ++c.stats.system_requests;
    if (bytes > (std::size_t{1} << 47)) return nullptr;
    return std::aligned_alloc(alignment, bytes);
}

void drop_cached(Cache& c) {
    for (auto& blocks : c.free_blocks) {
        for (void* block : blocks) std::free(block);
        blocks.clear();
    }
    c.stats.cached = 0;
}

}  // namespace

void* allocate(std::size_t bytes) {
    Cache& c = cache();
    if (bytes > (std::size_t{1} << 47))
        throw Error("memory: a block of " + std::to_string(bytes) + " bytes is too large");
    const SizeClass size = size_class(bytes);
    const std::lock_guard lock(c.mutex);
    void* block = nullptr;
    auto& blocks = c.free_blocks[size.index];
    if (!blocks.empty()) {
        block = blocks.back();
        blocks.pop_back();
        c.stats.cached -= size.bytes;
    } else {
        block = ask_system(size.bytes, c);
        if (block == nullptr) {  // what lies in the cache may be what is missing
            drop_cached(c);
            block = ask_system(size.bytes, c);
        }
        if (block == nullptr)
            throw Error("memory: the system has no block of " + std::to_string(size.bytes) + " bytes; " +
                        std::to_string(c.stats.in_use) + " bytes are in use; make the model or the batch smaller");
    }
    c.stats.in_use += size.bytes;
    if (c.stats.in_use > c.stats.peak) c.stats.peak = c.stats.in_use;
    return block;
}

void release(void* block, std::size_t bytes) noexcept {
    Cache& c = cache();
    const SizeClass size = size_class(bytes);
    const std::lock_guard lock(c.mutex);
    c.stats.in_use -= size.bytes;
    if (!caching) {
        std::free(block);
        return;
    }
    c.free_blocks[size.index].push_back(block);
    c.stats.cached += size.bytes;
}

Stats stats() {
    Cache& c = cache();
    const std::lock_guard lock(c.mutex);
    return c.stats;
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
