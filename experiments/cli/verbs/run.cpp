#include "experiments/training/run.h"

#include <fmt/format.h>

#include "autograd/profile.h"
#include "experiments/cli/output.h"
#include "experiments/cli/profile_text.h"
#include "experiments/cli/progress.h"
#include "experiments/cli/summary_text.h"
#include "experiments/cli/verb.h"

namespace headscope::experiments::cli {

namespace {

class Run : public Verb {
public:
    void declare(VerbOptions& options) override {
        options.required("config", config_, "TOML file");
        options.optional("overrides", overrides_, overrides_doc);
        options.optional("--out", out_, "the run's folder (default runs/<name>-s<seed>)");
        options.flag("--json", json_, "end with a summary in JSON on stdout");
        options.flag("--profile", profile_, "end with where the time went: ops, optimizer, data, probes");
    }

    bool computes() const override { return true; }

    void run(const std::atomic<bool>& stop) override {
        // Everything that can be wrong with the config and the data is found before the folder is made.
        const Experiment experiment = build_experiment(load_users_config(config_, overrides_));
        ProgressPrinter printer(stderr);
        for (const std::string& note : experiment.notes()) printer.line(note);
        std::optional<Profile> profile;
        if (profile_) profile.emplace();
        const RunResult result = start_run(experiment, {.out = out_, .hooks = hooks_of(printer, stop)});
        printer.erase();
        if (!profile) {
            print_summary(result.folder, json_);
            return;
        }
        const RunSummary summary = read_summary(result.folder);
        print_out("{}\n", json_ ? add_profile(to_json(summary), profile->rows())
                                : to_text(summary) + "\n" + to_text(profile->rows()));
    }

private:
    std::string config_;
    std::vector<std::string> overrides_;
    std::string out_;
    bool json_ = false, profile_ = false;
};

const RegisterType<Verb> registered_run("run", "train by a config file", [] { return std::make_unique<Run>(); });

}  // namespace

}  // namespace headscope::experiments::cli
