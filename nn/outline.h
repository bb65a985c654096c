// What a model says of itself without computing anything: shapes on the way, work, and what is kept for the backward
// pass. Each module states it in outline(), right under its forward(); a model built without storage (WithoutStorage in
// init.h) can be outlined however large it is.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace headscope::nn {

/// Sizes of a tensor's axes; unlike a Shape they may be of a tensor with more elements than 64 bits count.
using Sizes = std::vector<std::int64_t>;
/// Number of elements.
double count_of(const Sizes& sizes);

class Outline {
public:
    struct Step {
        std::string name;     ///< "blocks.0.attn.W_q"
        std::string symbols;  ///< "(B, T, H*d_k)"
        Sizes sizes;
        std::string note;  ///< what happens there
    };

    void step(std::string name, std::string symbols, Sizes sizes, std::string note = "") {
        steps_.push_back({std::move(name), std::move(symbols), std::move(sizes), std::move(note)});
    }
    /// So many values stay in memory until the backward pass.
    void keep(double values) { kept_ += times_ * values; }
    /// So many multiplications with an addition each, in products of matrices of the forward pass.
    void multiply_add(double count) { multiply_adds_ += times_ * count; }
    /// What `body` says counts so many times; its steps are listed once.
    template <class Body>
    void repeat(std::int64_t times, Body&& body) {
        const double before = times_;
        times_ *= static_cast<double>(times);
        body();
        times_ = before;
    }

    const std::vector<Step>& steps() const { return steps_; }
    double kept() const { return kept_; }
    double multiply_adds() const { return multiply_adds_; }

private:
    std::vector<Step> steps_;
    double kept_ = 0, multiply_adds_ = 0, times_ = 1;
};

}  // namespace headscope::nn
