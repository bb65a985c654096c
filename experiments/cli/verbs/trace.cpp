#include "experiments/analysis/trace.h"

#include <fmt/format.h>

#include "experiments/cli/progress.h"
#include "experiments/cli/verb.h"

namespace headscope::experiments::cli {

namespace {

class Trace : public Verb {
public:
    void declare(VerbOptions& options) override {
        options.required("run", run_, "the run's folder");
        options.optional("overrides", overrides_, data_overrides_doc);
        options.integer("--step", step_, {.smallest = 0},
                        "any step of the run (default: that of the newest good checkpoint)");
        options.required("--tokens", tokens_, "HDF5 file with /inputs and /targets, integers [batches, B, T]");
        options.required("-o,--out", out_, "HDF5 file to write");
    }

    bool computes() const override { return true; }

    void run(const std::atomic<bool>& stop) override {
        ProgressPrinter printer(stderr);
        const TraceResult result = trace_run(run_, overrides_, step_, tokens_, out_, hooks_of(printer, stop));
        printer.erase();
        const std::string loss = result.scored == 0
                                     ? "no target is scored"
                                     : fmt::format("loss {:.6f} over {} scored targets", result.loss, result.scored);
        fmt::print("{}: {}, weights of step {}\n", out_, loss, result.step);
    }

private:
    std::string run_;
    std::vector<std::string> overrides_;
    std::optional<std::int64_t> step_;
    std::string tokens_;
    std::string out_;
};

const RegisterType<Verb> registered_trace(
    "trace", "run given tokens through the weights of a step; write every value and gradient",
    [] { return std::make_unique<Trace>(); });

}  // namespace

}  // namespace headscope::experiments::cli
