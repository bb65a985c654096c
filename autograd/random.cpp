#include "autograd/random.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <numbers>
#include <string>

#include "autograd/error.h"
#include "autograd/kernels/partial_vector.h"

namespace headscope {
namespace {

constexpr std::uint32_t low(std::uint64_t x) { return static_cast<std::uint32_t>(x); }
constexpr std::uint32_t high(std::uint64_t x) { return static_cast<std::uint32_t>(x >> 32); }
constexpr std::uint64_t join(std::uint32_t h, std::uint32_t l) { return (std::uint64_t{h} << 32) | l; }

using Words = kernels::BitVector<double>::type;
constexpr std::int64_t word_lanes = kernels::Simd<double>::lanes;

/// Products of the lower 32 bits of each lane.
Words multiply_low(Words a, Words b) {
#if defined(__AVX512F__)
    return Words(_mm512_maskz_mul_epu32(0xFF, __m512i(a), __m512i(b)));
#elif defined(__AVX2__)
    return Words(_mm256_mul_epu32(__m256i(a), __m256i(b)));
#else
    return (a & 0xFFFFFFFFU) * (b & 0xFFFFFFFFU);
#endif
}

/// The two keys of every round, one in each lane.
using RoundKeys = std::array<std::array<Words, 2>, 10>;

RoundKeys round_keys(std::array<std::uint32_t, 2> key) {
    RoundKeys keys;
    for (auto& one : keys) {
        one = {Words{} + key[0], Words{} + key[1]};
        key[0] += 0x9E3779B9U;
        key[1] += 0xBB67AE85U;
    }
    return keys;
}

/// RandomStream::bits of several indices: philox4x32 with the four words of a counter in the lower halves of four
/// vectors. What the upper halves hold is never read.
inline Words philox_bits(Words index, std::uint64_t step, const RoundKeys& keys) {
    Words c0 = index;
    Words c1 = index >> 32U;
    Words c2 = Words{} + low(step);
    Words c3 = Words{} + high(step);
#pragma GCC unroll 10
    for (std::size_t round = 0; round < 10; ++round) {
        const Words p0 = multiply_low(c0, Words{} + 0xD2511F53U);
        const Words p1 = multiply_low(c2, Words{} + 0xCD9E8D57U);
        c0 = (p1 >> 32U) ^ c1 ^ keys[round][0];
        c1 = p1;
        c2 = (p0 >> 32U) ^ c3 ^ keys[round][1];
        c3 = p0;
    }
    return (c1 << 32U) | (c0 & 0xFFFFFFFFU);
}

thread_local const RandomScope* innermost = nullptr;

}  // namespace

std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key) {
    // Multipliers and Weyl constants of the paper's section 5.3.
    for (int round = 0; round < 10; ++round) {
        const std::uint64_t p0 = std::uint64_t{0xD2511F53U} * counter[0];
        const std::uint64_t p1 = std::uint64_t{0xCD9E8D57U} * counter[2];
        counter = {high(p1) ^ counter[1] ^ key[0], low(p1), high(p0) ^ counter[3] ^ key[1], low(p0)};
        key[0] += 0x9E3779B9U;
        key[1] += 0xBB67AE85U;
    }
    return counter;
}

std::uint64_t hash_name(std::string_view name) {
    std::uint64_t hash = 0xcbf29ce484222325U;
    for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
    return hash;
}

RandomStream::RandomStream(std::uint64_t seed, std::string_view stream, std::uint64_t step) : step_(step) {
    // The 128 bits of seed and name are mixed into the 64 bits of key by the generator itself.
    const std::uint64_t name = hash_name(stream);
    const auto mixed = philox4x32({low(seed), high(seed), low(name), high(name)}, {0, 0});
    key_ = {mixed[0], mixed[1]};
}

std::array<std::uint32_t, 4> RandomStream::block(std::uint64_t index) const {
    return philox4x32({low(index), high(index), low(step_), high(step_)}, key_);
}

std::uint64_t RandomStream::bits(std::uint64_t index) const {
    const auto b = block(index);
    return join(b[1], b[0]);
}

double RandomStream::uniform(std::uint64_t index) const { return static_cast<double>(bits(index) >> 11) * 0x1p-53; }

template <class T>
void RandomStream::keep(std::uint64_t first, std::int64_t count, double p, T value, T* out) const {
    using Kept = kernels::BitsOf<T>;
    using KeptWords __attribute__((vector_size(sizeof(T) * word_lanes))) = Kept;
    // uniform = k 2^-53 with a whole k, so uniform >= p is k >= 2^53 p rounded up.
    const auto threshold = static_cast<std::uint64_t>(std::ceil(p * 0x1p53));
    const auto bits = std::bit_cast<Kept>(value);
    const RoundKeys keys = round_keys(key_);
    const std::uint64_t step = step_;  // copies, which no write to `out` can change
    Words index;
    for (std::int64_t l = 0; l < word_lanes; ++l) index[l] = first + static_cast<std::uint64_t>(l);
    const auto next = [&] {
        const Words k = philox_bits(index, step, keys) >> 11U;
        index += static_cast<std::uint64_t>(word_lanes);
        const Words kept = Words(k >= threshold);  // all bits or none
        return __builtin_convertvector(kept, KeptWords) & bits;
    };
    std::int64_t i = 0;
    for (; i + word_lanes <= count; i += word_lanes) {
        const KeptWords values = next();
        std::memcpy(out + i, &values, sizeof values);
    }
    if (i == count) return;
    const KeptWords values = next();
    std::memcpy(out + i, &values, static_cast<std::size_t>(count - i) * sizeof(T));
}

template void RandomStream::keep(std::uint64_t, std::int64_t, double, float, float*) const;
template void RandomStream::keep(std::uint64_t, std::int64_t, double, double, double*) const;

RandomStream::Polar RandomStream::polar(std::uint64_t index) const {
    const auto b = block(index);
    const double u = (static_cast<double>(join(b[1], b[0]) >> 11) + 1) * 0x1p-53;  // (0, 1]: the logarithm is finite
    const double v = static_cast<double>(join(b[3], b[2]) >> 11) * 0x1p-53;
    return {std::sqrt(-2 * std::log(u)), 2 * std::numbers::pi * v};
}

double RandomStream::normal(std::uint64_t index) const {
    const Polar point = polar(index);
    return point.radius * std::cos(point.angle);
}

std::array<double, 2> RandomStream::normal_pair(std::uint64_t index) const {
    const Polar point = polar(index);
    return {point.radius * std::cos(point.angle), point.radius * std::sin(point.angle)};
}

std::uint64_t RandomStream::below(std::uint64_t bound, std::uint64_t index) const {
    __extension__ using Wide = unsigned __int128;
    return static_cast<std::uint64_t>((Wide{bits(index)} * bound) >> 64);
}

RandomScope::RandomScope(std::uint64_t seed, std::uint64_t step) : outer_(innermost), seed_(seed), step_(step) {
    innermost = this;
}

RandomScope::~RandomScope() { innermost = outer_; }

RandomStream RandomScope::stream(std::string_view name) {
    if (innermost == nullptr)
        throw Error("random: `" + std::string(name) +
                    "` needs random numbers outside any RandomScope; put `RandomScope scope(seed, step);` around the "
                    "forward pass, or switch the module to eval()");
    return {innermost->seed_, name, innermost->step_};
}

}  // namespace headscope
