#include "experiments/analysis/comparison.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <limits>
#include <set>
#include <sstream>

#include "experiments/base/errors.h"
#include "experiments/config/config.h"
#include "experiments/probes/roles.h"

namespace headscope::experiments {

namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

ConfigValue value_of(const ComparedRun& run, const std::string& key) {
    const auto found = run.config.find(key);
    return found == run.config.end() ? ConfigValue{} : found->second;
}

/// Keys of any run that do not have one value in all, in the order in which they are met; what is no key of every
/// config, such as "fork", comes after those that are.
std::vector<std::string> differing_keys(const std::vector<ComparedRun>& runs) {
    std::vector<std::string> differs;
    for (const ComparedRun& run : runs)
        for (const std::string& key : run.keys) {
            const bool differing = std::ranges::any_of(
                runs, [&](const ComparedRun& other) { return value_of(other, key) != value_of(runs[0], key); });
            if (differing && std::ranges::find(differs, key) == differs.end()) differs.push_back(key);
        }
    std::stable_partition(differs.begin(), differs.end(), [&](const std::string& key) {
        return std::ranges::all_of(runs, [&](const ComparedRun& run) { return run.config.contains(key); });
    });
    return differs;
}

/// Leaves one of the two ways of telling data apart: what they hold, or where they are.
std::vector<ComparedRun> with_one_name_for_data(std::vector<ComparedRun> runs, std::vector<std::string>& notes) {
    const auto is_path = [](const std::string& key) { return is_data_path(key); };
    const bool known = std::ranges::all_of(runs, [](const ComparedRun& run) { return run.config.contains("data"); });
    const bool any_path =
        std::ranges::any_of(runs, [&](const ComparedRun& run) { return std::ranges::any_of(run.keys, is_path); });
    if (!known && any_path)
        notes.emplace_back("Not every log tells what its data hold (schema 1.0): data are told apart by their paths.");
    for (ComparedRun& run : runs) {
        const auto drop = [&](const std::string& key) { return known ? is_path(key) : key == "data"; };
        std::erase_if(run.keys, drop);
        std::erase_if(run.config, [&](const auto& value) { return drop(value.first); });
    }
    return runs;
}

/// Missing values first, then numbers by size, then texts.
bool before(const ConfigValue& a, const ConfigValue& b) {
    const auto rank = [](const ConfigValue& value) { return value.text.empty() ? 0 : value.number ? 1 : 2; };
    if (rank(a) != rank(b)) return rank(a) < rank(b);
    if (a.number && b.number && *a.number != *b.number) return *a.number < *b.number;
    return a.text < b.text;
}

std::vector<RunGroup> grouped(const std::vector<ComparedRun>& runs, Comparison& comparison) {
    std::vector<RunGroup> groups;
    for (const ComparedRun& run : runs) {
        std::vector<ConfigValue> values;
        for (const std::string& key : comparison.differs) values.push_back(value_of(run, key));
        auto group = std::ranges::find(groups, values, &RunGroup::values);
        if (group == groups.end()) group = groups.insert(groups.end(), RunGroup{values, {}, {}, {}});
        const auto twin = std::ranges::find(group->runs, run.seed, &ComparedRun::seed);
        if (twin == group->runs.end()) group->runs.push_back(run);
        else
            comparison.notes.push_back(fmt::format(
                "{} has the config and the seed of {}: one measurement, counted once.", run.folder, twin->folder));
    }
    std::ranges::stable_sort(groups, [](const RunGroup& a, const RunGroup& b) {
        return std::ranges::lexicographical_compare(a.values, b.values, before);
    });
    return groups;
}

bool logs(const ComparedRun& run, const std::string& name) {
    return std::ranges::find(run.logged, name, &Quantity::name) != run.logged.end();
}

/// A quantity's title in all runs: each has the excess over its own task's floor.
std::string title_in_all(const std::vector<ComparedRun>& runs, const Quantity& quantity) {
    std::string title = quantity.title;
    std::set<std::string> told{title};
    for (const ComparedRun& run : runs) {
        const auto own = std::ranges::find(run.logged, quantity.name, &Quantity::name);
        if (told.insert(own->title).second) title += "; in other runs " + own->title;
    }
    return title;
}

/// What all runs logged, in the order of the first; then the roles that some head has.
std::vector<Quantity> common_quantities(const std::vector<ComparedRun>& runs, std::vector<std::string>& notes) {
    std::vector<Quantity> common;
    std::vector<std::string> left_out;
    for (const ComparedRun& run : runs)
        for (const Quantity& quantity : run.logged) {
            const auto same = [&](const Quantity& other) { return other.name == quantity.name; };
            if (std::ranges::any_of(common, same) || std::ranges::find(left_out, quantity.name) != left_out.end())
                continue;
            const bool all =
                std::ranges::all_of(runs, [&](const ComparedRun& other) { return logs(other, quantity.name); });
            if (!all) {
                left_out.push_back(quantity.name);
                continue;
            }
            common.push_back(quantity);
            common.back().title = title_in_all(runs, quantity);
        }
    if (!left_out.empty())
        notes.push_back(fmt::format("Not every run logged {}: left out.", fmt::join(left_out, ", ")));
    for (const std::string& role : role_names()) {
        const std::string name = "role/" + role;
        if (std::ranges::find(common, name, &Quantity::name) != common.end()) continue;  // asked for
        const bool any = std::ranges::any_of(runs, [&](const ComparedRun& run) {
            const auto heads = run.values.find(name);
            return heads != run.values.end() && heads->second > 0;
        });
        if (any) common.push_back({.name = name, .title = "heads with role " + role, .units = "1", .is_count = true});
    }
    return common;
}

double number_of(const ComparedRun& run, const std::string& name) {
    const auto found = run.values.find(name);
    return found == run.values.end() ? nan : found->second;
}

/// Of the runs where it is a number.
Estimate estimate_of(const RunGroup& group, const Quantity& quantity) {
    std::vector<double> values;
    for (const ComparedRun& run : group.runs)
        if (const double value = number_of(run, quantity.name); std::isfinite(value)) values.push_back(value);
    Estimate result = estimate(values);
    if (quantity.is_count) result.low = result.high = nan;
    // Within what was seen in any case, whatever rounding did to it. NaN stays.
    if (result.low < quantity.minimum) result.low = std::min(quantity.minimum, result.minimum);
    if (result.high > quantity.maximum) result.high = std::max(quantity.maximum, result.maximum);
    return result;
}

Estimate paired_difference(const RunGroup& group, const RunGroup& baseline, const Quantity& quantity) {
    const std::string& name = quantity.name;
    std::vector<double> differences;
    for (const ComparedRun& run : group.runs) {
        const auto partner = std::ranges::find(baseline.runs, run.seed, &ComparedRun::seed);
        if (partner == baseline.runs.end()) continue;
        const double difference = number_of(run, name) - number_of(*partner, name);
        if (std::isfinite(difference)) differences.push_back(difference);
    }
    Estimate result = estimate(differences);
    if (quantity.is_count) result.low = result.high = nan;
    return result;
}

/// The words of "lr=0.001 num_heads=2".
std::vector<std::string> words_of(const std::string& text) {
    std::istringstream stream(text);
    std::vector<std::string> words;
    for (std::string word; stream >> word;) words.push_back(word);
    return words;
}

/// "-" where the config has no such key.
std::string shown(const ConfigValue& value) { return value.text.empty() ? "-" : value.text; }

/// Does the group have that value, the key written whole or by its last part?
bool has_value(const Comparison& comparison, const RunGroup& group, const std::string& word) {
    for (std::size_t i = 0; i < comparison.differs.size(); ++i) {
        const std::string& key = comparison.differs[i];
        const std::string setting = "=" + shown(group.values[i]);
        if (word == key + setting || word == key.substr(key.rfind('.') + 1) + setting) return true;
    }
    return false;
}

std::size_t baseline_of(const Comparison& comparison, const std::string& against) {
    const std::vector<std::string> words = words_of(against);
    if (words.empty()) return 0;
    std::vector<std::size_t> found;
    for (std::size_t i = 0; i < comparison.groups.size(); ++i)
        if (std::ranges::all_of(words,
                                [&](const auto& word) { return has_value(comparison, comparison.groups[i], word); }))
            found.push_back(i);
    if (found.size() == 1) return found[0];
    std::vector<std::string> groups;
    for (const RunGroup& group : comparison.groups) {
        std::string label;
        for (std::size_t i = 0; i < comparison.differs.size(); ++i)
            label += fmt::format(" {}={}", comparison.differs[i], shown(group.values[i]));
        groups.push_back(label);
    }
    throw UsageError(fmt::format("compare: --against \"{}\" fits {} groups; it must fit one of\n {}", against,
                                 found.size(), fmt::join(groups, "\n ")));
}

/// Throws for a quantity that was asked for and that no run has.
void require_quantities(const std::vector<ComparedRun>& runs, const CompareOptions& options) {
    for (const std::string& asked : options.quantities) {
        const bool any = std::ranges::any_of(runs, [&](const ComparedRun& run) {
            return std::ranges::any_of(run.logged, [&](const Quantity& quantity) {
                return quantity.name == asked || quantity.name == asked + "/mean" ||
                       (asked == "role" && quantity.name.starts_with("role/"));
            });
        });
        if (!any)
            throw UsageError(fmt::format(
                "compare: no run has logged {}; `headscope inspect RUN --json` lists what one has. A metric "
                "of the heads can be had afterwards: headscope replay RUN log.probes.NAME=N",
                asked));
    }
}

void note_states(const std::vector<ComparedRun>& runs, const std::vector<NamedSweep>& sweeps,
                 std::vector<std::string>& notes) {
    std::set<std::int64_t> steps;
    std::vector<RunProgress> progress;
    for (const ComparedRun& run : runs) {
        steps.insert(run.step);
        progress.push_back({run.folder, run.state, run.step});
    }
    for (std::string& note : notes_on_unfinished(progress, sweeps)) notes.push_back(std::move(note));
    if (steps.size() > 1)
        notes.push_back(fmt::format("The runs end at different steps, {} to {}.", *steps.begin(), *steps.rbegin()));
}

/// A note on the areas whose first or last row is not at the same step in all runs.
void note_windows(const Comparison& comparison, std::vector<std::string>& notes) {
    std::vector<std::string> uneven;
    for (const Quantity& quantity : comparison.quantities) {
        std::set<std::int64_t> firsts, lasts;
        for (const RunGroup& group : comparison.groups)
            for (const ComparedRun& run : group.runs)
                if (const auto window = run.windows.find(quantity.name); window != run.windows.end()) {
                    firsts.insert(window->second.first);
                    lasts.insert(window->second.second);
                }
        if (firsts.size() > 1 || lasts.size() > 1)
            uneven.push_back(fmt::format("{} (begins at {} to {}, ends at {} to {})", quantity.name, *firsts.begin(),
                                         *firsts.rbegin(), *lasts.begin(), *lasts.rbegin()));
    }
    if (!uneven.empty())
        notes.push_back(fmt::format("Not over the same steps in all runs: {}; --from and --to choose them.",
                                    fmt::join(uneven, ", ")));
}

/// A note for each set of runs that have no number where others do.
void note_gaps(const Comparison& comparison, std::vector<std::string>& notes) {
    std::map<std::vector<std::string>, std::vector<std::string>> gaps;
    for (const Quantity& quantity : comparison.quantities) {
        std::vector<std::string> without;
        for (const RunGroup& group : comparison.groups)
            for (const ComparedRun& run : group.runs)
                if (!std::isfinite(number_of(run, quantity.name))) without.push_back(run.folder);
        if (!without.empty()) gaps[without].push_back(quantity.name);
    }
    for (const auto& [without, names] : gaps)
        notes.push_back(fmt::format("Not counted in {}, having no number there: {}.", fmt::join(names, ", "),
                                    fmt::join(without, ", ")));
}

}  // namespace

Estimate estimate(const std::vector<double>& values) {
    const auto n = static_cast<std::int64_t>(values.size());
    if (n == 0) return {nan, nan, nan, nan, nan, 0};
    const auto count = static_cast<double>(n);
    double mean = 0, squares = 0;
    for (const double value : values) mean += value / count;
    for (const double value : values) squares += (value - mean) * (value - mean);
    const auto [least, most] = std::ranges::minmax(values);
    if (n == 1) return {mean, nan, nan, least, most, n};
    const boost::math::students_t distribution(count - 1);
    const double quantile = boost::math::quantile(boost::math::complement(distribution, 0.025));
    const double half_width = quantile * std::sqrt(squares / (count - 1) / count);
    return {mean, mean - half_width, mean + half_width, least, most, n};
}

Comparison compare(const std::vector<ComparedRun>& all_runs, const CompareOptions& options, const std::string& against,
                   const std::vector<NamedSweep>& sweeps) {
    require_quantities(all_runs, options);
    Comparison comparison;
    const std::vector<ComparedRun> runs = with_one_name_for_data(all_runs, comparison.notes);
    comparison.differs = differing_keys(runs);
    comparison.groups = grouped(runs, comparison);
    comparison.quantities = common_quantities(runs, comparison.notes);
    comparison.baseline = baseline_of(comparison, against);
    for (const Quantity& quantity : comparison.quantities)
        if (!options.quantities.empty() || quantity.name == "eval/loss" || quantity.name == "eval/loss area")
            comparison.paired.push_back(quantity.name);
    const RunGroup& baseline = comparison.groups[comparison.baseline];
    for (RunGroup& group : comparison.groups) {
        for (const Quantity& quantity : comparison.quantities)
            group.quantities[quantity.name] = estimate_of(group, quantity);
        if (&group == &baseline) continue;
        for (const Quantity& quantity : comparison.quantities)
            if (std::ranges::find(comparison.paired, quantity.name) != comparison.paired.end())
                group.differences[quantity.name] = paired_difference(group, baseline, quantity);
    }
    note_states(runs, sweeps, comparison.notes);
    note_windows(comparison, comparison.notes);
    note_gaps(comparison, comparison.notes);
    return comparison;
}

}  // namespace headscope::experiments
