// Config files with overrides. Input: the file's text, then overrides, each behind a zero byte.
#include <filesystem>

#include "experiments/base/files.h"
#include "experiments/config/config.h"
#include "tests/fuzz/fuzz_target.h"

namespace headscope::experiments::fuzz {

namespace {

std::vector<std::string> split(std::string_view text) {
    std::vector<std::string> parts;
    for (std::size_t end = 0; end != std::string_view::npos; text.remove_prefix(std::min(text.size(), end + 1))) {
        end = text.find('\0');
        parts.emplace_back(text.substr(0, end));
    }
    return parts;
}

/// What is stored with a run is read again as the same config.
void check_round_trip(const Config& config) {
    const std::string text = config.resolved();
    const Config again = parse_config(text, "resolved.toml");
    require(again.resolved() == text, "a resolved config is read as itself");
    require(config_identity(again) == config_identity(config), "a resolved config keeps its identity");
}

}  // namespace

std::vector<std::string> seeds() {
    std::vector<std::string> seeds;
    for (const auto& entry : std::filesystem::directory_iterator(HEADSCOPE_CONFIGS)) {
        if (entry.path().extension() != ".toml") continue;
        const std::string text = read_file(entry.path().string());
        seeds.push_back(text);
        seeds.push_back(text + '\0' + "model.d_model=24" + '\0' + "optimizer.type = sgd");
        seeds.push_back(parse_config(text, "seed.toml").resolved());
    }
    std::sort(seeds.begin(), seeds.end());
    return seeds;
}

std::vector<std::string> dictionary() {
    return {"[",
            "]",
            "[[",
            "]]",
            "{",
            "}",
            "=",
            ".",
            "'",
            "\"",
            "\"\"\"",
            "'''",
            "\\u",
            "\\",
            "#",
            ",",
            "\n",
            "nan",
            "-inf",
            "1e400",
            "0x",
            "1979-05-27T07:32:00Z",
            "true",
            "type",
            "task",
            "model",
            "[model]",
            "model.init",
            "log",
            "[log.probes]",
            "optimizer",
            "schedule",
            "train",
            "eval",
            "seed",
            "name",
            "9223372036854775808",
            "-1",
            "attention",
            "position",
            "\xEF\xBB\xBF",
            "\xC3",
            std::string(1, '\0')};
}

}  // namespace headscope::experiments::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace headscope;
    using namespace headscope::experiments;
    std::vector<std::string> overrides = fuzz::split(fuzz::as_text(data, size));
    const std::string text = overrides.front();
    overrides.erase(overrides.begin());
    std::optional<Config> config;
    fuzz::try_parse([&] { config = parse_config(text, "fuzz.toml", overrides); });
    if (config) fuzz::check_round_trip(*config);
    return 0;
}
