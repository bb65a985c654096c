#include "experiments/cli/progress.h"
#include "experiments/cli/summary_text.h"
#include "experiments/cli/verb.h"
#include "experiments/training/run.h"

namespace headscope::experiments::cli {

namespace {

class Fork : public Verb {
public:
    void declare(VerbOptions& options) override {
        options.required("run", run_, "the run's folder");
        options.optional("overrides", overrides_, overrides_doc);
        options.required("--step", step_, "step to begin at");
        options.optional("--out", out_, "the new run's folder (default <run>-fork-<step>)");
        options.flag("--other-data", other_data_, other_data_doc);
        options.flag("--json", json_, "end with a summary in JSON on stdout");
    }

    bool computes() const override { return true; }

    void run(const std::atomic<bool>& stop) override {
        ProgressPrinter printer(stderr);
        const RunResult result = fork_run(run_, step_, overrides_,
                                          {.out = out_, .hooks = hooks_of(printer, stop), .other_data = other_data_});
        printer.erase();
        print_summary(result.folder, json_);
    }

private:
    std::string run_;
    std::vector<std::string> overrides_;
    std::int64_t step_ = 0;
    std::string out_;
    bool json_ = false, other_data_ = false;
};

const RegisterType<Verb> registered_fork("fork", "a new run from some step of a past one, with something changed",
                                         [] { return std::make_unique<Fork>(); });

}  // namespace

}  // namespace headscope::experiments::cli
