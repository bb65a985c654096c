#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>

#include "tests/experiments/tasks/generated_task.h"

namespace headscope::experiments {
namespace {

using Tokens = std::vector<std::int64_t>;

constexpr std::int64_t kinds = 3, length = 8, max_depth = 3;
constexpr double p_open = 0.4;

std::map<std::string, Value> small(const std::string& score) {
    return {{"kinds", kinds}, {"length", length}, {"max_depth", max_depth}, {"p_open", p_open}, {"score", score}};
}

/// All words with their probabilities, grown bracket by bracket and kept only if they can still be balanced.
std::map<Tokens, double> all_words() {
    std::map<Tokens, double> words;
    const std::function<void(Tokens, Tokens, double)> grow = [&](const Tokens& word, const Tokens& open, double p) {
        const auto left = length - std::ssize(word);
        if (left == 0) {
            words[word] += p;
            return;
        }
        const bool can_open = std::ssize(open) < max_depth && std::ssize(open) + 1 <= left - 1;
        const bool can_close = !open.empty();
        const double opening = !can_close ? 1 : !can_open ? 0 : p_open;
        if (can_open) {
            for (std::int64_t kind = 0; kind < kinds; ++kind) {
                Tokens longer = word, deeper = open;
                longer.push_back(kind);
                deeper.push_back(kind);
                grow(longer, deeper, p * opening / kinds);
            }
        }
        if (can_close) {
            Tokens longer = word, shallower = open;
            longer.push_back(kinds + open.back());
            shallower.pop_back();
            grow(longer, shallower, p * (1 - opening));
        }
    };
    grow({}, {}, 1);
    return words;
}

/// Mean entropy of the scored targets given what `known` makes of the word's first brackets.
template <class Known>
double enumerated(bool closing_only, Known&& known) {
    std::map<Tokens, std::map<std::int64_t, double>> weights;
    double total = 0;
    for (const auto& [word, p] : all_words()) {
        for (auto next = word.begin() + 1; next != word.end(); ++next) {
            if (closing_only && *next < kinds) continue;
            weights[known(Tokens(word.begin(), next))][*next] += p;
            total += p;
        }
    }
    double entropy = 0;
    for (const auto& [context, targets] : weights) {
        double sum = 0;
        for (const auto& [target, weight] : targets) sum += weight;
        for (const auto& [target, weight] : targets) entropy -= weight / total * std::log(weight / sum);
    }
    return entropy;
}

Tokens shape_of(Tokens prefix) {
    for (auto& token : prefix) token = token < kinds ? 0 : 1;
    return prefix;
}

Tokens neighbour_of(const Tokens& prefix) {
    Tokens known = shape_of(prefix);
    known.back() = prefix.back();
    return known;
}

TEST(Dyck, FloorsAreThoseOfAllWords) {
    double sum = 0;
    for (const auto& [word, p] : all_words()) sum += p;
    ASSERT_NEAR(sum, 1, 1e-12);

    const auto nothing = [](const Tokens&) { return Tokens{}; };
    const auto whole = [](const Tokens& prefix) { return prefix; };
    const auto closing = floors_of(*build_task("dyck", small("closing")));
    ASSERT_EQ(closing.size(), 3U);
    EXPECT_NEAR(closing.at("none"), enumerated(true, nothing), 1e-12);
    EXPECT_NEAR(closing.at("neighbour"), enumerated(true, neighbour_of), 1e-12);
    EXPECT_NEAR(closing.at("stack"), enumerated(true, whole), 1e-12);
    const auto all = floors_of(*build_task("dyck", small("all")));
    ASSERT_EQ(all.size(), 4U);
    EXPECT_NEAR(all.at("none"), enumerated(false, nothing), 1e-12);
    EXPECT_NEAR(all.at("shape"), enumerated(false, shape_of), 1e-12);
    EXPECT_NEAR(all.at("neighbour"), enumerated(false, neighbour_of), 1e-12);
    EXPECT_NEAR(all.at("stack"), enumerated(false, whole), 1e-12);
    EXPECT_GT(all.at("neighbour"), all.at("stack") + 0.1);
    EXPECT_EQ(build_task("dyck", {})->best_floor(), "stack");
}

TEST(Dyck, FloorsOfLongWordsAreWhatSamplesGive) {
    const auto task = build_task("dyck", {{"kinds", 4}, {"length", 40}, {"max_depth", 5}, {"score", "all"}});
    const auto floors = floors_of(*task);
    double nats = 0, scored = 0, distant = 0;
    for (std::int64_t index = 0; index < 40; ++index) {
        const Batch batch = task->eval_batch(index, 50);
        const auto y = values_of(batch.targets), kind = values_of(batch.classes);
        for (std::size_t i = 0; i < y.size(); ++i) {
            for (const double p : batch.truth.values<double>().subspan(i * 8, 8)) nats -= p > 0 ? p * std::log(p) : 0;
            distant += kind[i] == 2 ? 1 : 0;
            ++scored;
        }
    }
    EXPECT_NEAR(floors.at("stack"), nats / scored, 0.01);
    EXPECT_NEAR(floors.at("neighbour") - floors.at("stack"), distant / scored * std::log(4), 0.01);
}

TEST(Dyck, WordsComeAsOftenAsTheyShould) {
    const auto words = all_words();
    const auto task = build_task("dyck", small("all"));
    std::map<Tokens, double> counts;
    const double samples = 400 * 100;
    for (std::int64_t step = 0; step < 400; ++step) {
        const Batch batch = task->train_batch(step, 100);
        const auto x = values_of(batch.inputs), y = values_of(batch.targets);
        for (std::size_t row = 0; row < 100; ++row) {
            const auto begin = x.begin() + static_cast<std::ptrdiff_t>(row * 7);
            Tokens word(begin, begin + 7);
            for (std::size_t t = 0; t + 1 < 7; ++t) EXPECT_EQ(y[row * 7 + t], word[t + 1]);
            word.push_back(y[row * 7 + 6]);
            ASSERT_TRUE(words.contains(word)) << "not a word";
            ++counts[shape_of(word)];
        }
    }
    std::map<Tokens, double> shapes;
    for (const auto& [word, p] : words) shapes[shape_of(word)] += p;
    EXPECT_EQ(shapes.size(), 13U);  // the 14 of Catalan's number, without the one of depth 4
    for (const auto& [shape, p] : shapes) EXPECT_NEAR(counts[shape] / samples, p, 5 * std::sqrt(p / samples));
}

TEST(Dyck, ClassesAndAnnotationsFollowTheBrackets) {
    for (const std::string score : {"all", "closing"}) {
        const auto task = build_task("dyck", small(score));
        ASSERT_EQ(task->class_names(), (std::vector<std::string>{"open", "adjacent", "distant"}));
        const Batch batch = task->train_batch(5, 30);
        const auto notes = task->annotations(batch.inputs);
        ASSERT_EQ(notes.size(), 2U);
        EXPECT_EQ(notes[0].name, "depth");
        EXPECT_EQ(notes[1].name, "partner");
        const auto x = values_of(batch.inputs), y = values_of(batch.targets), kind = values_of(batch.classes);
        const auto depth = values_of(notes[0].values), partner = values_of(notes[1].values);
        for (std::size_t row = 0; row < 30; ++row) {
            for (std::size_t t = 0; t < 7; ++t) {
                const std::size_t i = row * 7 + t;
                const auto opened = std::count_if(x.begin() + static_cast<std::ptrdiff_t>(row * 7),
                                                  x.begin() + static_cast<std::ptrdiff_t>(i + 1),
                                                  [](std::int64_t token) { return token < kinds; });
                EXPECT_EQ(depth[i], 2 * opened - static_cast<std::int64_t>(t + 1));
                if (partner[i] >= 0) {
                    const std::size_t j = row * 7 + static_cast<std::size_t>(partner[i]);
                    EXPECT_EQ(partner[j], static_cast<std::int64_t>(t));
                    EXPECT_EQ(std::abs(x[i] - x[j]), kinds);
                    // Between partners nothing is left open: the depth comes back to what it was.
                    EXPECT_EQ(depth[std::max(i, j)] + 1, depth[std::min(i, j)]);
                } else {
                    EXPECT_LT(x[i], kinds) << "only the partner of the word's last bracket is missing";
                }
                if (y[i] < 0) {
                    EXPECT_EQ(kind[i], -1);
                    EXPECT_EQ(score, "closing");
                    if (t < 6) {
                        EXPECT_LT(x[i + 1], kinds);
                    }
                } else {
                    EXPECT_EQ(kind[i], y[i] < kinds ? 0 : x[i] < kinds ? 1 : 2);
                }
            }
        }
    }
}

TEST(Dyck, TruthIsTheDistributionThatTargetsAreDrawnFrom) {
    for (const std::string score : {"all", "closing"}) {
        const auto task = build_task("dyck", small(score));
        EXPECT_FALSE(task->train_batch(0, 3).truth.defined());
        TruthLoss sum;
        for (std::int64_t index = 0; index < 200; ++index) {
            const Batch batch = task->eval_batch(index, 20);
            ASSERT_EQ(batch.truth.shape(), (Shape{20, 7, 6}));
            add_truth_loss(sum, batch);
        }
        EXPECT_NEAR(sum.cross_entropy / sum.scored, floors_of(*task).at("stack"), 0.01);
    }
}

TEST(Dyck, DataAreAFunctionOfSeedSplitStepAndRow) {
    expect_pure_function("dyck", small("all"));
    expect_pure_function("dyck", small("closing"));
}

TEST(Dyck, EndsOfTheRanges) {
    EXPECT_EQ(task_settings("dyck", {{"length", 9}})->check().at(0).key, "length");
    for (const std::int64_t depth : {1, 50}) {
        for (const double chance : {0.0, 1.0}) {
            const auto task = build_task(
                "dyck", {{"length", 6}, {"max_depth", depth}, {"p_open", chance}, {"kinds", 1}, {"score", "all"}});
            for (const auto& [name, loss] : floors_of(*task)) {
                if (name != "none") {
                    EXPECT_EQ(loss, 0) << name;
                }
            }
            const auto x = values_of(task->train_batch(0, 1).inputs);
            EXPECT_EQ(x, depth == 1 || chance == 0 ? (Tokens{0, 1, 0, 1, 0}) : (Tokens{0, 0, 0, 1, 1}));
        }
    }
    EXPECT_EQ(build_task("dyck", {{"length", 2}})->train_batch(0, 3).inputs.shape(), (Shape{3, 1}));
}

}  // namespace
}  // namespace headscope::experiments
