// A fuzz target is a parser that is fed any bytes: <parser>_fuzz.cpp, with LLVMFuzzerTestOneInput and the two functions
// below. It may refuse its input with an Error; a crash, a hang, another exception or 512 MB of memory is a bug.
//
// Two drivers run it: driver.cpp of ours, for seconds and in every scripts/test, and Clang's libFuzzer, which looks at
// the branches taken, for minutes (preset `fuzz`, scripts/test --long).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include "experiments/base/errors.h"
#include "tests/experiments/temporary_folder.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace headscope::experiments::fuzz {

/// Inputs to begin from, made by the code that makes such files.
std::vector<std::string> seeds();

/// Words worth putting somewhere.
std::vector<std::string> dictionary();

/// Runs `parse`, which may throw Error. Any other exception goes on to the driver, and ends it.
template <class Parse>
void try_parse(Parse&& parse) {
    try {
        parse();
    } catch (const Error&) {
    }
}

/// Ends the process when something that must hold does not.
inline void require(bool holds, const char* what) {
    if (holds) return;
    std::cerr << "fuzz: does not hold: " << what << std::endl;
    std::abort();
}

inline std::string_view as_text(const std::uint8_t* data, std::size_t size) {
    return {reinterpret_cast<const char*>(data), size};
}

/// A file of this process, with new contents at each call.
class InputFile {
public:
    explicit InputFile(const std::string& name) : path_(folder_.path(name)) {}

    const std::string& path() const { return path_; }
    const std::string& folder() const { return folder_.path(); }
    void fill(std::string_view bytes) const {
        std::ofstream file(path_, std::ios::binary | std::ios::trunc);
        file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
        file.close();
        require(file.good(), "the temporary folder has room");
    }

private:
    TemporaryFolder folder_;
    std::string path_;
};

}  // namespace headscope::experiments::fuzz
