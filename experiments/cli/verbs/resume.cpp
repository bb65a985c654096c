#include <fmt/format.h>

#include "experiments/cli/output.h"
#include "experiments/cli/progress.h"
#include "experiments/cli/summary_text.h"
#include "experiments/cli/verb.h"
#include "experiments/training/run.h"

namespace headscope::experiments::cli {

namespace {

class Resume : public Verb {
public:
    void declare(VerbOptions& options) override {
        options.required("run", run_, "the run's folder");
        options.optional(
            "overrides", overrides_,
            "keys to change: train.steps, log.*, checkpoint.*, eval.*, and task.path when the data are elsewhere now");
        options.flag("--other-data", other_data_, other_data_doc);
    }

    bool computes() const override { return true; }

    void run(const std::atomic<bool>& stop) override {
        ProgressPrinter printer(stderr);
        const RunResult result =
            resume_run(run_, overrides_, {.hooks = hooks_of(printer, stop), .other_data = other_data_});
        printer.erase();
        if (!result.was_finished) {
            print_summary(run_, false);
            return;
        }
        const Config config = load_config(run_ + "/config.toml", overrides_);
        print_out("{} is finished at step {}; nothing to do ({} goes further)\n", run_, result.steps_done,
                  result.steps_done == config.train.steps ? "train.steps=N" : "eval.patience=0");
    }

private:
    std::string run_;
    std::vector<std::string> overrides_;
    bool other_data_ = false;
};

const RegisterType<Verb> registered_resume("resume", "go on with a run that was stopped or killed",
                                           [] { return std::make_unique<Resume>(); });

}  // namespace

}  // namespace headscope::experiments::cli
