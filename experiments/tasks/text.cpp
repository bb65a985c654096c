// Task `text`: the next token of a text file.
//
// The last `eval_fraction` of the text, counted in characters (code points), is held out, the rest trains. A leading
// byte order mark is dropped. Tokens are
//   characters       code points; the vocabulary is the sorted list of the different ones of the whole file, held-out
//                    part included, so that every character has a token
//   bpe              byte_pair.h: `bpe_vocab` byte-pair tokens over UTF-8, learnt from the training part; the single
//                    bytes are those of the whole file. The two parts are encoded each by itself
// The data's digest is that of the text as UTF-8 without a byte order mark: what `sha256sum` says of the file.
// All losses are nat per token, so they do not compare between kinds of tokens.
//   training batch   windows of seq_len + 1 tokens at random places of the training part; targets are the inputs moved
//                    on by one, all scored
//   evaluation       the held-out part in the EvaluationWindows of windows.h
//   references       `unigram` and `bigram`: see bigram.h; models of the training part's tokens on the held-out part.
//                    A model may get below them, so they are no floors; logs have them under /task/floors all the same,
//                    where those of earlier versions have them
//   numbers          characters of the held-out part that never occur in the training part: how many kinds, how often
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <utility>

#include "autograd/random.h"
#include "experiments/base/errors.h"
#include "experiments/base/files.h"
#include "experiments/base/sha256.h"
#include "experiments/tasks/bigram.h"
#include "experiments/tasks/byte_pair.h"
#include "experiments/tasks/task.h"
#include "experiments/tasks/token_row.h"
#include "experiments/tasks/utf8.h"
#include "experiments/tasks/windows.h"

namespace headscope::experiments {

namespace {

/// A text's tokens, the training part first, and how to make tokens of another text.
struct Text {
    TokenRow tokens;
    std::int64_t train_size = 0;  ///< tokens of the training part
    std::vector<std::string> vocabulary;
    std::function<bool(char32_t)> knows;
    std::function<std::vector<std::int32_t>(const std::vector<char32_t>&)> encode;  ///< of characters it knows
};

constexpr const char* how_to_make_it =
    ", or make it: `scripts/fetch_data kjv` writes data/kjv.txt, `scripts/fetch_data tang` data/tang.txt";

/// Calls use(code point) for each; one byte after the other where all are ASCII.
template <class Use>
void for_each_character(std::string_view bytes, const std::string& name, Use&& use) {
    for (std::size_t at = 0; at < bytes.size();) {
        const auto byte = static_cast<unsigned char>(bytes[at]);
        if (byte < 0x80) {
            use(char32_t{byte});
            ++at;
        } else {
            use(next_code_point(bytes, at, name));
        }
    }
}

/// UTF-8, and what one pass over it tells.
struct Characters {
    std::string_view bytes;
    std::int64_t count = 0;
    std::vector<bool> occurs;  ///< by code point

    /// Throws UsageError when `all` is no UTF-8.
    Characters(std::string_view all, const std::string& name) : bytes(without_byte_order_mark(all)), occurs(0x110000) {
        std::vector<char> found(occurs.size());
        const std::size_t mark = all.size() - bytes.size();  // errors count the bytes of the file
        for (std::size_t at = mark; at < all.size(); ++count) {
            const auto byte = static_cast<unsigned char>(all[at]);
            if (byte < 0x80) found[byte] = 1, ++at;
            else found[next_code_point(all, at, name)] = 1;
        }
        occurs.assign(found.begin(), found.end());
    }

    /// Bytes of the last `characters`.
    std::size_t bytes_of_last(std::int64_t characters) const {
        std::size_t size = 0;
        while (characters > 0) {
            ++size;
            const auto byte = static_cast<unsigned char>(bytes[bytes.size() - size]);
            if ((byte & 0xC0U) != 0x80U) --characters;
        }
        return size;
    }
};

std::string read_bytes(const std::string& path) {
    std::error_code ignored;
    if (std::filesystem::is_directory(path, ignored))
        throw IoError(fmt::format("text: {} is a folder; name a file in task.path", path));
    std::string bytes = read_file(path);
    if (bytes.empty()) throw UsageError(fmt::format("text: {} is empty; name a UTF-8 file with text in it", path));
    return bytes;
}

Text by_character(const Characters& all, std::int64_t held_out) {
    std::vector<std::int32_t> token_of(all.occurs.size(), -1);
    std::vector<std::string> vocabulary;
    for (char32_t point = 0; point < token_of.size(); ++point) {
        if (!all.occurs[point]) continue;
        token_of[point] = static_cast<std::int32_t>(vocabulary.size());
        vocabulary.push_back(encode_utf8(point));
    }
    Text text{TokenRow(std::ssize(vocabulary)), all.count - held_out, std::move(vocabulary), {}, {}};
    std::visit(
        [&]<class Token>(std::vector<Token>& tokens) {
            tokens.resize(static_cast<std::size_t>(all.count));
            Token* token = tokens.data();
            for_each_character(all.bytes, "text",
                               [&](char32_t point) { *token++ = static_cast<Token>(token_of[point]); });
        },
        text.tokens.values());
    const auto table = std::make_shared<const std::vector<std::int32_t>>(std::move(token_of));
    text.knows = [table](char32_t point) { return (*table)[point] >= 0; };
    text.encode = [table](const std::vector<char32_t>& points) {
        std::vector<std::int32_t> tokens;
        tokens.reserve(points.size());
        for (const char32_t point : points) tokens.push_back((*table)[point]);
        return tokens;
    };
    return text;
}

std::string to_utf8(const std::vector<char32_t>& points) {
    std::string bytes;
    for (const char32_t point : points) bytes += encode_utf8(point);
    return bytes;
}

Text by_byte_pairs(const Characters& all, std::int64_t held_out, std::int64_t vocab_size, const std::string& path) {
    const std::string_view training = all.bytes.substr(0, all.bytes.size() - all.bytes_of_last(held_out));
    const std::string_view rest = all.bytes.substr(training.size());
    const auto pairs = std::make_shared<const BytePairs>(training, rest, vocab_size);
    if (pairs->single_bytes() > vocab_size)
        throw UsageError(
            fmt::format("text: {} has {} different bytes, and each is a token; task.bpe_vocab = {} must be "
                        "at least that",
                        path, pairs->single_bytes(), vocab_size));
    if (pairs->size() < vocab_size)
        throw UsageError(fmt::format(
            "text: {} gives {} byte-pair tokens, after which no pair occurs twice; task.bpe_vocab = {} must "
            "be at most that, or the text longer",
            path, pairs->size(), vocab_size));
    Text text{TokenRow(vocab_size), 0, {}, {}, {}};
    for (const std::string& bytes : pairs->bytes()) text.vocabulary.push_back(readable(bytes));
    text.knows = [pairs](char32_t point) { return pairs->first_unknown(encode_utf8(point)) == std::string::npos; };
    text.encode = [pairs](const std::vector<char32_t>& points) { return pairs->encode(to_utf8(points)); };
    std::visit(
        [&]<class Token>(std::vector<Token>& tokens) {
            const auto add = [&](std::span<const std::int32_t> piece) {
                for (const std::int32_t token : piece) tokens.push_back(static_cast<Token>(token));
            };
            pairs->encode(training, add);
            text.train_size = std::ssize(tokens);
            pairs->encode(rest, add);
        },
        text.tokens.values());
    return text;
}

/// The characters of the held-out part that never occur in the training part.
struct Unseen {
    std::int64_t kinds = 0, occurrences = 0, held_out = 0;  ///< held_out: all characters of that part
};

Unseen unseen_characters(const Characters& all, std::int64_t held_out) {
    const std::size_t training_bytes = all.bytes.size() - all.bytes_of_last(held_out);
    std::vector<bool> seen(all.occurs.size());
    for_each_character(all.bytes.substr(0, training_bytes), "text", [&](char32_t point) { seen[point] = true; });
    std::set<char32_t> kinds;
    Unseen unseen{.held_out = held_out};
    for_each_character(all.bytes.substr(training_bytes), "text", [&](char32_t point) {
        if (seen[point]) return;
        kinds.insert(point);
        ++unseen.occurrences;
    });
    unseen.kinds = std::ssize(kinds);
    return unseen;
}

class TextTask : public Task {
public:
    TextTask(Text text, Unseen unseen, std::string path, std::string digest, std::int64_t seq_len, std::uint64_t seed)
        : text_(std::move(text)),
          unseen_(unseen),
          path_(std::move(path)),
          digest_(std::move(digest)),
          seq_len_(seq_len),
          seed_(seed) {
        const std::int64_t size = text_.tokens.size(), train_size = text_.train_size;
        if (size == train_size) return;
        evaluation_ = EvaluationWindows(size - train_size, seq_len);
        const BigramModel model(text_.tokens.part(0, train_size), vocab_size());
        const TokenSpan held_out = text_.tokens.part(train_size, size);
        references_ = {{"unigram", model.unigram_cross_entropy(held_out)},
                       {"bigram", model.bigram_cross_entropy(held_out)}};
    }

    std::int64_t vocab_size() const override { return std::ssize(text_.vocabulary); }
    std::int64_t seq_len() const override { return seq_len_; }
    std::string data_sha256() const override { return digest_; }

    Batch train_batch(std::int64_t step, std::int64_t batch_size) const override {
        const RandomStream random(seed_, "text.train", static_cast<std::uint64_t>(step));
        const auto places = static_cast<std::uint64_t>(text_.train_size - seq_len_);
        std::vector<std::int64_t> starts(static_cast<std::size_t>(batch_size));
        for (std::size_t b = 0; b < starts.size(); ++b) starts[b] = static_cast<std::int64_t>(random.below(places, b));
        return cut(starts);
    }

    std::int64_t eval_batches(std::int64_t batch_size) const override { return evaluation_.batches(batch_size); }

    Batch eval_batch(std::int64_t index, std::int64_t batch_size) const override {
        std::vector<std::int64_t> starts = evaluation_.starts(index, batch_size);
        for (std::int64_t& start : starts) start += text_.train_size;
        return cut(starts);
    }

    std::vector<Floor> references() const override { return references_; }
    bool references_among_floors() const override { return true; }
    std::vector<TaskNumber> numbers() const override {
        if (evaluation_.count() == 0) return {};
        return {{"unseen_characters", static_cast<double>(unseen_.kinds), "1",
                 "different characters of the held-out part that never occur in the training part"},
                {"unseen_occurrences", static_cast<double>(unseen_.occurrences), "1",
                 "how often they occur in the held-out part"}};
    }
    std::vector<std::string> notes() const override {
        if (unseen_.occurrences == 0) return {};
        return {
            fmt::format("text: {} different characters of the held-out part, {} of its {}, never occur in the "
                        "training part; no model can learn them",
                        unseen_.kinds, unseen_.occurrences, unseen_.held_out)};
    }
    std::vector<std::string> vocabulary() const override { return text_.vocabulary; }

    std::optional<std::vector<std::int64_t>> encode(const std::string& text) const override {
        const std::vector<char32_t> points = decode_utf8(text, "text");
        std::vector<std::string> unknown;
        for (const char32_t point : points)
            if (!text_.knows(point) && std::ranges::find(unknown, encode_utf8(point)) == unknown.end())
                unknown.push_back(encode_utf8(point));
        if (!unknown.empty())
            throw UsageError(
                fmt::format("text: no token for {}; use characters that occur in {}", fmt::join(unknown, " "), path_));
        const std::vector<std::int32_t> tokens = text_.encode(points);
        return std::vector<std::int64_t>(tokens.begin(), tokens.end());
    }

private:
    Batch cut(const std::vector<std::int64_t>& starts) const {
        return cut_windows(starts, seq_len_, [this](std::int64_t first, std::int64_t count, std::int64_t* out) {
            text_.tokens.copy(first, count, out);
        });
    }

    Text text_;
    Unseen unseen_;
    std::string path_, digest_;
    std::int64_t seq_len_;
    std::uint64_t seed_;
    EvaluationWindows evaluation_;  ///< of the held-out part
    std::vector<Floor> references_;
};

class TextSettings : public TaskSettings {
public:
    void fields(Fields& fields) override {
        fields.path("path", path_, "UTF-8 text file").required = true;
        fields.choice("tokens", tokens_, {"characters", "bpe"}, "what a token is: a code point, or a byte-pair token");
        fields.integer("bpe_vocab", bpe_vocab_, "byte-pair tokens, single bytes included; only for tokens = \"bpe\"",
                       {.min = 2, .max = 1 << 20});
        fields.integer("seq_len", seq_len_, "tokens the model sees at once", {.min = 1, .max = 1 << 20});
        fields.real("eval_fraction", eval_fraction_, "share of the text held out at its end; 0 = no evaluation",
                    {.min = 0, .below = 1});
    }

    std::unique_ptr<Task> build(std::uint64_t seed) const override {
        const std::string path = path_.require("text", "task.path", how_to_make_it);
        const std::string bytes = read_bytes(path);
        const Characters characters(bytes, "text: " + path);
        const auto held_out_characters =
            static_cast<std::int64_t>(eval_fraction_ * static_cast<double>(characters.count));
        Text text = tokens_ == "bpe" ? by_byte_pairs(characters, held_out_characters, bpe_vocab_, path)
                                     : by_character(characters, held_out_characters);

        const std::int64_t held_out = text.tokens.size() - text.train_size;
        const std::int64_t need = seq_len_ + 1;  // a window and the target of its last token
        const char* const unit = tokens_ == "bpe" ? "tokens" : "characters";
        std::vector<std::string> short_parts;
        if (text.train_size < need)
            short_parts.push_back(fmt::format("the training part needs {} {} and has {}", need, unit, text.train_size));
        if (eval_fraction_ > 0 && held_out < need)
            short_parts.push_back(fmt::format("the held-out part needs {} {} and has {}", need, unit, held_out));
        if (!short_parts.empty())
            throw UsageError(
                fmt::format("text: {} is too short for task.seq_len = {} and task.eval_fraction = {}: {}; "
                            "use a longer text, a smaller task.seq_len or another task.eval_fraction",
                            path, seq_len_, eval_fraction_, fmt::join(short_parts, ", ")));
        const Unseen unseen = unseen_characters(characters, held_out_characters);
        return std::make_unique<TextTask>(std::move(text), unseen, path, sha256(characters.bytes), seq_len_, seed);
    }

private:
    DataPath path_;
    std::string tokens_ = "characters";
    std::int64_t bpe_vocab_ = 512;
    std::int64_t seq_len_ = 128;
    double eval_fraction_ = 0.1;
};

const RegisterType<TaskSettings> registered_text("text", "the next token of a text file",
                                                 [] { return std::make_unique<TextSettings>(); });

}  // namespace

}  // namespace headscope::experiments
