#include "experiments/storage/log_consistency.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "experiments/base/errors.h"

namespace headscope::experiments {

namespace {

using Problems = std::vector<std::string>;

std::string join(const std::string& group, const std::string& name) {
    return group == "/" ? "/" + name : group + "/" + name;
}

/// Calls `use` on every group below, and on `group` itself. Throws IoError for groups within groups without end.
void for_each_group(const hdf5::File& file, const std::string& group,
                    const std::function<void(const std::string&)>& use, int depth = 0) {
    constexpr int deepest = 32;
    if (depth > deepest) throw IoError(group + ": groups lie deeper than headscope writes them");
    use(group);
    for (const std::string& name : file.children(group))
        if (const std::string path = join(group, name); file.has_group(path))
            for_each_group(file, path, use, depth + 1);
}

/// Adds what `check` throws.
void collect(Problems& problems, const std::function<void()>& check) {
    try {
        check();
    } catch (const Error& error) {
        problems.emplace_back(error.what());
    }
}

/// A group of datasets that gain a row together. /events is no such series: a resume goes back.
void check_series(const hdf5::File& log, const std::string& group, Problems& problems) {
    if (!log.has_dataset(join(group, "step"))) return;
    const std::vector<std::int64_t> steps = log.read<std::int64_t>(join(group, "step"));
    if (group != "/events" && std::ranges::adjacent_find(steps, std::greater_equal<>()) != steps.end())
        problems.push_back(group + "/step does not ascend");
    if (!steps.empty() && steps.front() < 0) problems.push_back(group + "/step begins below 0");
    for (const std::string& name : log.children(group)) {
        const std::string path = join(group, name);
        if (!log.has_dataset(path)) continue;
        const hdf5::DatasetInfo info = log.info(path);
        if (info.growing && info.shape[0] != std::ssize(steps))
            problems.push_back(fmt::format("{} has {} rows, and {}/step {}", path, info.shape[0], group, steps.size()));
    }
}

/// What every log has.
struct Part {
    const char* path;
    hdf5::Type type;
    bool growing;
};

constexpr Part parts[] = {{"/train/step", hdf5::Type::i64, true},        {"/train/loss", hdf5::Type::f64, true},
                          {"/train/lr", hdf5::Type::f64, true},          {"/train/grad_norm", hdf5::Type::f64, true},
                          {"/train/tokens_seen", hdf5::Type::i64, true}, {"/train/elapsed", hdf5::Type::f64, true},
                          {"/eval/step", hdf5::Type::i64, true},         {"/eval/loss", hdf5::Type::f64, true},
                          {"/parameters/name", hdf5::Type::text, false}, {"/parameters/norm", hdf5::Type::f32, true},
                          {"/events/step", hdf5::Type::i64, true},       {"/events/message", hdf5::Type::text, true},
                          {"/config/resolved", hdf5::Type::text, false}, {"/config/source", hdf5::Type::text, false}};

void check_part(const hdf5::File& log, const Part& part, Problems& problems) {
    if (!log.has_dataset(part.path)) {
        problems.push_back(fmt::format("{} is missing", part.path));
        return;
    }
    const hdf5::DatasetInfo info = log.info(part.path);
    if (info.type != part.type || info.growing != part.growing)
        problems.push_back(fmt::format("{} is of another type than a log's", part.path));
}

void check_metric(const hdf5::File& log, const std::string& group, Problems& problems) {
    if (!log.has_dataset(group + "/step") || !log.has_dataset(group + "/value")) {
        problems.push_back(group + " is no metric: it lacks step or value");
        return;
    }
    const hdf5::DatasetInfo info = log.info(group + "/value");
    if ((info.type != hdf5::Type::f32 && info.type != hdf5::Type::f64) || !info.growing)
        problems.push_back(group + "/value is no series of floating-point numbers");
}

/// Every loss must be finite, but NaN in rows without a scored target. Of those `witness` tells: there it is
/// `unscored`.
void check_losses(const hdf5::File& log, const std::string& path, const std::string& witness, double unscored,
                  Problems& problems) {
    const std::vector<double> losses = log.read<double>(path);
    const std::vector<double> others = log.has_dataset(witness) ? log.read<double>(witness) : std::vector<double>{};
    const auto nothing_scored = [&](std::size_t i) {
        if (i >= others.size() || !std::isnan(losses[i])) return false;
        return std::isnan(unscored) ? std::isnan(others[i]) : others[i] == unscored;
    };
    for (std::size_t i = 0; i < losses.size(); ++i) {
        if (std::isfinite(losses[i]) || nothing_scored(i)) continue;
        problems.push_back(fmt::format("{}[{}] is {}, not a finite number", path, i, losses[i]));
        return;
    }
}

void check_state(const hdf5::File& log, Problems& problems) {
    const std::string state = log.text_attribute("/", "state");
    if (state != "running" && state != "finished" && state != "failed")
        problems.push_back(fmt::format("attribute state is \"{}\"; there are running, finished and failed", state));
}

}  // namespace

std::vector<std::string> unreadable_parts(const hdf5::File& file, const std::string& group) {
    Problems problems;
    collect(problems, [&] {
        for_each_group(file, group, [&](const std::string& path) {
            collect(problems, [&] { file.check_attributes(path); });
            for (const std::string& name : file.children(path))
                if (const std::string dataset = join(path, name); file.has_dataset(dataset))
                    collect(problems, [&] {
                        file.check_attributes(dataset);
                        file.check_readable(dataset);
                    });
        });
    });
    return problems;
}

std::vector<std::string> check_log(const hdf5::File& log) {
    Problems problems = unreadable_parts(log);
    if (!problems.empty()) return problems;  // what cannot be read would only be named again
    collect(problems, [&] { check_state(log, problems); });
    collect(problems,
            [&] { for_each_group(log, "/", [&](const std::string& group) { check_series(log, group, problems); }); });
    for (const Part& part : parts) collect(problems, [&] { check_part(log, part, problems); });
    if (log.has_group("/heads"))
        for (const std::string& name : log.children("/heads"))
            collect(problems, [&] { check_metric(log, "/heads/" + name, problems); });
    // A batch without scored targets has loss NaN and gradient 0, an evaluation without any loss and accuracy NaN.
    constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    if (log.has_dataset("/train/loss"))
        collect(problems, [&] { check_losses(log, "/train/loss", "/train/grad_norm", 0, problems); });
    if (log.has_dataset("/eval/loss"))
        collect(problems, [&] { check_losses(log, "/eval/loss", "/eval/accuracy", nan, problems); });
    return problems;
}

}  // namespace headscope::experiments
