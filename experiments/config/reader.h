// From a tree of values to a Config, each key on its own. Checks of several keys together: key_combinations.h.
#pragma once

#include <map>
#include <set>
#include <string>

#include "experiments/config/config.h"
#include "experiments/config/document.h"

namespace headscope::experiments {

/// What the checks of several keys need to know: where each key was written, and which keys have no usable value.
struct ReadKeys {
    /// By path, "model.d_model"; only keys that were given. The type of [model.attention] is at "model.attention".
    std::map<std::string, SourcePosition> places;
    std::set<std::string> bad;  ///< paths whose value was refused
    std::string file;

    bool given(const std::string& path) const { return places.count(path) != 0; }
    bool good(std::initializer_list<const char*> paths) const;
    /// Where the first of these keys that was given stands.
    SourcePosition place_of(std::initializer_list<std::string> paths) const;
};

/// Reads every key of `root`. Unknown keys, missing keys and refused values become problems. The file's keys of a type
/// in whose place the command line puts another are left out; Config::notes names them.
ReadKeys read_config(const TomlValue& root, const std::string& file, Config& config, Problems& problems);

}  // namespace headscope::experiments
