#include "autograd/parallel.h"

#include <omp.h>

#include <string>

#include "autograd/error.h"

namespace headscope {
namespace {
int threads = omp_get_max_threads();
}

void set_num_threads(int count) {
    if (count < 1 || count > 1024)
        throw Error("threads: " + std::to_string(count) + " is not a number of threads; give 1 to 1024");
    threads = count;
}

int num_threads() { return threads; }

bool detail::in_parallel_region() { return omp_in_parallel() != 0; }

}  // namespace headscope
