// What libFuzzer needs beyond a target: an empty corpus folder, its last argument, gets the target's seeds.
#include <filesystem>

#include "tests/fuzz/fuzz_target.h"

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
    namespace fs = std::filesystem;
    const fs::path corpus = (*argv)[*argc - 1];
    if (*argc < 2 || !fs::is_directory(corpus) || !fs::is_empty(corpus)) return 0;
    int count = 0;
    for (const std::string& seed : headscope::experiments::fuzz::seeds()) {
        std::ofstream file(corpus / ("seed-" + std::to_string(count++)), std::ios::binary);
        file.write(seed.data(), static_cast<std::streamsize>(seed.size()));
    }
    return 0;
}
