#include "experiments/tasks/shuffle.h"

#include <cmath>
#include <utility>

namespace headscope::experiments {

namespace {

constexpr std::uint64_t most_rounds = 24;

}  // namespace

Shuffle::Shuffle(std::uint64_t seed, std::string stream, std::int64_t count)
    : seed_(seed), stream_(std::move(stream)), count_(static_cast<std::uint64_t>(count)) {
    a_ = static_cast<std::uint64_t>(std::sqrt(static_cast<double>(count_)));
    while (a_ * a_ >= count_ && a_ > 1) --a_;  // a square root of large numbers is rounded
    while (a_ * a_ < count_) ++a_;
    b_ = (count_ + a_ - 1) / a_;
    // Neighbours that differ in one half may stay so through two rounds with probability 1 / side: on short sides it
    // takes many rounds until nothing of that can be seen. Their number is even, so that left ends below a again.
    rounds_ = count < 4096 ? most_rounds : 8;
}

std::int64_t Shuffle::at(std::int64_t epoch, std::int64_t place) const {
    const RandomStream random(seed_, stream_, static_cast<std::uint64_t>(epoch));
    auto number = static_cast<std::uint64_t>(place);
    do {
        number = encipher(random, number);
    } while (number >= count_);
    return static_cast<std::int64_t>(number);
}

std::uint64_t Shuffle::encipher(const RandomStream& random, std::uint64_t place) const {
    std::uint64_t left = place % a_, right = place / a_;
    for (std::uint64_t round = 0; round < rounds_; ++round) {
        const std::uint64_t side = round % 2 == 0 ? a_ : b_;
        const std::uint64_t moved = (left + random.below(side, right * most_rounds + round)) % side;
        left = right;
        right = moved;
    }
    return right * a_ + left;
}

}  // namespace headscope::experiments
