// Memory for large tensors: one address range from which blocks are cut and to which they return. For the allocator
// only.
//
// Neighbouring free blocks are joined and larger ones are split, so that the memory of one tensor serves others of any
// size: gradients use the memory that activations leave. With a free list per size each size would keep its own peak.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace headscope {

class LargeBlocks {
public:
    /// At least `bytes` bytes, 64-byte aligned, from the smallest free block that has them (the first of equals); null
    /// when the system has no more memory.
    void* take(std::size_t bytes);
    /// Takes a block back; `bytes` as it was asked for.
    void give(void* block, std::size_t bytes);
    /// Returns the pages of all free blocks, and their addresses, to the system.
    void drop_free();

    std::size_t cached() const { return cached_; }  ///< bytes in free blocks that have been used before
    std::uint64_t system_requests() const { return system_requests_; }

private:
    struct FreeBlock {
        std::byte* begin;
        std::size_t size;
        std::size_t used;  // how much of it was in use since its pages came from the system
    };
    std::vector<FreeBlock>::iterator grow(std::size_t bytes);

    std::vector<FreeBlock> free_;  // by address; no two touch
    std::size_t next_region_ = std::size_t{64} << 20;
    std::size_t cached_ = 0;
    std::uint64_t system_requests_ = 0;
};

}  // namespace headscope
