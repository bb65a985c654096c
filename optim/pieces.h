// Cuts many tensors into pieces of a bounded size, so that one parallel region serves large and small ones alike, and
// so few elements in all that a region would cost more than they do get none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "autograd/parallel.h"
#include "autograd/tensor.h"

namespace headscope::optim {

/// Elements [begin, end) of tensor number `tensor`.
struct Piece {
    std::size_t tensor;
    std::int64_t begin;
    std::int64_t end;
};

/// All elements of a list of tensors, in order. The borders follow from the sizes alone.
class Pieces {
public:
    /// An undefined tensor has no pieces.
    explicit Pieces(const std::vector<Tensor>& tensors);

    std::size_t size() const { return pieces_.size(); }
    const Piece& operator[](std::size_t number) const { return pieces_[number]; }

    /// Calls body(number) for every piece, in parallel; neighbours that are small share a chunk of work.
    template <class Body>
    void for_each(Body&& body) const {
        parallel_chunks(static_cast<std::int64_t>(chunk_ends_.size()), [&](std::int64_t index) {
            const auto chunk = static_cast<std::size_t>(index);
            for (std::size_t i = chunk == 0 ? 0 : chunk_ends_[chunk - 1]; i < chunk_ends_[chunk]; ++i) body(i);
        });
    }

private:
    std::vector<Piece> pieces_;
    std::vector<std::size_t> chunk_ends_;  // the piece after a chunk's last
};

/// The sum of squares of [begin, end), in f64 and in a fixed number of lanes, so that it is fast and always of the same
/// bits.
double sum_of_squares(const Tensor& tensor, std::int64_t begin, std::int64_t end);

}  // namespace headscope::optim
