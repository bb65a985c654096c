// The sum of the gradients of a batch's parts (train.accumulate): each part's own, added by a balanced binary tree over
// the parts' numbers, (1 + 2) + (3 + 4), an odd last one carried up. The tree depends on their number alone, so parts
// may be computed anywhere and added to the same bits.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "nn/parameter.h"

namespace headscope::experiments {

/// The numbers added by the same tree; 0 of none.
double tree_sum(std::vector<double> values);

class GradientTree {
public:
    explicit GradientTree(const std::vector<nn::Parameter>& parameters);

    /// Takes the gradients that the parameters have now, those of the next part, and leaves them none. A parameter
    /// without a gradient counts as zeros.
    void add_part();
    /// Gives the parameters the sum of all parts; those that had a gradient in no part have none. The tree is empty
    /// then.
    void finish();

private:
    /// The sum of `parts` parts, all parameters of a dtype one behind the other.
    struct Sum {
        std::int64_t parts;
        std::map<DType, Tensor> blocks;
    };
    static void add(Sum& to, const Sum& from);

    struct Place {
        Tensor parameter;
        std::int64_t offset;  // in the block of its dtype
        bool has_gradient = false;
    };
    std::vector<Place> places_;
    std::map<DType, std::int64_t> sizes_;
    std::vector<Sum> sums_;  // of falling size: at most one of each power of two
};

}  // namespace headscope::experiments
