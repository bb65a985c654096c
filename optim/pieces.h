// Cuts many tensors into pieces of a fixed size, so that one parallel region serves large and small ones alike.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "autograd/tensor.h"

namespace headscope::optim {

/// Elements [begin, end) of tensor number `tensor`.
struct Piece {
    std::size_t tensor;
    std::int64_t begin;
    std::int64_t end;
};

/// All elements of all tensors, in order; an undefined tensor has none. The borders follow from the sizes alone.
std::vector<Piece> cut_into_pieces(const std::vector<Tensor>& tensors);

}  // namespace headscope::optim
