// HDF5 files of tokens that a user brings along.
#include "experiments/storage/hdf5.h"
#include "experiments/tasks/token_file.h"
#include "experiments/tasks/token_stream.h"
#include "tests/fuzz/fuzz_target.h"

namespace headscope::experiments::fuzz {

namespace {

std::string tokens_file(hdf5::Layout layout, std::int64_t batches) {
    hdf5::File file = hdf5::File::create_in_memory();
    const std::vector<std::int64_t> values(static_cast<std::size_t>(batches) * 6, 3);
    file.write<std::int64_t>("/inputs", {batches, 2, 3}, values, layout);
    file.write<std::int64_t>("/targets", {batches, 2, 3}, values, layout);
    file.write<std::int64_t>("/tokens", {batches * 6}, values, layout);
    file.write_text("/note", "tokens of a test");
    file.set_attribute("/", "made_by", std::string("a test"));
    const std::vector<std::byte> image = file.image();
    return {reinterpret_cast<const char*>(image.data()), image.size()};
}

}  // namespace

std::vector<std::string> seeds() {
    return {tokens_file(hdf5::Layout::contiguous, 1), tokens_file(hdf5::Layout::compressed, 40)};
}

std::vector<std::string> dictionary() { return {"\x89HDF\r\n\x1a\n", "TREE", "HEAP", "SNOD", "OHDR", "GCOL", "FRHP"}; }

}  // namespace headscope::experiments::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace headscope;
    using namespace headscope::experiments;
    static const fuzz::InputFile file("tokens.h5");
    file.fill(fuzz::as_text(data, size));
    fuzz::try_parse([] {
        constexpr std::int64_t vocab_size = 7, any_length = 0;
        const TokenFile tokens = read_token_file(file.path(), vocab_size, any_length);
        for (const std::int64_t token : tokens.inputs.values<std::int64_t>())
            fuzz::require(token >= 0 && token < vocab_size, "tokens are checked");
    });
    fuzz::try_parse([] {
        constexpr std::int64_t vocab_size = 300, seq_len = 5;  // two bytes a token
        const TokenRow stream = read_token_stream(file.path(), vocab_size, seq_len);
        std::vector<std::int64_t> tokens(static_cast<std::size_t>(stream.size()));
        stream.copy(0, stream.size(), tokens.data());
        for (const std::int64_t token : tokens) fuzz::require(token >= 0 && token < vocab_size, "tokens are checked");
    });
    return 0;
}
