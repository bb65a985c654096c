#include <filesystem>

#include "experiments/analysis/find_heads.h"
#include "experiments/base/errors.h"
#include "experiments/cli/find_text.h"
#include "experiments/cli/output.h"
#include "experiments/cli/verb.h"

namespace headscope::experiments::cli {

namespace {

class Find : public Verb {
public:
    void declare(VerbOptions& options) override {
        options.required(
            "words", words_,
            "folders of sweeps or runs, and last the condition, in quotes: 'role == \"induction\" and step "
            "< 300', 'grad_norm[q] > 0.1 and not (num_heads == 8)'. Names: metrics of the heads, with a "
            "label in brackets where they have several numbers a head; step, layer, head, seed; keys of "
            "the config");
        options.flag("--json", json_, "as JSON");
        options.flag("--csv", csv_, "a row per head found: folder, seed, layer, head, first, last, at_end, rows");
    }

    void run(const std::atomic<bool>&) override {
        if (json_ && csv_) throw UsageError("find: --json or --csv, not both");
        std::error_code ignored;
        if (words_.size() < 2 || std::filesystem::exists(words_.back(), ignored))
            throw UsageError(
                "find: name a sweep or runs, and last the condition: headscope find RUN 'role == "
                "\"induction\"'");
        const std::string condition = words_.back();
        const FoundHeads found = find_heads(named_runs({words_.begin(), words_.end() - 1}, "find"), condition);
        if (!csv_) return print_out("{}\n", json_ ? to_json(found) : to_text(found));
        print_text(to_csv(found));
        print_note(count_found(found) + "\n");
        for (const std::string& note : found.notes) print_note(note + "\n");
    }

private:
    std::vector<std::string> words_;
    bool json_ = false, csv_ = false;
};

const RegisterType<Verb> registered_find("find", "heads that fulfil a condition, in which runs, and when first",
                                         [] { return std::make_unique<Find>(); });

}  // namespace

}  // namespace headscope::experiments::cli
