#include "optim/pieces.h"

#include <algorithm>

namespace headscope::optim {

std::vector<Piece> cut_into_pieces(const std::vector<Tensor>& tensors) {
    constexpr std::int64_t piece_size = 1 << 14;
    std::vector<Piece> pieces;
    for (std::size_t i = 0; i < tensors.size(); ++i) {
        const std::int64_t size = tensors[i].defined() ? tensors[i].numel() : 0;
        for (std::int64_t begin = 0; begin < size; begin += piece_size)
            pieces.push_back({i, begin, std::min(begin + piece_size, size)});
    }
    return pieces;
}

}  // namespace headscope::optim
