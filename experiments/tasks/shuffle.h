// Permutations without a table: what stands at a place is computed when it is asked for.
#pragma once

#include <cstdint>
#include <string>

#include "autograd/random.h"

namespace headscope::experiments {

/// For each epoch an order of 0 .. count-1 that looks random: a pure function of (seed, stream name, epoch). It takes
/// no memory and no time to set up, whatever `count` is.
///
/// Black and Rogaway 2002, "Ciphers with arbitrary finite domains", method 3: place = right a + left, with a =
/// ceil(sqrt count), left < a and right < b = ceil(count / a), goes through Feistel rounds, 24 of them for count < 4096
/// and else 8,
///   (left, right) <- (right, (left + F(round, right)) mod side),   side = a and b in turn,
/// and through them again while the result is not below count. F(round, right) is RandomStream(seed, stream,
/// epoch).below(side, 24 right + round).
class Shuffle {
public:
    /// `count` at least 1.
    Shuffle(std::uint64_t seed, std::string stream, std::int64_t count);
    /// What stands at `place` in `epoch`.
    std::int64_t at(std::int64_t epoch, std::int64_t place) const;

private:
    std::uint64_t encipher(const RandomStream& random, std::uint64_t place) const;

    std::uint64_t seed_;
    std::string stream_;
    std::uint64_t count_, a_, b_;
    std::uint64_t rounds_;
};

}  // namespace headscope::experiments
