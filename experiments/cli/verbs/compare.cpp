#include <fmt/format.h>

#include "experiments/cli/comparison_text.h"
#include "experiments/cli/output.h"
#include "experiments/cli/verb.h"
#include "experiments/storage/run_folder.h"

namespace headscope::experiments::cli {

namespace {

class Compare : public Verb {
public:
    void declare(VerbOptions& options) override {
        options.required("runs", runs_, "folders of runs, or their log.h5");
        options.optional("--metric", asked_.quantities,
                         "what to compare instead of the losses and roles: eval/accuracy, induction (mean, highest and "
                         "lowest of the heads), induction/max, induction[0.1] (of head 0.1)");
        options.optional("--step", asked_.step, "the newest row up to this step (default: the newest)");
        options.optional("--above", asked_.above, "also the first step at which each is at least this");
        options.optional("--below", asked_.below, "also the first step at which each is at most this");
        options.optional("--against", against_,
                         "group that differences are to, for example lr=0.001 (default: the first)");
        options.flag("--json", json_, "as JSON");
    }

    void run(const std::atomic<bool>&) override {
        std::vector<ComparedRun> compared;
        for (const std::string& run : runs_) compared.push_back(read_compared_run(run_folder_of(run), asked_));
        const Comparison comparison = experiments::compare(compared, asked_, against_);
        print_out("{}\n", json_ ? to_json(comparison) : to_text(comparison));
    }

private:
    std::vector<std::string> runs_;
    CompareOptions asked_;
    std::string against_;
    bool json_ = false;
};

const RegisterType<Verb> registered_compare("compare", "runs side by side, by what differs in their configs",
                                            [] { return std::make_unique<Compare>(); });

}  // namespace

}  // namespace headscope::experiments::cli
