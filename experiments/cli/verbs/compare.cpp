#include <fmt/format.h>

#include "experiments/base/errors.h"
#include "experiments/cli/comparison_text.h"
#include "experiments/cli/output.h"
#include "experiments/cli/verb.h"

namespace headscope::experiments::cli {

namespace {

class Compare : public Verb {
public:
    void declare(VerbOptions& options) override {
        options.required("runs", runs_, "folders of runs or sweeps, or log.h5 of runs");
        options.optional("--metric", asked_.quantities,
                         "what to compare instead of the losses and roles: eval/accuracy, induction (mean, highest and "
                         "lowest of the heads), induction/max, induction[0.1] (of head 0.1), role/induction (number of "
                         "heads that have the role)");
        options.optional("--step", asked_.step, "the newest row up to this step (default: the newest)");
        options.optional("--above", asked_.above, "also the first step at which each is at least this");
        options.optional("--below", asked_.below, "also the first step at which each is at most this");
        options.flag("--area", asked_.area,
                     "also the mean of each over its steps: the area under its rows, by trapezoids, divided by the "
                     "steps from the first row to the last");
        options.optional("--from", asked_.from, "of --area: rows from this step on");
        options.optional("--to", asked_.to, "of --area: rows up to this step");
        options.optional("--against", against_,
                         "group that differences are to, for example lr=0.001 (default: the first)");
        options.flag("--json", json_, "as JSON");
        options.flag("--csv", csv_, "a row per run: folder, keys that differ, seed, what is compared");
    }

    void run(const std::atomic<bool>&) override {
        check_options();
        const RunSet named = named_runs(runs_, "compare");
        std::vector<ComparedRun> compared;
        for (const std::string& run : named.folders) compared.push_back(read_compared_run(run, asked_));
        const Comparison comparison = experiments::compare(compared, asked_, against_, named.sweeps);
        if (!csv_) return print_out("{}\n", json_ ? to_json(comparison) : to_text(comparison));
        print_text(to_csv(comparison));
        for (const std::string& note : comparison.notes) print_note(note + "\n");
    }

private:
    void check_options() const {
        if (json_ && csv_) throw UsageError("compare: --json or --csv, not both");
        if (!asked_.area && (asked_.from || asked_.to))
            throw UsageError("compare: --from and --to are of --area, which is not there");
        if (asked_.from && asked_.to && *asked_.from >= *asked_.to)
            throw UsageError(
                fmt::format("compare: --from {} --to {}: an area needs more than one step", *asked_.from, *asked_.to));
    }

    std::vector<std::string> runs_;
    CompareOptions asked_;
    std::string against_;
    bool json_ = false, csv_ = false;
};

const RegisterType<Verb> registered_compare("compare", "runs side by side, by what differs in their configs",
                                            [] { return std::make_unique<Compare>(); });

}  // namespace

}  // namespace headscope::experiments::cli
