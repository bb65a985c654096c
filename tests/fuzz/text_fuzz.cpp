// Text: UTF-8, byte pairs, and the whole task over a file. Input: a byte that chooses options, then the text.
#include <fmt/format.h>

#include "experiments/config/config.h"
#include "experiments/tasks/byte_pair.h"
#include "experiments/tasks/utf8.h"
#include "tests/fuzz/fuzz_target.h"

namespace headscope::experiments::fuzz {

namespace {

void check_utf8(std::string_view text) {
    const std::string_view mark = "\xEF\xBB\xBF";
    const std::vector<char32_t> points = decode_utf8(text, "fuzz");
    std::string again = text.starts_with(mark) ? std::string(mark) : "";
    for (const char32_t point : points) again += encode_utf8(point);
    require(again == text, "UTF-8 that is accepted is written as it was read");
}

void check_byte_pairs(std::string_view text, std::size_t held_out, std::int64_t vocab_size) {
    const std::string_view training = text.substr(0, text.size() - held_out);
    const BytePairs pairs(training, text.substr(training.size()), vocab_size);
    require(pairs.size() <= std::max(vocab_size, pairs.single_bytes()), "byte pairs are as many as asked for at most");
    require(pairs.decode(pairs.encode(text)) == text, "byte pairs spell the text");
    for (const std::string& token : pairs.bytes()) decode_utf8(readable(token), "a readable token");
}

void check_task(const std::string& path, std::int64_t seq_len, double eval_fraction, bool bpe) {
    const std::string config = fmt::format(
        "name = \"fuzz\"\ntask = {{type = \"text\", path = '{}', tokens = \"{}\", bpe_vocab = 24, seq_len = {}, "
        "eval_fraction = {:.3f}}}\n",
        path, bpe ? "bpe" : "characters", seq_len, eval_fraction);
    const std::unique_ptr<Task> task = build_experiment_of_any_size(parse_config(config, "fuzz.toml")).task;
    std::vector<Batch> batches = {task->train_batch(0, 3)};
    for (std::int64_t i = 0; i < std::min<std::int64_t>(task->eval_batches(2), 3); ++i)
        batches.push_back(task->eval_batch(i, 2));
    for (const Batch& batch : batches)
        for (const Tensor& tokens : {batch.inputs, batch.targets})
            for (const std::int64_t token : tokens.values<std::int64_t>())
                require(token >= 0 && token < task->vocab_size(), "tokens are in range");
    for (const std::string& token : task->vocabulary()) decode_utf8(token, "vocabulary");
    for (const Floor& line : task->references()) require(line.loss >= 0, "references are losses");
}

}  // namespace

std::vector<std::string> seeds() {
    const std::string latin = "In the beginning God created the heaven and the earth.\n";
    const std::string mixed =
        "\xEF\xBB\xBFGr\xC3\xBC\xC3\x9F\x65 \xE9\x81\x93\xE5\x8F\xAF\xE9\x81\x93 \xF0\x9F\x98\x80\n";
    return {'\x01' + latin + latin + latin, '\x82' + latin + latin, '\x13' + mixed + mixed, std::string(60, 'a')};
}

std::vector<std::string> dictionary() {
    return {"\xEF\xBB\xBF", "\xED\xA0\x80", "\xF4\x90\x80\x80",  "\xC0\xAF", "\xE2\x80\xA8", " the",
            "\n",           "\r\n",         std::string(1, '\0')};
}

}  // namespace headscope::experiments::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace headscope;
    using namespace headscope::experiments;
    if (size == 0) return 0;
    static const fuzz::InputFile file("text.txt");
    const unsigned options = data[0];
    const std::string_view text = fuzz::as_text(data, size).substr(1);
    fuzz::try_parse([&] { fuzz::check_utf8(text); });
    fuzz::check_byte_pairs(text, text.size() * (options & 3U) / 8, 2 + (options & 127U));
    file.fill(text);
    fuzz::try_parse([&] { fuzz::check_task(file.path(), 1 + (options & 15U), (options & 3U) / 8.0, options >= 128); });
    return 0;
}
