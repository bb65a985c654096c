// The tables of a config and their keys: the one list that reading, writing and messages share.
#pragma once

#include <string>
#include <vector>

#include "experiments/config/config.h"

namespace headscope::experiments {

struct Section {
    std::string name;  ///< "" (above all tables), "model", "model.init", ...
    Fields fields;     ///< bound to the config
    /// Of a table with the keys of a type that [model] chooses ([model.attention]): the type, which is a key of
    /// [model].
    const std::string* type = nullptr;

    const Field* find(const std::string& key) const;
    std::vector<std::string> keys() const;
};

/// All sections in the order of the file. Where `type` decides which keys exist, the config's present type does.
std::vector<Section> sections_of(Config& config);

/// Paths of the keys that a table may stand for ("model.attention").
std::vector<std::string> typed_keys(Config& config);

/// "model.init" + "std" -> "model.init.std"; "" + "seed" -> "seed".
std::string join_path(const std::string& section, const std::string& key);

/// The types that own a key of a section with a `type` ("schedule", "final_ratio" -> {"cosine"}).
std::vector<std::string> types_with(const std::string& section, const std::string& key);

}  // namespace headscope::experiments
