// HDF5 files that are sound and hold the wrong things: a good file, changed through the HDF5 library as the bytes of an
// input say. Behind a checksum that fits, this is what our readers must expect; damage in the bytes themselves would
// only show that the HDF5 library crashes on it.
#pragma once

#include <cmath>
#include <string>
#include <string_view>
#include <vector>

#include "experiments/storage/hdf5.h"
#include "tests/fuzz/fuzz_target.h"

namespace headscope::experiments::fuzz {

/// Every group and dataset of a file.
inline std::vector<std::string> paths_in(const hdf5::File& file, const std::string& group = "/") {
    std::vector<std::string> paths = {group};
    for (const std::string& name : file.children(group)) {
        const std::string path = group == "/" ? "/" + name : group + "/" + name;
        if (!file.has_group(path)) {
            paths.push_back(path);
            continue;
        }
        for (const std::string& below : paths_in(file, path)) paths.push_back(below);
    }
    return paths;
}

/// Changes `file`: four bytes of the program are what to do, where, and two numbers.
inline void edit(hdf5::File& file, std::string_view program) {
    static constexpr double numbers[] = {0, -1, 1, 2, 3, 5, 1e300, 9.3e18, INFINITY, NAN};
    static const std::vector<std::string> names = {
        "step",  "seed",    "state",   "schema_name", "schema_version", "config_sha256", "null_mean",
        "extra", "maximum", "elapsed", "best_step",   "tokens_seen",    "minimum",       "data_sha256"};
    const std::vector<std::string> paths = paths_in(file);
    for (; program.size() >= 4; program.remove_prefix(4)) {
        const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(program[i]); };
        const std::string& path = paths[byte(1) % paths.size()];
        const std::string& name = names[byte(2) % names.size()];
        const double number = numbers[byte(3) % std::size(numbers)];
        const hdf5::Dims shape(byte(2) % 8, byte(3) % 3);
        std::size_t count = 1;
        for (const std::int64_t size : shape) count *= static_cast<std::size_t>(size);
        const bool replaces = byte(0) % 10 < 7 && path != "/";
        try_parse([&] {
            if (replaces) file.remove(path);
            switch (byte(0) % 10) {
                case 0: break;
                case 1: return file.write<float>(path, shape, std::vector<float>(count, static_cast<float>(number)));
                case 2:
                    return file.write<double>(path, shape, std::vector<double>(count, number),
                                              hdf5::Layout::compressed);
                case 3: return file.write<std::int64_t>(path, shape, std::vector<std::int64_t>(count, byte(3) - 2));
                case 4: return file.write_text(path, name);
                case 5: return file.write_texts(path, std::vector<std::string>(byte(3) % 4, name));
                case 6: return file.make_group(path);
                case 7: return file.set_attribute(path, name, number);
                case 8: return file.set_attribute(path, name, static_cast<std::int64_t>(byte(3)) - 2);
                default: return file.set_attribute(path, name, names[byte(3) % names.size()]);
            }
        });
    }
}

/// An input that begins with this is a program, any other is a file.
inline constexpr std::string_view program_start = "edit:";

/// Programs to begin from.
inline std::vector<std::string> programs() {
    const std::string start(program_start);
    return {start, start + std::string("\0\5\0\0", 4), start + std::string("\1\7\2\1\7\3\4\5", 8),
            start + std::string("\2\11\1\1\5\14\3\3\6\17\0\0", 12)};
}

}  // namespace headscope::experiments::fuzz
