#include "experiments/config/config.h"

#include <fmt/format.h>

#include <algorithm>

#include "experiments/config/checks.h"
#include "experiments/config/reader.h"
#include "experiments/config/sections.h"
#include "experiments/config/writer.h"
#include "experiments/errors.h"
#include "experiments/storage/run_folder.h"

namespace headscope {

Config parse_config(const std::string& text, const std::string& path, const std::vector<std::string>& overrides) {
    Problems problems;
    Value root = parse_document(text, path, problems);
    problems.raise();  // without a document, everything else would be a consequence
    Config config;
    apply_overrides(root, overrides, typed_keys(config), problems);
    config.source = text;
    const Reading reading = read_config(root, path, config, problems);
    settle_and_check(config, reading, problems);
    problems.raise();
    return config;
}

Config load_config(const std::string& path, const std::vector<std::string>& overrides) {
    return parse_config(read_file(path), path, overrides);
}

std::string Config::resolved() const {
    return write_config(*this, [](const std::string&) { return true; });
}

ScheduleContext schedule_context(const Config& config) { return {config.schedule.warmup_steps, config.model.d_model}; }

std::string config_identity(const Config& config) {
    const std::string text = write_config(config, [](const std::string& path) { return !may_change_on_resume(path); });
    return sha256(std::as_bytes(std::span(text)));
}

bool may_change_on_resume(const std::string& path) {
    if (path == "train.steps") return true;
    const std::string table = path.substr(0, path.find('.'));
    return path != table && (table == "eval" || table == "log" || table == "checkpoint");
}

void check_resume_overrides(const std::vector<std::string>& overrides) {
    std::string message;
    for (const std::string& text : overrides) {
        const std::string key = text.substr(0, text.find_first_of(" \t="));
        if (may_change_on_resume(key)) continue;
        if (!message.empty()) message += '\n';
        message += fmt::format(
            "command line: {}: {} cannot change when a run goes on; only train.steps, log.*, checkpoint.* and eval.* "
            "can",
            text, key);
    }
    if (!message.empty()) throw UsageError(message);
}

}  // namespace headscope
