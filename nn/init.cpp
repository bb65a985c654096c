#include "nn/init.h"

#include <Eigen/QR>
#include <algorithm>
#include <cmath>

#include "autograd/parallel.h"
#include "autograd/random.h"
#include "nn/embedding.h"
#include "nn/layer_norm.h"
#include "nn/linear.h"
#include "nn/multi_head_attention.h"
#include "nn/rms_norm.h"

namespace headscope::nn {
namespace {

/// x[i] = value(i, x[i]), computed in f64 and rounded.
template <class Value>
void assign_each(Tensor x, Value&& value) {
    dispatch_float(x.dtype(), "initialize", [&](auto scalar) {
        using T = decltype(scalar);
        T* out = x.data<T>();
        parallel_for(x.numel(), 4096, [&](std::int64_t begin, std::int64_t end) {
            for (std::int64_t i = begin; i < end; ++i)
                out[i] = static_cast<T>(value(static_cast<std::uint64_t>(i), static_cast<double>(out[i])));
        });
    });
}

void fill_uniform(const Tensor& x, double limit, const RandomStream& random) {
    assign_each(x, [&](std::uint64_t i, double) { return limit * (2 * random.uniform(i) - 1); });
}

void fill_normal(const Tensor& x, double std, const RandomStream& random) {
    assign_each(x, [&](std::uint64_t i, double) { return std * random.normal(i); });
}

/// The Q of a Gaussian matrix, columns turned so that R's diagonal is positive:
/// then Q is uniform over all orthogonal matrices, whatever the signs that
/// Householder's method happens to choose.
void fill_orthogonal(const Tensor& x, const RandomStream& random) {
    const std::int64_t out = x.size(0), in = x.size(1);
    const std::int64_t tall = std::max(out, in), narrow = std::min(out, in);
    Eigen::MatrixXd gaussian(tall, narrow);
    for (std::int64_t i = 0; i < gaussian.size(); ++i)
        gaussian.data()[i] = random.normal(static_cast<std::uint64_t>(i));
    const Eigen::HouseholderQR<Eigen::MatrixXd> qr(gaussian);
    Eigen::MatrixXd q = qr.householderQ() * Eigen::MatrixXd::Identity(tall, narrow);
    for (std::int64_t j = 0; j < narrow; ++j)
        if (qr.matrixQR()(j, j) < 0) q.col(j) *= -1;
    // The matrix [out, in] is row-major and q column-major: a wide matrix, the transpose of a tall q, lies ready.
    if (out >= in) q.transposeInPlace();
    assign_each(x, [&](std::uint64_t i, double) { return q.data()[i]; });
}

void initialize_linear(Linear& linear, const std::string& prefix, const InitOptions& options, std::uint64_t seed) {
    const Tensor& weight = linear.weight;
    const auto out = static_cast<double>(weight.size(0)), in = static_cast<double>(weight.size(1));
    const RandomStream random(seed, prefix + "weight");
    switch (options.scheme) {
        case InitScheme::xavier_uniform: fill_uniform(weight, std::sqrt(6 / (in + out)), random); break;
        case InitScheme::xavier_normal: fill_normal(weight, std::sqrt(2 / (in + out)), random); break;
        case InitScheme::kaiming_uniform: fill_uniform(weight, std::sqrt(6 / in), random); break;
        case InitScheme::normal: fill_normal(weight, options.std, random); break;
        case InitScheme::orthogonal: fill_orthogonal(weight, random); break;
        case InitScheme::pytorch: fill_uniform(weight, 1 / std::sqrt(in), random); break;
    }
    if (!linear.bias.defined()) return;
    if (options.scheme == InitScheme::pytorch)
        fill_uniform(linear.bias, 1 / std::sqrt(in), RandomStream(seed, prefix + "bias"));
    else linear.bias.fill_(0);
}

const Linear& linear_of(const MultiHeadAttention& attention, Projection projection) {
    switch (projection) {
        case Projection::q: return attention.W_q;
        case Projection::k: return attention.W_k;
        case Projection::v: return attention.W_v;
        case Projection::o: return attention.W_o;
    }
    throw Error("initialize: no such projection");
}

/// Copies head 0's block to all heads; the bias of W_o belongs to no head.
void clone_heads(const MultiHeadAttention& attention, Projection projection) {
    const Tensor block = head_slice(attention, 0, projection).values();
    for (std::int64_t h = 1; h < attention.num_heads(); ++h) head_slice(attention, h, projection).assign(block);
    const Tensor& bias = linear_of(attention, projection).bias;
    if (!bias.defined() || projection == Projection::o) return;
    const Tensor before = bias.clone();
    const auto head_dim = static_cast<std::uint64_t>(attention.head_dim());
    dispatch_float(bias.dtype(), "initialize", [&](auto scalar) {
        const auto* from = before.data<decltype(scalar)>();
        assign_each(bias, [&](std::uint64_t i, double) { return static_cast<double>(from[i % head_dim]); });
    });
}

void add_noise(const Tensor& x, double size, const RandomStream& random) {
    assign_each(x, [&](std::uint64_t i, double value) { return value + size * random.normal(i); });
}

}  // namespace

void initialize(Module& module, const InitOptions& options, std::uint64_t seed) {
    for (const char letter : options.clone_heads)
        if (std::string_view("qkvo").find(letter) == std::string_view::npos)
            throw Error(std::string("initialize: clone_heads has '") + letter + "'; it takes 'q', 'k', 'v' and 'o'");

    const auto modules = module.named_modules();
    for (const auto& [path, part] : modules) {
        const std::string prefix = "init." + path + (path.empty() ? "" : ".");
        if (auto* linear = dynamic_cast<Linear*>(part)) {
            initialize_linear(*linear, prefix, options, seed);
        } else if (auto* embedding = dynamic_cast<Embedding*>(part)) {
            fill_normal(embedding->weight, options.embedding_std, RandomStream(seed, prefix + "weight"));
        } else if (auto* norm = dynamic_cast<LayerNorm*>(part)) {
            norm->weight.fill_(1);
            norm->bias.fill_(0);
        } else if (auto* rms = dynamic_cast<RMSNorm*>(part)) {
            rms->weight.fill_(1);
        }
    }

    for (const auto& [path, part] : modules) {
        const auto* attention = dynamic_cast<MultiHeadAttention*>(part);
        if (attention == nullptr) continue;
        for (const Projection projection : projections) {
            const std::string letter = name_of(projection);
            if (std::count(options.clone_heads.begin(), options.clone_heads.end(), letter[0]) == 0) continue;
            clone_heads(*attention, projection);
            if (options.clone_noise == 0) continue;
            const std::string prefix = "clone_noise." + path + (path.empty() ? "" : ".") + "W_" + letter;
            const Linear& linear = linear_of(*attention, projection);
            add_noise(linear.weight, options.clone_noise, RandomStream(seed, prefix + ".weight"));
            if (linear.bias.defined() && projection != Projection::o)
                add_noise(linear.bias, options.clone_noise, RandomStream(seed, prefix + ".bias"));
        }
    }
}

void initialize_new(Module& module) {
    if (!DeferInit::is_deferred()) initialize(module, {.scheme = InitScheme::pytorch});
}

}  // namespace headscope::nn
