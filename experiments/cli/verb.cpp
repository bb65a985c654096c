#include "experiments/cli/verb.h"

#include <CLI/CLI.hpp>

#include "experiments/base/environment.h"
#include "experiments/base/errors.h"

namespace headscope::experiments::cli {

template <class Value>
void VerbOptions::optional(const std::string& name, Value& value, const std::string& doc) {
    app_.add_option(name, value, doc);
}

template <class Value>
void VerbOptions::required(const std::string& name, Value& value, const std::string& doc) {
    app_.add_option(name, value, doc)->required();
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
    app_.add_option(name, value, doc)->check(CLI::Range(limits.smallest, limits.largest));
}

void VerbOptions::integer(const std::string& name, std::optional<std::int64_t>& value, const Limits& limits,
                          const std::string& doc) {
    app_.add_option(name, value, doc)->check(CLI::Range(limits.smallest, limits.largest));
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
                ->check(CLI::Range(1, 1024));
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
    return command;
}

}  // namespace headscope::experiments::cli
