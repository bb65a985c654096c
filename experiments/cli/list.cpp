#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "experiments/cli/kinds.h"
#include "experiments/cli/verbs.h"

namespace headscope::experiments::cli {

namespace {

/// A name and what it is, per line.
template <class Named>
std::string lines_of(const std::vector<Named>& all) {
    std::size_t width = 0;
    for (const Named& one : all) width = std::max(width, one.name.size());
    std::string text;
    for (const Named& one : all) text += fmt::format("{:<{}}  {}\n", one.name, width, one.doc);
    return text;
}

}  // namespace

std::string list_text(const std::string& kind) {
    if (kind.empty()) return lines_of(kinds());
    return lines_of(find_kind("list", kind).entries);
}

void list(const std::string& kind) { std::fputs(list_text(kind).c_str(), stdout); }

}  // namespace headscope::experiments::cli
