#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "experiments/base/errors.h"
#include "experiments/base/nearest.h"
#include "experiments/cli/kinds.h"
#include "experiments/cli/verbs.h"

namespace headscope::experiments::cli {

std::string describe_text(const std::string& kind, const std::string& name) {
    const Kind known = find_kind("describe", kind);
    std::vector<std::string> names;
    for (const KindEntry& entry : known.entries) {
        if (entry.name == name) return fmt::format("{}: {}\n\n{}", entry.name, entry.doc, entry.describe());
        names.push_back(entry.name);
    }
    throw UsageError(
        fmt::format("describe: there is no \"{}\" among the {}{}", name, known.name, suggestion(name, names)));
}

void describe(const std::string& kind, const std::string& name) {
    std::fputs(describe_text(kind, name).c_str(), stdout);
}

}  // namespace headscope::experiments::cli
