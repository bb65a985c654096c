// What `headscope list` and `headscope describe` know. Everything comes from the registries and the declared keys.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace headscope::experiments::cli {

/// Something that can be named in a config.
struct KindEntry {
    std::string name;
    std::string doc;                        ///< one line
    std::function<std::string()> describe;  ///< the lines after it
};

struct Kind {
    std::string name;  ///< "optimizers"
    std::string doc;
    std::vector<KindEntry> entries;
};

/// Those of the registries, then probes and the tables of a config.
std::vector<Kind> kinds();
/// The one of that name, which may be in the singular. Throws UsageError, which begins with `verb`, with the nearest
/// when there is none.
Kind find_kind(const std::string& verb, const std::string& name);

/// The entries of a kind, a line each; of an empty name, the kinds. Throws UsageError with the nearest for an unknown
/// one.
std::string list_text(const std::string& kind);
/// One entry: what it is, its keys with types, defaults, ranges and meanings; of a probe what it measures and how.
/// Throws UsageError with the nearest for an unknown kind or name.
std::string describe_text(const std::string& kind, const std::string& name);

}  // namespace headscope::experiments::cli
