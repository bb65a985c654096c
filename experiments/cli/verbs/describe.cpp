#include <cstdio>

#include "experiments/cli/kinds.h"
#include "experiments/cli/output.h"
#include "experiments/cli/verb.h"

namespace headscope::experiments::cli {

namespace {

class Describe : public Verb {
public:
    void declare(VerbOptions& options) override {
        options.required("kind", kind_, "such as probes; `headscope list` prints the kinds");
        options.required("name", name_, "as `headscope list KIND` prints it");
    }

    void run(const std::atomic<bool>&) override { print_text(describe_text(kind_, name_)); }

private:
    std::string kind_, name_;
};

const RegisterType<Verb> registered_describe("describe", "what one of them is, and its keys with types and defaults",
                                             [] { return std::make_unique<Describe>(); });

}  // namespace

}  // namespace headscope::experiments::cli
