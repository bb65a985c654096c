#include "nn/outline.h"

namespace headscope::nn {

double count_of(const Sizes& sizes) {
    double count = 1;
    for (const std::int64_t size : sizes) count *= static_cast<double>(size);
    return count;
}

}  // namespace headscope::nn
