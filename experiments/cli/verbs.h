// The verbs of the command line, one source file each. main.cpp parses arguments and turns exceptions into exit codes;
// a verb gets plain values, prints its result to stdout and everything else to stderr, and throws what went wrong.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace headscope::experiments::cli {

struct RunArguments {
    std::string config;
    std::vector<std::string> overrides;  ///< "model.d_model=32"
    std::string out;                     ///< the run folder; empty: runs/<name>-s<seed>
    bool json = false;                   ///< end with one JSON object on stdout instead of the table
    bool profile = false;                ///< and say where the time went
};
/// Trains. `stop` is set by a signal.
void run(const RunArguments& arguments, const std::atomic<bool>& stop);

struct ResumeArguments {
    std::string run;
    std::vector<std::string> overrides;
};
/// Goes on with a run that was stopped or killed; says so and does nothing when it is finished.
void resume(const ResumeArguments& arguments, const std::atomic<bool>& stop);

/// Checks a config with its data and prints what it means: resolved config, shapes, parameters, memory, FLOPs. With a
/// text, the shapes are those of the text on its way through tokens, ids, embedding and heads.
void check(const std::string& config, const std::vector<std::string>& overrides,
           const std::optional<std::string>& text = std::nullopt);

struct TraceArguments {
    std::string run;
    std::optional<std::int64_t> step;  ///< any step of the run; default: the newest good checkpoint
    std::string tokens;                ///< HDF5 file with /inputs and /targets
    std::string out;                   ///< HDF5 file to make
};
/// Runs given tokens through the weights of a step and writes every intermediate value and gradient.
void trace(const TraceArguments& arguments, const std::atomic<bool>& stop);

struct ReplayArguments {
    std::string run;
    std::optional<std::int64_t> from, to;  ///< default: where the run begins and ends
    std::vector<std::string> overrides;    ///< log.* and eval.every
    std::string out;                       ///< the folder to make; empty: <run>-replay-<from>-<to>
};
/// Computes a window of a past run again, with other probes, and compares it with the run's own rows.
void replay(const ReplayArguments& arguments, const std::atomic<bool>& stop);

struct ForkArguments {
    std::string run;
    std::int64_t step = 0;
    std::vector<std::string> overrides;
    std::string out;  ///< the run folder; empty: <run>-fork-<step>
    bool json = false;
};
/// Trains a new run from some step of a past one, with something changed.
void fork(const ForkArguments& arguments, const std::atomic<bool>& stop);

struct AblateArguments {
    std::string run;
    std::optional<std::int64_t> step;  ///< any step of the run; default: the newest good checkpoint
    std::int64_t draws = 5;            ///< random directions per head
    std::string out;                   ///< HDF5 file to make or add to; empty: <run>/ablation.h5
    bool json = false;
};
/// Takes out one head after the other and prints what the loss makes of it.
void ablate(const AblateArguments& arguments, const std::atomic<bool>& stop);

/// Prints what is in a run's log: loss against floors, a row per head, what happened.
void inspect(const std::string& run, bool json);

/// Prints runs side by side: in which keys their configs differ, and what came out by group, with intervals over seeds.
void compare(const std::vector<std::string>& runs, bool json);

/// Checks that a run's folder, or a single file, is as it was written; prints a line per file. Throws CheckFailed when
/// something is wrong.
void verify(const std::string& path, bool json);

/// Prints the registered names of a kind ("optimizers"), with a line each on what they are; of an empty kind, the
/// kinds.
void list(const std::string& kind);
/// Prints what one of them is, with its keys: types, defaults, ranges, meanings.
void describe(const std::string& kind, const std::string& name);

}  // namespace headscope::experiments::cli
