#include "experiments/cli/verb.h"

#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <memory>

namespace headscope::experiments::cli {
namespace {

/// One member of every kind of argument.
class EveryArgument : public Verb {
public:
    void declare(VerbOptions& options) override {
        options.required("path", path, "a path");
        options.optional("rest", rest, "what follows");
        options.optional("--name", name, "a name");
        options.optional("--from", from, "a step");
        options.integer("--draws", draws, {2, 9}, "how many");
        options.integer("--step", step, {.smallest = 0}, "a step");
        options.flag("--json", json, "as JSON");
    }
    void run(const std::atomic<bool>&) override { ++runs; }

    std::string path;
    std::vector<std::string> rest;
    std::optional<std::string> name;
    std::optional<std::int64_t> from, step;
    std::int64_t draws = 5;
    bool json = false;
    int runs = 0;
};

const RegisterType<Verb> registered("every", "for tests", [] { return std::make_unique<EveryArgument>(); });

/// The verb after reading a command line, given without the program's name.
EveryArgument parsed(const std::string& line) {
    EveryArgument verb;
    CLI::App app;
    VerbOptions options(app);
    verb.declare(options);
    app.parse(line);
    return verb;
}

TEST(Verb, IsFoundByItsName) {
    const Type<Verb>* type = find_type<Verb>("every");
    ASSERT_NE(type, nullptr);
    EXPECT_EQ(type->doc, "for tests");
    const std::unique_ptr<Verb> verb = type->settings();
    EXPECT_FALSE(verb->computes());
    verb->run(false);
    EXPECT_EQ(dynamic_cast<EveryArgument&>(*verb).runs, 1);
}

TEST(Verb, TheProgramsOwnRegisterThemselves) {
    for (const char* name : {"ablate", "check", "compare", "describe", "find", "fork", "inspect", "list", "replay",
                             "resume", "run", "trace", "verify"}) {
        const Type<Verb>* type = find_type<Verb>(name);
        ASSERT_NE(type, nullptr) << name;
        CLI::App app;
        VerbOptions options(app);
        type->settings()->declare(options);
        EXPECT_GE(app.get_options().size(), 2U) << name << " has an argument beside --help";
    }
}

TEST(Verb, ReadsItsArguments) {
    const EveryArgument verb = parsed("a b=1 c --name d --from -3 --draws 9 --step 0 --json");
    EXPECT_EQ(verb.path, "a");
    EXPECT_EQ(verb.rest, (std::vector<std::string>{"b=1", "c"}));
    EXPECT_EQ(verb.name, "d");
    EXPECT_EQ(verb.from, -3);
    EXPECT_EQ(verb.draws, 9);
    EXPECT_EQ(verb.step, 0);
    EXPECT_TRUE(verb.json);
}

TEST(Verb, KeepsItsDefaults) {
    const EveryArgument verb = parsed("a");
    EXPECT_TRUE(verb.rest.empty());
    EXPECT_FALSE(verb.name || verb.from || verb.step || verb.json);
    EXPECT_EQ(verb.draws, 5);
}

TEST(Verb, RefusesWhatIsMissingOrOutOfRange) {
    for (const char* line : {"", "a --draws 1", "a --draws 10", "a --step -1", "a --from x", "a --nothing"})
        EXPECT_THROW(parsed(line), CLI::ParseError) << line;
}

}  // namespace
}  // namespace headscope::experiments::cli
