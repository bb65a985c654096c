#include "experiments/probes/probe.h"

#include <map>
#include <utility>

#include "experiments/errors.h"

namespace headscope {

namespace {

using MakeProbe = std::function<std::unique_ptr<Probe>()>;

// Inside a function, so that it is there before the first static RegisterProbe of whatever file asks for it.
std::map<std::string, MakeProbe>& registry() {
    static std::map<std::string, MakeProbe> probes;
    return probes;
}

}  // namespace

std::vector<std::string> probe_names() {
    std::vector<std::string> names;
    for (const auto& [name, make] : registry()) names.push_back(name);
    return names;
}

std::unique_ptr<Probe> make_probe(const std::string& name) {
    const auto found = registry().find(name);
    if (found == registry().end()) throw UsageError("probe: there is none called \"" + name + "\"");
    return found->second();
}

RegisterProbe::RegisterProbe(std::string name, MakeProbe make) {
    const bool is_new = registry().emplace(name, std::move(make)).second;
    if (!is_new) throw Error("probe: \"" + name + "\" is registered twice");
}

}  // namespace headscope
