#include "autograd/random.h"

#include <cmath>
#include <numbers>
#include <string>

#include "autograd/error.h"

namespace headscope {
namespace {

constexpr std::uint32_t low(std::uint64_t x) { return static_cast<std::uint32_t>(x); }
constexpr std::uint32_t high(std::uint64_t x) { return static_cast<std::uint32_t>(x >> 32); }
constexpr std::uint64_t join(std::uint32_t h, std::uint32_t l) { return (std::uint64_t{h} << 32) | l; }

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

double RandomStream::normal(std::uint64_t index) const {
    const auto b = block(index);
    const double u = (static_cast<double>(join(b[1], b[0]) >> 11) + 1) * 0x1p-53;  // (0, 1]: the logarithm is finite
    const double v = static_cast<double>(join(b[3], b[2]) >> 11) * 0x1p-53;
    return std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v);
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
