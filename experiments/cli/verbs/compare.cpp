#include <fmt/format.h>

#include "experiments/cli/comparison_text.h"
#include "experiments/cli/verb.h"

namespace headscope::experiments::cli {

namespace {

class Compare : public Verb {
public:
    void declare(VerbOptions& options) override {
        options.required("runs", runs_, "folders of runs");
        options.flag("--json", json_, "as JSON");
    }

    void run(const std::atomic<bool>&) override {
        std::vector<ComparedRun> compared;
        for (const std::string& run : runs_) compared.push_back(read_compared_run(run));
        const Comparison comparison = experiments::compare(compared);
        fmt::print("{}\n", json_ ? to_json(comparison) : to_text(comparison));
    }

private:
    std::vector<std::string> runs_;
    bool json_ = false;
};

const RegisterType<Verb> registered_compare("compare", "runs side by side, by what differs in their configs",
                                            [] { return std::make_unique<Compare>(); });

}  // namespace

}  // namespace headscope::experiments::cli
