// The state of the processor that the bits of a result depend on.
#pragma once

namespace headscope {

/// The calling thread rounds to nearest and keeps denormal numbers. A library that was compiled with -ffast-math
/// switches that off for the thread that loads it, and threads take it over from the one that makes them. Called by
/// main(), by each thread that helps, and before training.
void use_exact_arithmetic();

}  // namespace headscope
