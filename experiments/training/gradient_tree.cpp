#include "experiments/training/gradient_tree.h"

#include <algorithm>
#include <cstring>

#include "autograd/parallel.h"

namespace headscope::experiments {

double tree_sum(std::vector<double> values) {
    if (values.empty()) return 0;
    while (values.size() > 1) {
        std::vector<double> above;
        for (std::size_t i = 0; i < values.size(); i += 2)
            above.push_back(i + 1 < values.size() ? values[i] + values[i + 1] : values[i]);
        values = std::move(above);
    }
    return values[0];
}

GradientTree::GradientTree(const std::vector<nn::Parameter>& parameters) {
    for (const nn::Parameter& parameter : parameters) {
        std::int64_t& size = sizes_[parameter.tensor.dtype()];
        places_.push_back({parameter.tensor, size});
        size += parameter.tensor.numel();
    }
}

void GradientTree::add_part() {
    Sum part{1, {}};
    for (const auto& [dtype, size] : sizes_) part.blocks[dtype] = Tensor::empty({size}, dtype);
    parallel_chunks(static_cast<std::int64_t>(places_.size()), [&](std::int64_t number) {
        Place& place = places_[static_cast<std::size_t>(number)];
        Tensor& block = part.blocks.at(place.parameter.dtype());
        const std::size_t width = size_of(block.dtype()),
                          bytes = static_cast<std::size_t>(place.parameter.numel()) * width;
        std::byte* const to = block.bytes() + static_cast<std::size_t>(place.offset) * width;
        const Tensor gradient = place.parameter.grad();
        if (gradient.defined()) std::memcpy(to, gradient.bytes(), bytes);
        else std::memset(to, 0, bytes);
        place.has_gradient = place.has_gradient || gradient.defined();
        place.parameter.set_grad({});
    });
    // Like a carry in a binary number: two sums of as many parts become one of twice as many.
    while (!sums_.empty() && sums_.back().parts == part.parts) {
        add(sums_.back(), part);
        part = std::move(sums_.back());
        sums_.pop_back();
    }
    sums_.push_back(std::move(part));
}

void GradientTree::finish() {
    while (sums_.size() > 1) {  // what is left over is carried up, the smallest first
        add(sums_[sums_.size() - 2], sums_.back());
        sums_.pop_back();
    }
    for (Place& place : places_) {
        if (!place.has_gradient) continue;
        const Tensor& block = sums_.front().blocks[place.parameter.dtype()];
        const std::size_t width = size_of(block.dtype());
        Tensor gradient = Tensor::empty(place.parameter.shape(), block.dtype());
        std::memcpy(gradient.bytes(), block.bytes() + static_cast<std::size_t>(place.offset) * width,
                    static_cast<std::size_t>(gradient.numel()) * width);
        place.parameter.set_grad(gradient);
        place.has_gradient = false;
    }
    sums_.clear();
}

void GradientTree::add(Sum& to, const Sum& from) {
    constexpr std::int64_t grain = 1 << 14;
    for (auto& [dtype, block] : to.blocks) {
        const Tensor& other = from.blocks.at(dtype);
        dispatch_float(dtype, "gradient tree", [&](auto zero) {
            auto* const sum = block.template data<decltype(zero)>();
            const auto* const more = other.template data<decltype(zero)>();
            parallel_for(other.numel(), grain, [&](std::int64_t begin, std::int64_t end) {
                for (std::int64_t i = begin; i < end; ++i) sum[i] += more[i];
            });
        });
    }
    to.parts += from.parts;
}

}  // namespace headscope::experiments
