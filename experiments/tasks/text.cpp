// Task `text`: the next character of a text file.
//
// A character is a code point. The vocabulary is the sorted list of the different code points of the whole file,
// held-out part included, so that every character has a token; a leading byte order mark is dropped. The last
// `eval_fraction` of the text is held out, the rest trains.
//   training batch   windows of seq_len + 1 characters at random places of the training part; targets are the inputs
//   moved
//                    on by one, all scored
//   evaluation       the held-out part cut into windows whose targets follow on without overlap, in a fixed order that
//                    spreads the first so many batches evenly over the part; when there are fewer windows than the
//                    batch has rows, one batch of all the windows
//   floors           `unigram` and `bigram`: see bigram.h; models of the training part on the held-out part
#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <numeric>
#include <span>
#include <utility>

#include "autograd/random.h"
#include "experiments/errors.h"
#include "experiments/storage/run_folder.h"
#include "experiments/tasks/bigram.h"
#include "experiments/tasks/task.h"
#include "experiments/tasks/utf8.h"

namespace headscope {

namespace {

struct Text {
    std::vector<std::int32_t> tokens;
    std::vector<std::string> vocabulary;
};

Text read_text(const std::string& path) {
    namespace fs = std::filesystem;
    std::error_code ignored;
    const fs::file_status status = fs::status(path, ignored);
    if (status.type() == fs::file_type::not_found)
        throw IoError(
            fmt::format("text: {} does not exist; name a UTF-8 file in task.path, or make the file: "
                        "`scripts/fetch_data kjv` writes data/kjv.txt, `scripts/fetch_data tang` data/tang.txt",
                        path));
    if (status.type() == fs::file_type::directory)
        throw IoError(fmt::format("text: {} is a folder; name a file in task.path", path));

    const std::string bytes = read_file(path);
    if (bytes.empty()) throw UsageError(fmt::format("text: {} is empty; name a UTF-8 file with text in it", path));
    const std::vector<char32_t> points = decode_utf8(bytes, "text: " + path);

    std::vector<std::int32_t> token_of(0x110000, -1);
    for (const char32_t point : points) token_of[point] = 0;
    Text text;
    for (char32_t point = 0; point < token_of.size(); ++point) {
        if (token_of[point] < 0) continue;
        token_of[point] = static_cast<std::int32_t>(text.vocabulary.size());
        text.vocabulary.push_back(encode_utf8(point));
    }
    text.tokens.reserve(points.size());
    for (const char32_t point : points) text.tokens.push_back(token_of[point]);
    return text;
}

class TextTask : public Task {
public:
    TextTask(Text text, std::int64_t train_size, std::int64_t seq_len, std::uint64_t seed)
        : text_(std::move(text)), train_size_(train_size), seq_len_(seq_len), seed_(seed) {
        const std::span<const std::int32_t> all(text_.tokens);
        const auto held_out = all.subspan(static_cast<std::size_t>(train_size));
        if (held_out.empty()) return;
        windows_ = (std::ssize(held_out) - 1) / seq_len;
        const BigramModel model(all.first(static_cast<std::size_t>(train_size)), vocab_size());
        floors_ = {{"unigram", model.unigram_cross_entropy(held_out)},
                   {"bigram", model.bigram_cross_entropy(held_out)}};
        // Multiples of a step near windows / golden ratio, modulo windows, fill a circle evenly at every stage (Weyl);
        // coprime, so that each window comes once.
        stride_ = std::max<std::int64_t>(1, static_cast<std::int64_t>(0.6180339887 * static_cast<double>(windows_)));
        while (std::gcd(stride_, windows_) != 1) ++stride_;
    }

    std::int64_t vocab_size() const override { return std::ssize(text_.vocabulary); }
    std::int64_t seq_len() const override { return seq_len_; }

    Batch train_batch(std::int64_t step, std::int64_t batch_size) const override {
        const RandomStream random(seed_, "text.train", static_cast<std::uint64_t>(step));
        const auto places = static_cast<std::uint64_t>(train_size_ - seq_len_);
        std::vector<std::int64_t> starts(static_cast<std::size_t>(batch_size));
        for (std::size_t b = 0; b < starts.size(); ++b) starts[b] = static_cast<std::int64_t>(random.below(places, b));
        return cut(starts);
    }

    std::int64_t eval_batches(std::int64_t batch_size) const override {
        return windows_ == 0 ? 0 : std::max<std::int64_t>(1, windows_ / batch_size);
    }

    Batch eval_batch(std::int64_t index, std::int64_t batch_size) const override {
        std::vector<std::int64_t> starts(static_cast<std::size_t>(std::min(batch_size, windows_)));
        for (std::int64_t b = 0; b < std::ssize(starts); ++b) {
            const std::int64_t window = (index * batch_size + b) * stride_ % windows_;
            starts[static_cast<std::size_t>(b)] = train_size_ + window * seq_len_;
        }
        return cut(starts);
    }

    std::vector<Floor> floors() const override { return floors_; }
    std::vector<std::string> vocabulary() const override { return text_.vocabulary; }

private:
    /// Inputs [B,T] from each start on, and the targets [B,T] one character later.
    Batch cut(const std::vector<std::int64_t>& starts) const {
        const Shape shape{std::ssize(starts), seq_len_};
        Batch batch{Tensor::empty(shape, DType::i64), Tensor::empty(shape, DType::i64), {}, {}};
        auto* input = batch.inputs.data<std::int64_t>();
        auto* target = batch.targets.data<std::int64_t>();
        for (const std::int64_t start : starts) {
            const std::int32_t* window = text_.tokens.data() + start;
            input = std::copy_n(window, seq_len_, input);
            target = std::copy_n(window + 1, seq_len_, target);
        }
        return batch;
    }

    Text text_;
    std::int64_t train_size_;  ///< the held-out part begins here
    std::int64_t seq_len_;
    std::uint64_t seed_;
    std::int64_t windows_ = 0;  ///< of the held-out part
    std::int64_t stride_ = 1;   ///< from one window to the next in evaluation order, modulo windows_
    std::vector<Floor> floors_;
};

class TextSettings : public TaskSettings {
public:
    void fields(Fields& fields) override {
        Field& path = fields.text("path", path_, "UTF-8 text file; a character is a code point");
        path.required = true;
        path.path = true;
        fields.integer("seq_len", seq_len_, "characters the model sees at once", {.min = 1, .max = 1 << 20});
        fields.real("eval_fraction", eval_fraction_, "share of the text held out at its end; 0 = no evaluation",
                    {.min = 0, .below = 1});
    }

    std::unique_ptr<Task> build(std::uint64_t seed) const override {
        Text text = read_text(path_);
        const std::int64_t size = std::ssize(text.tokens);
        const auto held_out = static_cast<std::int64_t>(eval_fraction_ * static_cast<double>(size));
        const std::int64_t need = seq_len_ + 1;  // a window and the target of its last character
        std::vector<std::string> short_parts;
        if (size - held_out < need)
            short_parts.push_back(
                fmt::format("the training part needs {} characters and has {}", need, size - held_out));
        if (eval_fraction_ > 0 && held_out < need)
            short_parts.push_back(fmt::format("the held-out part needs {} characters and has {}", need, held_out));
        if (!short_parts.empty())
            throw UsageError(
                fmt::format("text: {} is too short for task.seq_len = {} and task.eval_fraction = {}: {}; "
                            "use a longer text, a smaller task.seq_len or another task.eval_fraction",
                            path_, seq_len_, eval_fraction_, fmt::join(short_parts, ", ")));
        return std::make_unique<TextTask>(std::move(text), size - held_out, seq_len_, seed);
    }

private:
    std::string path_;
    std::int64_t seq_len_ = 128;
    double eval_fraction_ = 0.1;
};

const RegisterTask registered("text", "the next character of a text file",
                              [] { return std::make_unique<TextSettings>(); });

}  // namespace

}  // namespace headscope
