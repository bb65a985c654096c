#include "experiments/cli/summary_text.h"
#include "experiments/cli/verb.h"
#include "experiments/storage/run_folder.h"

namespace headscope::experiments::cli {

namespace {

class Inspect : public Verb {
public:
    void declare(VerbOptions& options) override {
        options.required("run", run_, "the run's folder, or its log.h5");
        options.flag("--json", json_, "as JSON");
    }

    void run(const std::atomic<bool>&) override { print_summary(run_folder_of(run_), json_); }

private:
    std::string run_;
    bool json_ = false;
};

const RegisterType<Verb> registered_inspect("inspect", "what is in a run's log: loss against floors, a row per head",
                                            [] { return std::make_unique<Inspect>(); });

}  // namespace

}  // namespace headscope::experiments::cli
