// Logs, as `inspect`, `resume` and `verify` read them: any bytes, and sound HDF5 files with wrong contents under a seal
// that fits.
#include "experiments/cli/summary_text.h"
#include "experiments/storage/log.h"
#include "experiments/storage/log_consistency.h"
#include "experiments/storage/log_seal.h"
#include "tests/fuzz/hdf5_edits.h"
#include "tests/fuzz/tiny_run.h"

namespace headscope::experiments::fuzz {

namespace {

std::string edited(std::string_view program) {
    static const std::string good = TinyRun().log();
    hdf5::File file = hdf5::File::open_image(std::as_bytes(std::span(good)), "good", true);
    edit(file, program);
    std::vector<std::byte> image = file.image();
    seal_log(image);
    return {reinterpret_cast<const char*>(image.data()), image.size()};
}

void read(const InputFile& file) {
    try_parse([&] {
        const RunSummary summary = read_summary(file.folder());
        cli::to_text(summary);
        cli::to_json(summary);
    });
    try_parse([&] { Log::reopen(file.path(), 1); });
    try_parse([&] { check_log(open_log(file.path())); });
}

}  // namespace

std::vector<std::string> seeds() {
    std::vector<std::string> seeds = programs();
    seeds.push_back(TinyRun().log());
    return seeds;
}

std::vector<std::string> dictionary() { return {"headscope.log", "\nheadscope log sha256 ", "\x89HDF\r\n\x1a\n"}; }

}  // namespace headscope::experiments::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace headscope;
    using namespace headscope::experiments;
    static const fuzz::InputFile file("log.h5");
    const std::string_view bytes = fuzz::as_text(data, size);
    const bool is_program = bytes.starts_with(fuzz::program_start);
    file.fill(is_program ? fuzz::edited(bytes.substr(fuzz::program_start.size())) : std::string(bytes));
    fuzz::read(file);
    return 0;
}
