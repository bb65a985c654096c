// Cuts a list of tensors into chunks of bounded size, so that one parallel region works through large and small tensors
// alike. Lists of few elements run serially: a region would cost more than it saves.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "autograd/parallel.h"
#include "autograd/tensor.h"

namespace headscope::optim {

/// Elements [begin, end) of tensor number `tensor`.
struct TensorChunk {
    std::size_t tensor;
    std::int64_t begin;
    std::int64_t end;
};

/// All elements of a list of tensors, in order. The borders follow from the sizes alone.
class TensorChunks {
public:
    /// An undefined tensor has no chunks.
    explicit TensorChunks(const std::vector<Tensor>& tensors);

    std::size_t size() const { return chunks_.size(); }
    const TensorChunk& operator[](std::size_t number) const { return chunks_[number]; }

    /// Calls body(number) for every chunk, in parallel; a thread takes several small neighbours at once.
    template <class Body>
    void for_each(Body&& body) const {
        parallel_chunks(static_cast<std::int64_t>(task_ends_.size()), [&](std::int64_t index) {
            const auto task = static_cast<std::size_t>(index);
            for (std::size_t i = task == 0 ? 0 : task_ends_[task - 1]; i < task_ends_[task]; ++i) body(i);
        });
    }

private:
    std::vector<TensorChunk> chunks_;
    std::vector<std::size_t> task_ends_;  // the chunk after the last one that a thread takes at once
};

/// The sum of squares of [begin, end), in f64 and in a fixed number of lanes, so that it is fast and always of the same
/// bits.
double sum_of_squares(const Tensor& tensor, std::int64_t begin, std::int64_t end);

}  // namespace headscope::optim
