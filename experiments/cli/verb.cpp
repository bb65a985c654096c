#include "experiments/cli/verb.h"

#include <CLI/CLI.hpp>

namespace headscope::experiments::cli {

template <class Value>
void VerbOptions::optional(const std::string& name, Value& value, const std::string& doc) {
    app_.add_option(name, value, doc);
}

template <class Value>
void VerbOptions::required(const std::string& name, Value& value, const std::string& doc) {
    app_.add_option(name, value, doc)->required();
}

template void VerbOptions::optional(const std::string&, std::string&, const std::string&);
template void VerbOptions::optional(const std::string&, std::vector<std::string>&, const std::string&);
template void VerbOptions::optional(const std::string&, std::int64_t&, const std::string&);
template void VerbOptions::optional(const std::string&, std::optional<std::string>&, const std::string&);
template void VerbOptions::optional(const std::string&, std::optional<std::int64_t>&, const std::string&);
template void VerbOptions::required(const std::string&, std::string&, const std::string&);
template void VerbOptions::required(const std::string&, std::vector<std::string>&, const std::string&);
template void VerbOptions::required(const std::string&, std::int64_t&, const std::string&);

void VerbOptions::integer(const std::string& name, std::int64_t& value, const Limits& limits, const std::string& doc) {
    app_.add_option(name, value, doc)->check(CLI::Range(limits.smallest, limits.largest));
}

void VerbOptions::integer(const std::string& name, std::optional<std::int64_t>& value, const Limits& limits,
                          const std::string& doc) {
    app_.add_option(name, value, doc)->check(CLI::Range(limits.smallest, limits.largest));
}

void VerbOptions::flag(const std::string& name, bool& value, const std::string& doc) {
    app_.add_flag(name, value, doc);
}

}  // namespace headscope::experiments::cli
