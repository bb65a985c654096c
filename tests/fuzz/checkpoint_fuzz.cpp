// Checkpoints: any bytes, and sound HDF5 files with wrong contents under a header that fits.
#include <cstdio>

#include "experiments/base/sha256.h"
#include "experiments/storage/checkpoint.h"
#include "tests/fuzz/hdf5_edits.h"
#include "tests/fuzz/tiny_run.h"

namespace headscope::experiments::fuzz {

namespace {

constexpr std::size_t header_size = 512;

std::string with_fitting_header(const std::vector<std::byte>& body) {
    char header[header_size] = {};
    std::snprintf(header, sizeof header, "headscope checkpoint\nformat 0000000001\nlength %020zu\nsha256 %s\n",
                  body.size() + header_size, sha256(body).c_str());
    return std::string(header, header_size).append(reinterpret_cast<const char*>(body.data()), body.size());
}

std::string edited(std::string_view program) {
    static const std::string good = TinyRun().checkpoint();
    hdf5::File file = hdf5::File::open_image(std::as_bytes(std::span(good)), "good", true);
    edit(file, program);
    return with_fitting_header(file.image());
}

}  // namespace

std::vector<std::string> seeds() {
    std::vector<std::string> seeds = programs();
    seeds.push_back(TinyRun().checkpoint());
    return seeds;
}

std::vector<std::string> dictionary() { return {"headscope checkpoint\n", "\nformat ", "\nlength ", "\nsha256 "}; }

}  // namespace headscope::experiments::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace headscope;
    using namespace headscope::experiments;
    static const fuzz::InputFile file("step-00000002.h5");
    const std::string_view bytes = fuzz::as_text(data, size);
    const bool is_program = bytes.starts_with(fuzz::program_start);
    file.fill(is_program ? fuzz::edited(bytes.substr(fuzz::program_start.size())) : std::string(bytes));
    fuzz::try_parse([] { load_checkpoint(file.path()); });
    return 0;
}
