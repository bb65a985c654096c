#include <cstdio>

#include "experiments/cli/kinds.h"
#include "experiments/cli/output.h"
#include "experiments/cli/verb.h"

namespace headscope::experiments::cli {

namespace {

class List : public Verb {
public:
    void declare(VerbOptions& options) override {
        options.optional("kind", kind_, "such as probes (default: prints the kinds)");
    }

    void run(const std::atomic<bool>&) override { print_text(list_text(kind_)); }

private:
    std::string kind_;
};

const RegisterType<Verb> registered_list("list", "what can be named in a config, by kind",
                                         [] { return std::make_unique<List>(); });

}  // namespace

}  // namespace headscope::experiments::cli
