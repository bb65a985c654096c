// A caching allocator: blocks freed in one training step are handed out again in the next, so that the steady state
// asks the system for nothing and touches no new page.
//
// Blocks are 64-byte aligned. Small ones have sizes rounded up (a power of two, or an eighth step between two of them),
// which lets tensors of nearly the same size share a block; large ones, from 128 KiB on, are cut from one range and
// joined again (large_blocks.h). Contents are not cleared. Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>

namespace headscope::allocator {

struct Stats {
    std::size_t in_use = 0;             ///< bytes handed out now (rounded sizes)
    std::size_t peak = 0;               ///< largest `in_use` since the start or the last reset_peak()
    std::size_t cached = 0;             ///< bytes kept for reuse
    std::uint64_t system_requests = 0;  ///< how often the system was asked for memory
};

/// Memory for at least `bytes` bytes. Throws Error, naming the size, when the system has no more.
void* allocate(std::size_t bytes);
/// Gives a block back; `bytes` as it was asked for.
void release(void* block, std::size_t bytes) noexcept;

Stats stats();
void reset_peak();
/// Returns all cached blocks to the system.
void release_cache();

}  // namespace headscope::allocator
