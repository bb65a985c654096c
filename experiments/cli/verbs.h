// The verbs of the command line, one source file each. main.cpp parses arguments and turns exceptions into exit codes;
// a verb gets plain values, prints its result to stdout and everything else to stderr, and throws what went wrong.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace headscope::cli {

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
    std::int64_t step = -1;  ///< -1: the newest good checkpoint
    std::string tokens;      ///< HDF5 file with /inputs and /targets
    std::string out;         ///< HDF5 file to make
};
/// Runs given tokens through a checkpoint and writes every intermediate value and gradient.
void trace(const TraceArguments& arguments);

/// Prints what is in a run's log: loss against floors, a row per head.
void inspect(const std::string& run, bool json);

/// Prints the registered names of a kind ("optimizers"), with a line each on what they are; of an empty kind, the
/// kinds.
void list(const std::string& kind);
/// Prints what one of them is, with its keys: types, defaults, ranges, meanings.
void describe(const std::string& kind, const std::string& name);

}  // namespace headscope::cli
