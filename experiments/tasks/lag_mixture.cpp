// Task `lag_mixture`: a local and a long-range relation in one loss.
//
// Tokens x are independent and uniform over V. The target of position t is f(x[t - near]) with probability p_near,
// g(x[t - far]) with p_far, and otherwise uniform; f and g are permutations drawn from the seed. Positions t >= far are
// scored. Classes name the source of each target: near, far, noise. A target's class is not visible to the model.
//
// Floors, with q = 1 - p_near - p_far and h(p) = -p ln p:
//   none  ln V
//   near  knows f only: one token has p_near + (1 - p_near)/V, the others (1 - p_near)/V each
//   far   knows g only, likewise
//   both  f(x) and g(x) are independent, so they fall on one token with probability 1/V:
//           (1 - 1/V) [h(p_near + q/V) + h(p_far + q/V) + (V - 2) h(q/V)]
//           + 1/V [h(p_near + p_far + q/V) + (V - 1) h(q/V)]
// Reference, no floor:
//   bag   knows both values but not which is which, so mixes both orders half and half: depends on f and g, by
//         enumeration of all pairs of values. Attention that weighs the two unequally tells a little more
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <utility>

#include "experiments/tasks/generated.h"

namespace headscope::experiments {

namespace {

enum SequenceSource : std::int64_t { from_near, from_far, from_noise };

/// Entropy when one token has probability p + (1 - p)/V and the others share the rest.
double one_lag_entropy(double p, double vocab_size) {
    const double rest = (1 - p) / vocab_size;
    return entropy_term(p + rest) + (vocab_size - 1) * entropy_term(rest);
}

/// Fisher-Yates shuffle of 0 .. size-1.
std::vector<std::int64_t> random_permutation(std::int64_t size, const RandomStream& random) {
    std::vector<std::int64_t> values(static_cast<std::size_t>(size));
    std::iota(values.begin(), values.end(), 0);
    for (std::size_t i = values.size() - 1; i > 0; --i) std::swap(values[i], values[random.below(i + 1, i)]);
    return values;
}

class LagMixtureRule : public SequenceRule {
public:
    void fields(Fields& fields) override {
        fields.integer("vocab_size", vocab_size_, "different tokens", {.min = 2, .max = 4096});
        fields.integer("seq_len", seq_len_, "tokens per sequence", {.min = 1, .max = 1 << 20});
        fields.integer("near", near_, "lag of the local relation", {.min = 0});
        fields.integer("far", far_, "lag of the long-range relation; positions from it on are scored", {.min = 0});
        fields.real("p_near", p_near_, "probability that the local relation gives the target", {.min = 0, .max = 1});
        fields.real("p_far", p_far_, "probability that the long-range relation gives the target", {.min = 0, .max = 1});
    }

    std::vector<KeyProblem> check() const override {
        std::vector<KeyProblem> problems;
        if (near_ >= far_)
            problems.push_back({"near", fmt::format("near = {} must be less than far = {}", near_, far_)});
        if (far_ >= seq_len_)
            problems.push_back({"far", fmt::format("far = {} must be less than seq_len = {}", far_, seq_len_)});
        // The slack lets .7 + .3 and the like through whichever way they round.
        if (p_near_ + p_far_ > 1 + 1e-12)
            problems.push_back(
                {"p_far", fmt::format("p_near + p_far = {} + {} must not be more than 1", p_near_, p_far_)});
        return problems;
    }

    void prepare(std::uint64_t seed) override {
        f_ = random_permutation(vocab_size_, RandomStream(seed, "lag_mixture.f"));
        g_ = random_permutation(vocab_size_, RandomStream(seed, "lag_mixture.g"));
    }

    std::int64_t vocab_size() const override { return vocab_size_; }
    std::int64_t seq_len() const override { return seq_len_; }
    std::vector<std::string> class_names() const override { return {"near", "far", "noise"}; }
    /// For each position: the token, the source of its target, the target if it is noise.
    std::int64_t numbers() const override { return 3 * seq_len_; }

    void draw(const SequenceRandom& random, const Sequence& sequence) const override {
        const std::int64_t T = seq_len_;
        const auto [x, y, source] = sequence;
        for (std::int64_t t = 0; t < T; ++t) x[t] = random.below(vocab_size_, t);
        for (std::int64_t t = far_; t < T; ++t) {
            const double u = random.uniform(T + t);
            source[t] = u < p_near_ ? from_near : u < p_near_ + p_far_ ? from_far : from_noise;
            y[t] = source[t] == from_near  ? f(x[t - near_])
                   : source[t] == from_far ? g(x[t - far_])
                                           : random.below(vocab_size_, 2 * T + t);
        }
    }

    void true_distribution(const Sequence& sequence, double* truth) const override {
        for (std::int64_t t = far_; t < seq_len_; ++t) {
            double* p = truth + t * vocab_size_;
            std::fill_n(p, vocab_size_, p_noise() / static_cast<double>(vocab_size_));
            p[f(sequence.inputs[t - near_])] += p_near_;
            p[g(sequence.inputs[t - far_])] += p_far_;
        }
    }

    Lines lines() const override {
        const auto vocab_size = static_cast<double>(vocab_size_);
        return {{{"none", std::log(vocab_size)},
                 {"near", one_lag_entropy(p_near_, vocab_size)},
                 {"far", one_lag_entropy(p_far_, vocab_size)},
                 {"both", both_entropy()}},
                {{"bag", bag_entropy()}}};
    }

private:
    std::int64_t f(std::int64_t token) const { return f_[static_cast<std::size_t>(token)]; }
    std::int64_t g(std::int64_t token) const { return g_[static_cast<std::size_t>(token)]; }

    /// Not below 0 where p_near + p_far is 1 up to rounding.
    double p_noise() const { return std::max(0.0, 1 - p_near_ - p_far_); }

    double both_entropy() const {
        const auto vocab_size = static_cast<double>(vocab_size_);
        const double rest = p_noise() / vocab_size;
        const double apart =
            entropy_term(p_near_ + rest) + entropy_term(p_far_ + rest) + (vocab_size - 2) * entropy_term(rest);
        const double together = entropy_term(p_near_ + p_far_ + rest) + (vocab_size - 1) * entropy_term(rest);
        return (1 - 1 / vocab_size) * apart + 1 / vocab_size * together;
    }

    double bag_entropy() const {
        const auto V = vocab_size_;
        const double rest = p_noise() / static_cast<double>(V);
        double sum = 0;
        for (std::int64_t a = 0; a < V; ++a) {
            for (std::int64_t b = 0; b < V; ++b) {
                // Half of the time a is the near value and b the far one, half of the time the other way round.
                const std::array<std::pair<std::int64_t, double>, 4> likely{
                    {{f(a), p_near_ / 2}, {g(b), p_far_ / 2}, {f(b), p_near_ / 2}, {g(a), p_far_ / 2}}};
                std::int64_t distinct = 0;
                for (std::size_t i = 0; i < likely.size(); ++i) {
                    double p = rest;
                    bool first = true;
                    for (std::size_t j = 0; j < likely.size(); ++j) {
                        if (likely[j].first != likely[i].first) continue;
                        p += likely[j].second;
                        if (j < i) first = false;
                    }
                    if (!first) continue;
                    sum += entropy_term(p);
                    ++distinct;
                }
                sum += static_cast<double>(V - distinct) * entropy_term(rest);
            }
        }
        return sum / static_cast<double>(V * V);
    }

    std::int64_t vocab_size_ = 16;
    std::int64_t seq_len_ = 48;
    std::int64_t near_ = 1;
    std::int64_t far_ = 12;
    double p_near_ = 0.6;
    double p_far_ = 0.3;
    std::vector<std::int64_t> f_;
    std::vector<std::int64_t> g_;
};

const RegisterGenerated<LagMixtureRule> registered_lag_mixture("lag_mixture",
                                                               "a local and a long-range relation in one loss");

}  // namespace

}  // namespace headscope::experiments
