#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "experiments/base/errors.h"
#include "experiments/base/sha256.h"
#include "experiments/tasks/bigram.h"
#include "experiments/tasks/byte_pair.h"
#include "experiments/tasks/utf8.h"
#include "tests/experiments/tasks/task_helpers.h"

namespace headscope::experiments {
namespace {

using TextTask = FileTest;
using Symbols = std::vector<std::int32_t>;

/// Letters a to g in an order without a short period.
std::string numbered_text(std::int64_t size) {
    std::string text;
    for (std::int64_t i = 0; i < size; ++i) text += static_cast<char>('a' + (i * i + i / 3) % 7);
    return text;
}

/// Code points that occur once each, in order, so that a token is a place.
std::string distinct_text(char32_t size) {
    std::string text;
    for (char32_t i = 0; i < size; ++i) text += encode_utf8(0x4E00 + i);
    return text;
}

TEST(Utf8, RoundTripAtEveryLength) {
    const std::u32string points = U"\u0001z\u007f\u0080\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff";
    std::string bytes;
    for (const char32_t point : points) bytes += encode_utf8(point);
    EXPECT_EQ(bytes.size(), 3U + 2 * 2 + 4 * 3 + 2 * 4);
    const auto decoded = decode_utf8(bytes, "t");
    EXPECT_EQ(std::u32string(decoded.begin(), decoded.end()), points);
}

TEST(Utf8, ByteOrderMarkIsDroppedAtTheStartOnly) {
    EXPECT_EQ(decode_utf8("\xEF\xBB\xBF"
                          "a\xEF\xBB\xBF",
                          "t"),
              (std::vector<char32_t>{U'a', 0xFEFF}));
}

TEST(Utf8, BadSequencesAreNamedByOffset) {
    const std::vector<std::pair<std::string, std::string>> cases = {
        {"\x80", "no character begins"},
        {"\xFF", "no character begins"},
        {"\xF8\x88\x80\x80\x80", "no character"},
        {"\xC3", "text ends"},
        {"\xE4\xBD", "text ends"},
        {"\xC3(", "continuation byte is missing"},
        {"\xE4\xBD(", "continuation byte"},
        {"\xC0\xAF", "overlong"},
        {"\xE0\x80\xAF", "overlong"},
        {"\xF0\x80\x80\xAF", "overlong"},
        {"\xED\xA0\x80", "surrogate"},
        {"\xED\xBF\xBF", "surrogate"},
        {"\xF4\x90\x80\x80", "above U+10FFFF"},
    };
    for (const auto& [bytes, reason] : cases) {
        const std::string text = "ab\xC3\xA9" + bytes;
        expect_contains(message_of<UsageError>([&] { decode_utf8(text, "file.txt"); }),
                        {"file.txt", "byte offset 4", reason, "convert it to UTF-8"});
    }
}

TEST(Bigram, WittenBellByHand) {
    // a b a b b c over V = 4: N = 6, T = 3, counts 2 3 1 0; pairs ab 2, ba 1, bb 1, bc 1.
    const BigramModel model(Symbols{0, 1, 0, 1, 1, 2}, 4);
    EXPECT_NEAR(model.unigram(1), (3 + 0.75) / 9, 1e-15);
    EXPECT_NEAR(model.unigram(3), 0.75 / 9, 1e-15);
    EXPECT_NEAR(model.bigram(1, 0), (2 + 1 * 3.75 / 9) / 3, 1e-15);
    EXPECT_NEAR(model.bigram(2, 1), (1 + 3 * 1.75 / 9) / 6, 1e-15);
    EXPECT_NEAR(model.bigram(3, 1), (3 * 0.75 / 9) / 6, 1e-15);
    EXPECT_EQ(model.bigram(1, 2), model.unigram(1));  // c begins no pair
    EXPECT_NEAR(model.bigram_cross_entropy(Symbols{0, 1, 3}),
                -(std::log(model.bigram(1, 0)) + std::log(model.bigram(3, 1))) / 2, 1e-15);
    EXPECT_NEAR(model.unigram_cross_entropy(Symbols{0, 1, 3}),
                -(std::log(model.unigram(1)) + std::log(model.unigram(3))) / 2, 1e-15);
}

TEST(Bigram, ProbabilitiesSumToOne) {
    Symbols text;
    for (std::int32_t i = 0; i < 200; ++i) text.push_back(i * i % 11);
    const BigramModel model(text, 13);
    double unigram = 0;
    for (std::int32_t b = 0; b < 13; ++b) unigram += model.unigram(b);
    EXPECT_NEAR(unigram, 1, 1e-12);
    for (std::int32_t a = 0; a < 13; ++a) {
        double bigram = 0;
        for (std::int32_t b = 0; b < 13; ++b) bigram += model.bigram(b, a);
        EXPECT_NEAR(bigram, 1, 1e-12);
    }
}

TEST(Bigram, CountsInATableAsInAMap) {
    for (const std::int32_t length : {64, 4096}) {  // the second is long beside its 121 pairs, and gets a table
        Symbols text;
        std::uint32_t random = 1;
        for (std::int32_t i = 0; i < length; ++i) {
            random = random * 1664525 + 1013904223;
            text.push_back(i < 11 ? i : static_cast<std::int32_t>((random >> 16U) % 11));
        }
        const BigramModel model(text, 11);
        double N = 0, T = 0, sum = 0;
        std::map<std::int32_t, double> count, begins;
        std::map<std::pair<std::int32_t, std::int32_t>, double> pairs;
        for (std::size_t i = 0; i < text.size(); ++i) {
            T += count[text[i]]++ == 0 ? 1 : 0;
            ++N;
            if (i > 0) ++pairs[{text[i - 1], text[i]}], ++begins[text[i - 1]];
        }
        const auto probability = [&](std::int32_t a, std::int32_t b) {
            double successors = 0;
            for (const auto& [pair, times] : pairs) successors += pair.first == a ? 1 : 0;
            const double unigram = (count[b] + T / 11) / (N + T);
            const auto found = pairs.find({a, b});
            return ((found == pairs.end() ? 0 : found->second) + successors * unigram) / (begins[a] + successors);
        };
        for (const std::int32_t a : {0, 4, 10})
            for (const std::int32_t b : {1, 2, 10}) EXPECT_DOUBLE_EQ(model.bigram(b, a), probability(a, b));
        const Symbols other{3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 4, 1, 4};
        for (std::size_t i = 1; i < other.size(); ++i) sum -= std::log(probability(other[i - 1], other[i]));
        EXPECT_NEAR(model.bigram_cross_entropy(other), sum / 13, 1e-14) << length;
    }
}

TEST_F(TextTask, VocabularyIsSortedCodePointsOfTheWholeFile) {
    const auto task = build_task(
        "text",
        {{"path", write("t.txt", "\xEF\xBB\xBFz\nb静夜z思b夜zé\nb床")}, {"seq_len", 2}, {"eval_fraction", 0.25}});
    EXPECT_EQ(task->vocabulary(), (std::vector<std::string>{"\n", "b", "z", "é", "夜", "床", "思", "静"}));
    EXPECT_EQ(task->vocab_size(), 8);
    EXPECT_EQ(task->seq_len(), 2);
}

TEST_F(TextTask, TrainingWindowsLieInTheTrainingPartAndTargetsAreShifted) {
    const auto task =
        build_task("text", {{"path", write("t.txt", distinct_text(90))}, {"seq_len", 5}, {"eval_fraction", 1.0 / 3}});
    std::set<std::int64_t> starts;
    for (std::int64_t step = 0; step < 400; ++step) {
        const Batch batch = task->train_batch(step, 3);
        ASSERT_EQ(batch.inputs.shape(), (Shape{3, 5}));
        ASSERT_EQ(batch.targets.shape(), (Shape{3, 5}));
        EXPECT_FALSE(batch.classes.defined() || batch.truth.defined());
        const auto x = values_of(batch.inputs);
        const auto y = values_of(batch.targets);
        for (std::int64_t i = 0; i < 15; ++i) {
            const auto at = static_cast<std::size_t>(i);
            EXPECT_EQ(x[at], x[at - at % 5] + i % 5);
            EXPECT_EQ(y[at], x[at] + 1);
        }
        for (const std::size_t row : {0U, 5U, 10U}) starts.insert(x[row]);
    }
    // All 55 places of 6 characters in 60, and no other.
    EXPECT_EQ(starts.size(), 55U);
    EXPECT_EQ(*starts.begin(), 0);
    EXPECT_EQ(*starts.rbegin(), 54);
}

TEST_F(TextTask, BatchesArePureFunctionsOfSeedAndStep) {
    const std::string file = write("t.txt", numbered_text(500));
    const auto task = build_task("text", {{"path", file}, {"seq_len", 4}}, 1);
    const auto again = build_task("text", {{"path", file}, {"seq_len", 4}}, 1);
    const auto other = build_task("text", {{"path", file}, {"seq_len", 4}}, 2);
    again->train_batch(0, 3);
    EXPECT_EQ(values_of(task->train_batch(9, 3).inputs), values_of(again->train_batch(9, 3).inputs));
    EXPECT_NE(values_of(task->train_batch(9, 3).inputs), values_of(task->train_batch(10, 3).inputs));
    EXPECT_NE(values_of(task->train_batch(9, 3).inputs), values_of(other->train_batch(9, 3).inputs));
    EXPECT_EQ(values_of(task->eval_batch(1, 3).inputs), values_of(other->eval_batch(1, 3).inputs));
}

TEST_F(TextTask, EvaluationCoversTheHeldOutPartOnceAndEvenly) {
    const std::string text = numbered_text(600) + distinct_text(400);
    const auto task = build_task("text", {{"path", write("t.txt", text)}, {"seq_len", 4}, {"eval_fraction", 0.4}});
    const std::int64_t base = task->vocab_size() - 400;
    ASSERT_EQ(task->eval_batches(8), 12);  // (400 - 1) / 4 = 99 windows
    std::set<std::int64_t> targets;
    for (std::int64_t index = 0; index < 12; ++index) {
        const Batch batch = task->eval_batch(index, 8);
        const auto x = values_of(batch.inputs);
        const auto y = values_of(batch.targets);
        for (std::size_t i = 0; i < y.size(); ++i) {
            EXPECT_EQ(y[i], x[i] + 1);
            EXPECT_GE(x[i], base);
            EXPECT_TRUE(targets.insert(y[i]).second) << "scored twice";
        }
        // After any number of batches the gaps between the windows seen are like those of an even grid, at most a few
        // times as wide.
        std::int64_t widest = 0;
        std::int64_t last = base;
        for (const std::int64_t target : targets) {
            widest = std::max(widest, target - last);
            last = target;
        }
        widest = std::max(widest, task->vocab_size() - last);
        EXPECT_LE(widest, 3 * 400 / (8 * (index + 1)) + 4) << "after batch " << index;
    }
    EXPECT_EQ(targets.size(), 96U * 4);
}

TEST_F(TextTask, FewHeldOutWindowsMakeOneSmallBatch) {
    const auto task =
        build_task("text", {{"path", write("t.txt", numbered_text(100))}, {"seq_len", 4}, {"eval_fraction", 0.14}});
    EXPECT_EQ(task->eval_batches(32), 1);
    EXPECT_EQ(task->eval_batch(0, 32).inputs.shape(), (Shape{3, 4}));
}

TEST_F(TextTask, NothingHeldOutMeansNoEvaluation) {
    const auto task =
        build_task("text", {{"path", write("t.txt", numbered_text(6))}, {"seq_len", 5}, {"eval_fraction", 0.0}});
    EXPECT_EQ(task->eval_batches(2), 0);
    EXPECT_TRUE(task->references().empty());
    EXPECT_TRUE(task->numbers().empty());
    EXPECT_EQ(task->train_batch(3, 2).inputs.shape(), (Shape{2, 5}));
}

TEST_F(TextTask, CountsCharactersThatOnlyTheHeldOutPartHas) {
    // 90 characters train, all of a to g; of the 10 others, x comes three times and é twice.
    const std::string path = write("t.txt", numbered_text(90) + "axxb\u00e9c\u00e9xde");
    for (const char* const tokens : {"characters", "bpe"}) {
        const auto task = build_task("text", {{"path", path}, {"tokens", tokens}, {"bpe_vocab", 12}, {"seq_len", 4}});
        const std::vector<TaskNumber> numbers = task->numbers();
        ASSERT_EQ(numbers.size(), 2U);
        EXPECT_EQ(numbers[0].name, "unseen_characters");
        EXPECT_EQ(numbers[0].value, 2);
        EXPECT_EQ(numbers[1].name, "unseen_occurrences");
        EXPECT_EQ(numbers[1].value, 5);
        EXPECT_EQ(task->notes(), std::vector<std::string>{
                                     "text: 2 different characters of the held-out part, 5 of its 10, never occur in "
                                     "the training part; no model can learn them"});
    }
    const auto known = build_task("text", {{"path", write("t.txt", numbered_text(100))}, {"seq_len", 4}});
    EXPECT_EQ(known->numbers()[0].value, 0);
    EXPECT_EQ(known->numbers()[1].value, 0);
    EXPECT_TRUE(known->notes().empty());
}

TEST_F(TextTask, ReferencesAreThoseOfTheTwoParts) {
    const std::string text = numbered_text(90) + "gfedcbagfe";
    const auto task = build_task("text", {{"path", write("t.txt", text)}, {"seq_len", 4}});
    Symbols tokens;
    for (const char c : text) tokens.push_back(c - 'a');
    const std::span<const std::int32_t> all(tokens);
    const BigramModel model(all.first(90), 7);
    EXPECT_TRUE(task->floors().empty());  // models get below these
    const auto references = task->references();
    ASSERT_EQ(references.size(), 2U);
    EXPECT_EQ(references[0].name, "unigram");
    EXPECT_DOUBLE_EQ(references[0].loss, model.unigram_cross_entropy(all.last(10)));
    EXPECT_EQ(references[1].name, "bigram");
    EXPECT_DOUBLE_EQ(references[1].loss, model.bigram_cross_entropy(all.last(10)));
}

TEST_F(TextTask, BytePairTokensAreLearntFromTheTrainingPart) {
    std::string training, held_out;
    for (int i = 0; i < 60; ++i) training += i % 3 == 0 ? "the king " : "the ";
    for (int i = 0; i < 24; ++i) held_out += "queens 我 ";
    const std::string text = training + held_out;
    const double characters = static_cast<double>(training.size() + 24 * 9);
    const auto task = build_task("text", {{"path", write("t.txt", text)},
                                          {"tokens", "bpe"},
                                          {"bpe_vocab", 21},
                                          {"seq_len", 4},
                                          {"eval_fraction", (24 * 9 + 0.5) / characters}});
    const BytePairs pairs(training, held_out, 21);
    std::vector<std::string> names;
    for (const std::string& bytes : pairs.bytes()) names.push_back(readable(bytes));
    EXPECT_EQ(task->vocabulary(), names);
    EXPECT_EQ(task->vocab_size(), 21);
    EXPECT_TRUE(std::ranges::find(names, " king") != names.end());
    EXPECT_TRUE(std::ranges::find(names, "<E6>") != names.end()) << "a byte that only the held-out part has";

    // Training windows are of the training part's tokens, in order; the first targets of evaluation follow its first.
    const Symbols tokens = pairs.encode(training), rest = pairs.encode(held_out);
    const Batch train = task->train_batch(0, 1);
    const std::vector<std::int64_t> window = values_of(train.inputs);
    EXPECT_NE(std::search(tokens.begin(), tokens.end(), window.begin(), window.end()), tokens.end());
    EXPECT_EQ(task->eval_batches(1), (std::ssize(rest) - 1) / 4);
    EXPECT_EQ(values_of(task->eval_batch(0, 1).inputs), std::vector<std::int64_t>(rest.begin(), rest.begin() + 4));

    const BigramModel model(tokens, 21);
    ASSERT_EQ(task->references().size(), 2U);
    EXPECT_DOUBLE_EQ(task->references()[0].loss, model.unigram_cross_entropy(rest));
    EXPECT_DOUBLE_EQ(task->references()[1].loss, model.bigram_cross_entropy(rest));

    const auto king = *task->encode("the king");
    EXPECT_EQ(pairs.decode(Symbols(king.begin(), king.end())), "the king");
    expect_contains(message_of<UsageError>([&] { task->encode("the zoo 是 z"); }),
                    {"no token for z o 是;", path("t.txt")});
}

TEST_F(TextTask, TooManyOrTooFewBytePairTokensAreNamed) {
    const auto build = [&](std::int64_t bpe_vocab) {
        build_task("text", {{"path", write("t.txt", "abcabcabcabd")},
                            {"tokens", "bpe"},
                            {"bpe_vocab", bpe_vocab},
                            {"seq_len", 5},
                            {"eval_fraction", 0.0}});
    };
    expect_contains(message_of<UsageError>([&] { build(3); }), {"4 different bytes", "task.bpe_vocab = 3"});
    expect_contains(message_of<UsageError>([&] { build(90); }), {"gives 7 byte-pair tokens", "task.bpe_vocab = 90"});
    expect_contains(message_of<UsageError>([&] { build(6); }), {"the training part needs 6 tokens and has 5"});
}

TEST_F(TextTask, EncodesByCharacter) {
    const auto task =
        build_task("text", {{"path", write("t.txt", "z夜a夜\n床")}, {"seq_len", 1}, {"eval_fraction", 0.0}});
    EXPECT_EQ(task->encode("夜a床"), (std::vector<std::int64_t>{3, 1, 4}));
    expect_contains(message_of<UsageError>([&] { task->encode("a思b思"); }), {"no token for 思 b;", path("t.txt")});
}

TEST_F(TextTask, TheDigestIsThatOfTheText) {
    const auto digest = [&](const std::string& text, const char* tokens = "characters") {
        return build_task("text", {{"path", write("t.txt", text)},
                                   {"tokens", tokens},
                                   {"bpe_vocab", std::int64_t{12}},
                                   {"seq_len", 2},
                                   {"eval_fraction", 0.0}})
            ->data_sha256();
    };
    const std::string text = "z夜a夜床abab夜床";
    EXPECT_EQ(digest(text), sha256(text));
    EXPECT_EQ(digest("\xEF\xBB\xBF" + text), sha256(text));
    EXPECT_EQ(digest(text, "bpe"), sha256(text));
}

TEST_F(TextTask, BadFilesAreNamed) {
    const auto build = [](const std::string& file) { build_task("text", {{"path", file}, {"seq_len", 4}}); };
    expect_contains(message_of<IoError>([&] { build(path("none.txt")); }),
                    {path("none.txt"), "does not exist", "fetch_data"});
    expect_contains(message_of<IoError>([&] { build(folder_); }), {folder_, "is a folder"});
    expect_contains(message_of<UsageError>([&] { build(write("empty.txt", "")); }), {path("empty.txt"), "is empty"});
    expect_contains(
        message_of<UsageError>([&] { build(write("bad.txt", numbered_text(70) + "\xFF" + numbered_text(9))); }),
        {path("bad.txt"), "byte offset 70"});
}

TEST_F(TextTask, TooShortNamesEachPartThatIs) {
    const auto build = [&](std::int64_t size, double eval_fraction) {
        build_task("text",
                   {{"path", write("t.txt", numbered_text(size))}, {"seq_len", 9}, {"eval_fraction", eval_fraction}});
    };
    expect_contains(
        message_of<UsageError>([&] { build(18, 0.5); }),
        {path("t.txt"), "training part needs 10 characters and has 9", "held-out part needs 10 characters and has 9"});
    const std::string held_out = message_of<UsageError>([&] { build(90, 0.1); });
    expect_contains(held_out, {"held-out part needs 10 characters and has 9", "task.seq_len"});
    EXPECT_EQ(held_out.find("training part"), std::string::npos);
    build(100, 0.1);
    build(20, 0.5);
}

}  // namespace
}  // namespace headscope::experiments
