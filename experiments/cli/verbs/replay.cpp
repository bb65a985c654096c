#include <fmt/format.h>

#include "experiments/cli/output.h"
#include "experiments/cli/progress.h"
#include "experiments/cli/verb.h"
#include "experiments/training/run.h"

namespace headscope::experiments::cli {

namespace {

class Replay : public Verb {
public:
    void declare(VerbOptions& options) override {
        options.required("run", run_, "the run's folder");
        options.optional("overrides", overrides_,
                         "what to log, for example log.probes.overlap=1; only log.*, eval.every, and where the data "
                         "are (task.path) can change");
        options.optional("--from", from_, "first step (default: the run's first)");
        options.optional("--to", to_, "last step (default: the run's last)");
        options.optional("--out", out_, "folder to make (default <run>-replay-<from>-<to>)");
    }

    bool computes() const override { return true; }

    void run(const std::atomic<bool>& stop) override {
        ProgressPrinter printer(stderr);
        const ReplayResult result =
            replay_run(run_, from_, to_, overrides_, {.out = out_, .hooks = hooks_of(printer, stop)});
        printer.erase();
        print_out("{}/log.h5: steps {} to {} of {}; ", result.folder, result.from, result.to, run_);
        if (result.compared.rows > 0)
            print_out("all {} rows that the run has too, in {} series, are the same bit for bit\n",
                      result.compared.rows, result.compared.series);
        else print_out("the run has no row of these steps, so nothing could be compared\n");
    }

private:
    std::string run_;
    std::vector<std::string> overrides_;
    std::optional<std::int64_t> from_, to_;
    std::string out_;
};

const RegisterType<Verb> registered_replay("replay", "compute steps of a past run again, with other probes",
                                           [] { return std::make_unique<Replay>(); });

}  // namespace

}  // namespace headscope::experiments::cli
