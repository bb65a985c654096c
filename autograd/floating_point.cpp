#include "autograd/floating_point.h"

#include <cfenv>

#include "autograd/error.h"

namespace headscope {

void use_exact_arithmetic() {
    // The default environment: of SSE and AVX as of the x87 unit, flush-to-zero and denormals-are-zero included.
    if (std::fesetenv(FE_DFL_ENV) != 0) throw Error("the processor's floating-point state cannot be set");
}

}  // namespace headscope
