// A verb of the command line, such as `headscope verify`.
//
// Adding one: write cli/verbs/<name>.cpp with a Verb whose members are its arguments, and end it with
//   const RegisterType<Verb> registered_<name>("<name>", "what it does in one line",
//                                       [] { return std::make_unique<MyVerb>(); });
// The build finds it. main.cpp reads the arguments and turns exceptions into exit codes.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "experiments/base/registry.h"

namespace CLI {
class App;
}

namespace headscope::experiments::cli {

/// Smallest and largest value of an integer, both allowed.
struct Limits {
    std::int64_t smallest = std::numeric_limits<std::int64_t>::min();
    std::int64_t largest = std::numeric_limits<std::int64_t>::max();
};

/// Where a verb declares its arguments. A name without dashes ("run") is an argument by position, "--out" or
/// "-o,--out" an option. `value` holds the default; it must live until the verb has run.
class VerbOptions {
public:
    explicit VerbOptions(CLI::App& app) : app_(app) {}

    /// Value: std::string, std::vector<std::string>, std::int64_t, or std::optional of a string, an integer or a
    /// double.
    template <class Value>
    void optional(const std::string& name, Value& value, const std::string& doc);
    template <class Value>
    void required(const std::string& name, Value& value, const std::string& doc);
    void integer(const std::string& name, std::int64_t& value, const Limits& limits, const std::string& doc);
    void integer(const std::string& name, std::optional<std::int64_t>& value, const Limits& limits,
                 const std::string& doc);
    void flag(const std::string& name, bool& value, const std::string& doc);

private:
    CLI::App& app_;
};

class Verb {
public:
    static constexpr KindText kind{"verb", "verbs", "what the program can be told to do"};

    virtual ~Verb() = default;
    virtual void declare(VerbOptions& options) = 0;
    /// True for a verb that trains or evaluates: it takes --threads, and a signal sets `stop` instead of ending the
    /// process.
    virtual bool computes() const { return false; }
    /// True when a signal sets `stop` instead of ending the process, for a verb that leaves something in order.
    virtual bool ends_on_signals() const { return computes(); }
    /// What --threads says; for a verb that computes.
    std::optional<int> threads = {};
    /// Prints the result to stdout and everything else to stderr. Throws what went wrong (base/errors.h).
    virtual void run(const std::atomic<bool>& stop) = 0;
};

/// What a command line asks for.
struct Command {
    std::unique_ptr<Verb> verb;  ///< its arguments read
    std::optional<int> threads;
};

/// The command that the arguments of main() name; none after --help and --version, which are answered on stdout.
/// Throws UsageError.
std::optional<Command> read_command_line(int argc, const char* const* argv);

/// What verbs say of --other-data.
inline constexpr const char* other_data_doc = "train on other data than the run's from here on";

/// What verbs that look back at a run say of the keys that they take.
inline constexpr const char* data_overrides_doc = "task.path=FILE when the run's data are elsewhere now";

/// What verbs that take config keys say of them.
inline constexpr const char* overrides_doc = "config keys to change, for example train.steps=100 optimizer.lr=3e-4";

}  // namespace headscope::experiments::cli
