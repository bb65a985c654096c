#include "experiments/probes/probe.h"

#include <algorithm>
#include <map>
#include <utility>

#include "autograd/profile.h"
#include "experiments/base/errors.h"
#include "experiments/probes/capture.h"
#include "experiments/probes/sequences.h"

namespace headscope::experiments {

namespace {

using MakeProbe = std::function<std::unique_ptr<Probe>()>;

// Inside a function, so that it is there before the first static RegisterProbe of whatever file asks for it.
std::map<std::string, MakeProbe>& registry() {
    static std::map<std::string, MakeProbe> probes;
    return probes;
}

bool wants(const CaptureProbe& probe, SequenceSource source) {
    const std::vector<SequenceSource> wanted = probe.sources();
    return std::find(wanted.begin(), wanted.end(), source) != wanted.end();
}

}  // namespace

const char* name_of(ProbeStage stage) {
    switch (stage) {
        case ProbeStage::weights: return "weights";
        case ProbeStage::activations: return "activations";
        case ProbeStage::gradients: return "gradients";
        case ProbeStage::update: return "update";
    }
    return "?";
}

std::vector<double> CaptureProbe::measure(const ProbeContext& context) const {
    return measure_together({this}, context).front();
}

std::vector<std::vector<double>> measure_together(const std::vector<const CaptureProbe*>& probes,
                                                  const ProbeContext& context,
                                                  const std::function<void(std::size_t i)>& added) {
    std::vector<std::unique_ptr<Accumulator>> sums;
    for (const CaptureProbe* probe : probes) sums.push_back(probe->accumulate(context));
    for (const SequenceSource source :
         {SequenceSource::evaluation, SequenceSource::repeated, SequenceSource::random_periods}) {
        const auto wanted = [&](const CaptureProbe* probe) { return wants(*probe, source); };
        if (std::none_of(probes.begin(), probes.end(), wanted)) continue;
        const bool gradients = std::any_of(probes.begin(), probes.end(), [&](const CaptureProbe* probe) {
            return wanted(probe) && probe->needs_activation_gradients();
        });
        for (const Batch& batch : batches_of(source, context)) {
            const Capture capture(context.model, batch, source, gradients);
            Profile::mark(Profile::Phase::other, "passes for probes");
            for (std::size_t i = 0; i < probes.size(); ++i) {
                if (!wanted(probes[i])) continue;
                sums[i]->add(capture);
                if (added) added(i);
            }
        }
    }
    std::vector<std::vector<double>> values;
    for (const auto& sum : sums) values.push_back(sum->values());
    return values;
}

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

}  // namespace headscope::experiments
