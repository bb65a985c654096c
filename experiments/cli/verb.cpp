#include "experiments/cli/verb.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cmath>
#include <type_traits>

#include "experiments/base/environment.h"
#include "experiments/base/errors.h"

namespace headscope::experiments::cli {

namespace {

/// The library takes 99999999999999999999 for the largest integer, and an empty word for no value.
CLI::Validator integer_from(const Limits& limits) {
    const auto problem = [limits](const std::string& word) -> std::string {
        std::int64_t value = 0;
        const char* const end = word.data() + word.size();
        const auto [stop, error] = std::from_chars(word.data(), end, value);
        if (word.empty() || stop != end || error == std::errc::invalid_argument)
            return fmt::format("\"{}\" is no integer", word);
        if (error != std::errc() || value < limits.smallest || value > limits.largest)
            return fmt::format("{} is not from {} to {}", word, limits.smallest, limits.largest);
        return {};
    };
    return {problem, "INTEGER"};
}

/// A finite number of decimal digits.
const CLI::Validator finite_number(
    [](const std::string& word) -> std::string {
        double value = 0;
        const char* const end = word.data() + word.size();
        const auto [stop, error] = std::from_chars(word.data(), end, value);
        const bool good = !word.empty() && stop == end && error == std::errc() && std::isfinite(value);
        return good ? std::string() : fmt::format("\"{}\" is no finite number", word);
    },
    "NUMBER");

template <class Value>
CLI::Option* add(CLI::App& app, const std::string& name, Value& value, const std::string& doc) {
    CLI::Option* const option = app.add_option(name, value, doc);
    if constexpr (std::is_same_v<Value, std::int64_t> || std::is_same_v<Value, std::optional<std::int64_t>>)
        option->check(integer_from({}));
    if constexpr (std::is_same_v<Value, std::optional<double>>) option->check(finite_number);
    return option;
}

}  // namespace

template <class Value>
void VerbOptions::optional(const std::string& name, Value& value, const std::string& doc) {
    add(app_, name, value, doc);
}

template <class Value>
void VerbOptions::required(const std::string& name, Value& value, const std::string& doc) {
    add(app_, name, value, doc)->required();
}

template void VerbOptions::optional(const std::string&, std::string&, const std::string&);
template void VerbOptions::optional(const std::string&, std::vector<std::string>&, const std::string&);
template void VerbOptions::optional(const std::string&, std::int64_t&, const std::string&);
template void VerbOptions::optional(const std::string&, std::optional<std::string>&, const std::string&);
template void VerbOptions::optional(const std::string&, std::optional<std::int64_t>&, const std::string&);
template void VerbOptions::optional(const std::string&, std::optional<double>&, const std::string&);
template void VerbOptions::required(const std::string&, std::string&, const std::string&);
template void VerbOptions::required(const std::string&, std::vector<std::string>&, const std::string&);
template void VerbOptions::required(const std::string&, std::int64_t&, const std::string&);

void VerbOptions::integer(const std::string& name, std::int64_t& value, const Limits& limits, const std::string& doc) {
    app_.add_option(name, value, doc)->check(integer_from(limits));
}

void VerbOptions::integer(const std::string& name, std::optional<std::int64_t>& value, const Limits& limits,
                          const std::string& doc) {
    app_.add_option(name, value, doc)->check(integer_from(limits));
}

void VerbOptions::flag(const std::string& name, bool& value, const std::string& doc) {
    app_.add_flag(name, value, doc);
}

std::optional<Command> read_command_line(int argc, const char* const* argv) {
    CLI::App app("Trains small transformers and watches their attention heads specialise.", "headscope");
    app.set_version_flag("--version", "headscope " + software_version());
    app.require_subcommand(1);
    Command command;
    std::vector<std::unique_ptr<Verb>> verbs;
    for (const Type<Verb>& type : types<Verb>()) {
        verbs.push_back(type.settings());
        Verb& verb = *verbs.back();
        CLI::App* const arguments = app.add_subcommand(type.name, type.doc);
        VerbOptions options(*arguments);
        verb.declare(options);
        if (verb.computes())
            arguments
                ->add_option("--threads", command.threads, "threads to use (default OMP_NUM_THREADS, or all cores)")
                ->check(integer_from({1, 1024}));
    }
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        if (error.get_exit_code() != 0) throw UsageError(std::string(error.what()) + "; see headscope --help");
        app.exit(error);  // --help, --version
        return std::nullopt;
    }
    const CLI::App* const named = app.get_subcommands().front();
    for (std::size_t i = 0; i < verbs.size(); ++i)
        if (types<Verb>()[i].name == named->get_name()) command.verb = std::move(verbs[i]);
    command.verb->threads = command.threads;
    return command;
}

}  // namespace headscope::experiments::cli
