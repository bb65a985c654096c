#include "experiments/cli/check_text.h"
#include "experiments/cli/verb.h"

namespace headscope::experiments::cli {

namespace {

class Check : public Verb {
public:
    void declare(VerbOptions& options) override {
        options.required("config", config_, "TOML file");
        options.optional("overrides", overrides_, overrides_doc);
        options.optional("--text", text_, "a sentence: show its tokens, their ids and every shape it takes");
    }

    void run(const std::atomic<bool>&) override { print_check(config_, overrides_, text_); }

private:
    std::string config_;
    std::vector<std::string> overrides_;
    std::optional<std::string> text_;
};

const RegisterType<Verb> registered_check("check", "check a config; print shapes, parameters, memory, FLOPs",
                                          [] { return std::make_unique<Check>(); });

}  // namespace

}  // namespace headscope::experiments::cli
