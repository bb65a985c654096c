#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "experiments/analysis/verification.h"
#include "experiments/base/errors.h"
#include "experiments/cli/output.h"
#include "experiments/cli/verb.h"

namespace headscope::experiments::cli {

namespace {

std::string to_text(const std::vector<FileReport>& reports) {
    std::size_t width = 0;
    for (const FileReport& report : reports) width = std::max(width, report.file.size());
    std::string text;
    for (const FileReport& report : reports) {
        const std::string note = report.note.empty() ? "" : ": " + report.note;
        text +=
            fmt::format("{:{}}  {}  {}{}\n", report.file, width, report.good() ? "ok   " : "WRONG", report.kind, note);
        for (const std::string& problem : report.problems) text += fmt::format("    {}\n", problem);
    }
    return text;
}

std::string to_json(const std::string& path, const std::vector<FileReport>& reports, bool good) {
    nlohmann::ordered_json json;
    json["path"] = path;
    json["good"] = good;
    json["files"] = nlohmann::ordered_json::array();
    for (const FileReport& report : reports)
        json["files"].push_back({{"file", report.file},
                                 {"kind", report.kind},
                                 {"good", report.good()},
                                 {"problems", report.problems},
                                 {"note", report.note}});
    return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace);  // names may be no UTF-8
}

class Verify : public Verb {
public:
    void declare(VerbOptions& options) override {
        options.required("path", path_, "the run's folder, or a single file");
        options.flag("--json", json_, "as JSON");
    }

    void run(const std::atomic<bool>&) override {
        const std::vector<FileReport> reports =
            std::filesystem::is_directory(path_) ? verify_run(path_) : std::vector<FileReport>{verify_file(path_)};
        const auto wrong = std::ranges::count_if(reports, [](const FileReport& report) { return !report.good(); });
        if (json_) {
            print_out("{}\n", to_json(path_, reports, wrong == 0));
        } else {
            print_text(to_text(reports));
            if (wrong == 0) print_out("all is well: {} {}\n", reports.size(), reports.size() == 1 ? "file" : "files");
        }
        if (wrong > 0) {
            std::fflush(stdout);
            throw CheckFailed(fmt::format("verify: {}: {} of {} files wrong or missing", path_, wrong, reports.size()));
        }
    }

private:
    std::string path_;
    bool json_ = false;
};

const RegisterType<Verb> registered_verify("verify", "is all that a run left on disk whole? exit 1 when not",
                                           [] { return std::make_unique<Verify>(); });

}  // namespace

}  // namespace headscope::experiments::cli
