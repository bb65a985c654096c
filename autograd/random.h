// Counter-based random numbers: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
//
// A number is a pure function of (seed, stream name, step, index). Nothing has a hidden state, so numbers do not
// depend on who asked before, on the number of threads, or on whether a run was resumed.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace headscope {

/// The raw generator: ten rounds of Philox4x32.
std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key);

/// 64-bit FNV-1a of a name.
std::uint64_t hash_name(std::string_view name);

/// The numbers of one (seed, stream, step), addressed by index.
class RandomStream {
public:
    RandomStream(std::uint64_t seed, std::string_view stream, std::uint64_t step = 0);

    /// Uniform over all 64-bit values.
    std::uint64_t bits(std::uint64_t index) const;
    /// Uniform in [0, 1), 53 bits.
    double uniform(std::uint64_t index) const;
    /// out[i] = value where uniform(first + i) >= p, else 0: `count` decisions of dropout at once. T = float or double.
    template <class T>
    void keep(std::uint64_t first, std::int64_t count, double p, T value, T* out) const;
    /// Standard normal (Box-Muller on one Philox block per index).
    double normal(std::uint64_t index) const;
    /// normal(index) and one that is independent of it: two for less than twice the price.
    std::array<double, 2> normal_pair(std::uint64_t index) const;
    /// Uniform in [0, bound) without bias worth naming: the high half of a 64 x 64 bit product. bound > 0.
    std::uint64_t below(std::uint64_t bound, std::uint64_t index) const;

private:
    struct Polar {
        double radius, angle;
    };
    Polar polar(std::uint64_t index) const;  ///< a point of the plane, both coordinates standard normal
    std::array<std::uint32_t, 4> block(std::uint64_t index) const;
    std::array<std::uint32_t, 2> key_;
    std::uint64_t step_;
};

/// The seed and step that random ops inside a forward pass use, set by whoever drives the pass:
///   RandomScope scope(config.seed, step);
/// Scopes nest; each thread has its own.
class RandomScope {
public:
    RandomScope(std::uint64_t seed, std::uint64_t step);
    ~RandomScope();
    RandomScope(const RandomScope&) = delete;
    RandomScope& operator=(const RandomScope&) = delete;

    /// The stream `name` of the innermost scope. Throws Error when there is no scope.
    static RandomStream stream(std::string_view name);

private:
    const RandomScope* outer_;
    std::uint64_t seed_;
    std::uint64_t step_;
};

}  // namespace headscope
