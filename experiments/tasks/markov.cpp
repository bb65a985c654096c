// Task `markov`: a fresh Markov chain in each sequence, to be learnt from the sequence itself
// (Edelman et al. 2024, "The evolution of statistical induction heads: in-context learning Markov chains").
//
// The rows of a k x k transition matrix are drawn from Dirichlet(1, ..., 1), that is uniformly over all distributions;
// the first token is uniform, and each next one is drawn from the row of the last. The target is the next token; all
// positions are scored.
//
// The matrix is hidden. With c(i, j) transitions i -> j seen so far and c(i) from i in all, the posterior of row i is
// Dirichlet(c(i, 1) + 1, ..., c(i, k) + 1), so what the sequence tells about the token after i is its mean, the Bayes
// predictor
//   P(j) = (c(i, j) + 1) / (c(i) + k).
// This is the true distribution that evaluation scores against: the row itself cannot be known from the inputs. At the
// n-th visit to a state the Bayes loss is ln k for n = 1 and falls towards H_k - 1 (H_k the k-th harmonic number), the
// mean entropy of a row; k = 3: 1.0986, 1.0397, 1.0026, ..., 0.8333.
//
// Floors, as means over all positions:
//   none     ln k
//   bayes    the Bayes predictor: no model does better
// References, no floors:
//   unigram  predicts j by how often it was seen, (count of j + 1) / (tokens seen + k): a stage on the way
//   chain    is told the matrix: a line that `bayes` comes down to in long sequences. Below H_k - 1, since states with
//            much probability of staying are visited more often and have less entropy
// The last three have no closed form, since how often a state is visited depends on its row. They are means over a
// simulation of 2^22 steps that is the same for every seed (standard error below 1e-3 at k = 3, seq_len = 96; fewer
// sequences fit in when they are longer, and it grows as the root of seq_len).
#include <algorithm>
#include <cmath>
#include <cstddef>

#include "experiments/tasks/generated.h"

namespace headscope::experiments {

namespace {

struct Means {
    double unigram = 0;
    double bayes = 0;
    double chain = 0;
};

/// Draws sequences of the Bayes predictor itself: a token's successor is one of k balls or of the successors it had
/// before (Polya's urn), which gives the same sequences as drawing the matrix first. At each step it adds, over N =
/// c(i) + k and a(j) = c(i, j) + 1,
///   bayes   the entropy of a/N:                        ln N - sum a(j) ln a(j) / N
///   chain   the mean entropy of the row given its past: H_N - sum a(j) H_a(j) / N, H the harmonic numbers
///   unigram -ln P of the token drawn.
Means simulate(std::int64_t state_count, std::int64_t seq_len) {
    const auto k = static_cast<std::size_t>(state_count);
    const auto T = static_cast<std::size_t>(seq_len);
    std::vector<double> log(T + k + 2);
    std::vector<double> harmonic(T + k + 2);
    for (std::size_t m = 1; m < log.size(); ++m) {
        log[m] = std::log(static_cast<double>(m));
        harmonic[m] = harmonic[m - 1] + 1 / static_cast<double>(m);
    }
    struct State {
        std::vector<std::size_t> successors;
        std::vector<std::size_t> a;
        double log_sum;
        double harmonic_sum;
        std::size_t seen;
    };
    std::vector<State> states(k);
    Means sums;
    const std::size_t sequences = (std::size_t{1} << 22U) / T;
    for (std::size_t sequence = 0; sequence < sequences; ++sequence) {
        for (State& state : states) {
            state.successors.clear();
            state.a.assign(k, 1);
            state.log_sum = 0;
            state.harmonic_sum = static_cast<double>(k);
            state.seen = 0;
        }
        const RandomStream random(0, "markov.floors", sequence);
        std::size_t token = random.below(k, T);
        for (std::size_t t = 0; t < T; ++t) {
            State& state = states[token];
            ++state.seen;
            const std::size_t N = state.successors.size() + k;
            sums.bayes += log[N] - state.log_sum / static_cast<double>(N);
            sums.chain += harmonic[N] - state.harmonic_sum / static_cast<double>(N);
            const std::size_t ball = random.below(N, t);
            const std::size_t next = ball < k ? ball : state.successors[ball - k];
            sums.unigram += log[t + 1 + k] - log[states[next].seen + 1];
            const std::size_t a = state.a[next]++;
            const auto before = static_cast<double>(a);
            state.log_sum += (before + 1) * log[a + 1] - before * log[a];
            state.harmonic_sum += (before + 1) * harmonic[a + 1] - before * harmonic[a];
            state.successors.push_back(next);
            token = next;
        }
    }
    const auto steps = static_cast<double>(sequences * T);
    return {sums.unigram / steps, sums.bayes / steps, sums.chain / steps};
}

class MarkovRule : public SequenceRule {
public:
    void fields(Fields& fields) override {
        fields.integer("states", states_, "states of each chain: the different tokens", {.min = 2, .max = 64});
        fields.integer("seq_len", seq_len_, "tokens per sequence", {.min = 1, .max = 1 << 16});
    }

    std::int64_t vocab_size() const override { return states_; }
    std::int64_t seq_len() const override { return seq_len_; }
    /// k k for the matrix, then T + 1 for the tokens.
    std::int64_t numbers() const override { return states_ * states_ + seq_len_ + 1; }

    void draw(const SequenceRandom& random, const Sequence& sequence) const override {
        const std::int64_t k = states_;
        auto* x = sequence.inputs;
        auto* y = sequence.targets;
        // Dirichlet(1, ..., 1): independent exponential variables over their sum.
        std::vector<double> cumulative(static_cast<std::size_t>(k * k));
        for (std::int64_t i = 0; i < k * k; ++i) {
            const double before = i % k == 0 ? 0.0 : cumulative[static_cast<std::size_t>(i - 1)];
            cumulative[static_cast<std::size_t>(i)] = before - std::log1p(-random.uniform(i));
        }
        x[0] = random.below(k, k * k);
        for (std::int64_t t = 0; t < seq_len_; ++t) {
            const auto row = cumulative.begin() + x[t] * k;
            const double u = random.uniform(k * k + 1 + t) * row[k - 1];
            y[t] = std::min(std::upper_bound(row, row + k, u) - row, k - 1);
            if (t + 1 < seq_len_) x[t + 1] = y[t];
        }
    }

    void true_distribution(const Sequence& sequence, double* truth) const override {
        const std::int64_t k = states_;
        const auto* x = sequence.inputs;
        std::vector<double> a(static_cast<std::size_t>(k * k), 1);
        for (std::int64_t t = 0; t < seq_len_; ++t) {
            if (t > 0) ++a[static_cast<std::size_t>(x[t - 1] * k + x[t])];
            const auto row = a.begin() + x[t] * k;
            double total = 0;
            for (std::int64_t j = 0; j < k; ++j) total += row[j];
            for (std::int64_t j = 0; j < k; ++j) truth[t * k + j] = row[j] / total;
        }
    }

    Lines lines() const override {
        const Means means = simulate(states_, seq_len_);
        return {{{"none", std::log(static_cast<double>(states_))}, {"bayes", means.bayes}},
                {{"unigram", means.unigram}, {"chain", means.chain}}};
    }

private:
    std::int64_t states_ = 3;
    std::int64_t seq_len_ = 96;
};

const RegisterGenerated<MarkovRule> registered_markov("markov",
                                                      "a fresh Markov chain in each sequence, learnt in context");

}  // namespace

}  // namespace headscope::experiments
