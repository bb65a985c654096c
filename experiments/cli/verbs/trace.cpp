#include "experiments/analysis/trace.h"

#include <fmt/format.h>

#include "experiments/base/errors.h"
#include "experiments/cli/output.h"
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
        options.optional("--tokens", tokens_, "HDF5 file with /inputs and /targets, integers [batches, B, T]");
        options.optional(
            "--text", text_,
            "a text, for runs of task text: in the run's own tokens, each of which is to predict the next. "
            "One longer than task.seq_len is cut into windows of that length side by side, each read by "
            "itself; the last ends with the text, and what it shares with the one before is scored once");
        options.flag("--eval", eval_, "the batches that the run is evaluated on, scored against their targets");
        options.integer("--batches", batches_, {1, 1'000'000}, "of --eval only the first so many");
        options.required("-o,--out", out_, "HDF5 file to write");
    }

    bool computes() const override { return true; }

    void run(const std::atomic<bool>& stop) override {
        const TraceSource tokens = source();
        ProgressPrinter printer(stderr);
        const TraceResult result = trace_run(run_, overrides_, step_, tokens, out_, hooks_of(printer, stop));
        printer.erase();
        const std::string loss = result.scored == 0
                                     ? "no target is scored"
                                     : fmt::format("loss {:.6f} over {} scored targets", result.loss, result.scored);
        print_out("{}: {}, weights of step {}\n", out_, loss, result.step);
    }

private:
    TraceSource source() const {
        if ((tokens_ ? 1 : 0) + (text_ ? 1 : 0) + (eval_ ? 1 : 0) != 1)
            throw UsageError(
                "trace: give one of --tokens FILE.h5, --text TEXT and --eval: what is to run through the weights");
        if (batches_ && !eval_) throw UsageError("trace: --batches is of --eval; leave it out");
        if (tokens_) return TraceFile{*tokens_};
        if (text_) return TraceText{*text_};
        return TraceEvaluation{batches_};
    }

    std::string run_;
    std::vector<std::string> overrides_;
    std::optional<std::int64_t> step_;
    std::optional<std::string> tokens_, text_;
    bool eval_ = false;
    std::optional<std::int64_t> batches_;
    std::string out_;
};

const RegisterType<Verb> registered_trace("trace",
                                          "run tokens through the weights of a step; write every value and gradient",
                                          [] { return std::make_unique<Trace>(); });

}  // namespace

}  // namespace headscope::experiments::cli
