#include "experiments/study/sweep_estimate.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <map>
#include <mutex>
#include <numeric>
#include <optional>
#include <thread>
#include <vector>

#include "autograd/profile.h"
#include "experiments/base/errors.h"
#include "experiments/probes/probe.h"
#include "experiments/storage/log_reader.h"
#include "experiments/storage/run_folder.h"
#include "experiments/study/sweep_plan.h"
#include "experiments/study/sweep_task.h"
#include "experiments/training/run.h"

namespace headscope::experiments {

namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point time) { return std::chrono::duration<double>(Clock::now() - time).count(); }

struct Cost {
    double seconds = 0, bytes = 0;
};

/// A folder that is gone with its object.
class ScratchFolder {
public:
    ScratchFolder() : path_((fs::temp_directory_path() / "headscope-sweep-XXXXXX").string()) {
        if (::mkdtemp(path_.data()) == nullptr) throw IoError(path_ + ": cannot be made, to measure runs in");
    }
    ~ScratchFolder() {
        std::error_code ignored;
        fs::remove_all(path_, ignored);
    }
    ScratchFolder(const ScratchFolder&) = delete;
    ScratchFolder& operator=(const ScratchFolder&) = delete;
    const std::string& path() const { return path_; }

private:
    std::string path_;
};

/// How often something that is due every so many steps is due in the first `steps` steps and at their end.
double times_due(std::int64_t steps, std::int64_t every) {
    return every > 0 ? static_cast<double>(steps / every + 1) : 0;
}

/// The steps at which probes need a pass of their own, which they share.
double passes_due(const Config& config, std::int64_t steps) {
    std::vector<std::int64_t> periods;
    for (const auto& [name, every] : config.log.probes)
        if (every > 0 && make_probe(name)->stage() == ProbeStage::activations) periods.push_back(every);
    double count = 0;
    for (std::int64_t step = 0; step <= steps; ++step)
        count += std::ranges::any_of(periods, [&](std::int64_t every) { return step % every == 0; }) ? 1 : 0;
    return count;
}

/// By what the time until step `done` grows until the end of the run, for what is marked as `name`; nothing for what
/// every step has.
std::optional<double> growth_of(const std::string& name, const Config& config, std::int64_t done) {
    const std::int64_t steps = config.train.steps;
    const auto ratio = [&](std::int64_t every) { return times_due(steps, every) / times_due(done, every); };
    if (name == "evaluation") return ratio(config.eval.every);
    if (name == "attention maps") return ratio(config.log.attention);
    if (name == "passes for probes") return passes_due(config, steps) / passes_due(config, done);
    if (name == "start") return 1;
    constexpr std::string_view probe = "probe ";
    if (!name.starts_with(probe)) return std::nullopt;
    const auto found = config.log.probes.find(name.substr(probe.size()));
    return found != config.log.probes.end() ? std::optional(ratio(found->second)) : std::nullopt;
}

/// What the log of a run will hold that it lacks after `done` steps. Floats shrink little.
double bytes_of_more_rows(const LogReader& log, const Config& config, std::int64_t seq_len, std::int64_t done) {
    constexpr double compressed = 0.85, compressed_map = 0.5, f64 = 8, f32 = 4;
    const auto more = [&](std::int64_t every) { return times_due(config.train.steps, every) - times_due(done, every); };
    const auto series = [&](const char* group) { return f64 * static_cast<double>(log.columns(group).size() + 1); };
    double bytes =
        more(config.log.every) * (series("train") + 2 * f32 * static_cast<double>(log.parameter_names().size()));
    bytes += more(config.eval.every) * series("eval");
    for (const auto& [name, every] : config.log.probes)
        if (log.has_metric(name)) bytes += more(every) * (f64 + f32 * static_cast<double>(log.metric(name).row_size()));
    const double map = f32 * static_cast<double>(config.log.attention_samples * config.model.num_layers *
                                                 config.model.num_heads * seq_len * seq_len);
    return bytes * compressed + more(config.log.attention) * map * compressed_map;
}

std::map<std::string, double> seconds_by_name(const Profile& profile) {
    std::map<std::string, double> seconds;
    for (const Profile::Row& row : profile.rows()) seconds[row.name] += row.seconds;
    return seconds;
}

double size_of(const std::string& path) {
    std::error_code error;
    const auto size = fs::file_size(path, error);
    return error ? 0 : static_cast<double>(size);
}

/// Trains a run for a moment.
class Measurement {
public:
    Measurement(const Config& config, const std::string& folder, int threads, double budget,
                const std::atomic<bool>* stop)
        : folder_(folder), threads_(threads), budget_(budget), outer_stop_(stop), begun_(Clock::now()) {
        const Experiment experiment = build_experiment(config);
        config_ = experiment.config;
        before_training_ = seconds_since(begun_);
        train(experiment);
    }

    Cost cost() const {
        constexpr double start_of_process = 0.03;
        const double steps = static_cast<double>(config_.train.steps);
        Cost cost{before_training_ + start_of_process + seconds_to_end_, 0};
        const double checkpoints = std::floor(steps / static_cast<double>(config_.checkpoint.every));
        if (finished_) {
            cost.seconds += trained_;
        } else {
            for (const auto& [name, seconds] : seconds_) cost.seconds += whole(name, seconds);
            cost.seconds += checkpoints * seconds_to_end_;
        }
        const double kept = config_.checkpoint.keep == 0
                                ? checkpoints + 1
                                : std::min(static_cast<double>(config_.checkpoint.keep), checkpoints + 1);
        cost.bytes = log_ + (kept + (config_.checkpoint.best ? 1 : 0)) * checkpoint_;
        return cost;
    }

private:
    void train(const Experiment& experiment) {
        const Profile profile;
        std::atomic<bool> stop{false};
        Clock::time_point last = Clock::now();
        RunHooks hooks;
        hooks.stop = &stop;
        hooks.on_step = [&](const Progress& progress) {
            last = Clock::now();
            done_ = progress.step;
            if (warm_step_ == 0 && seconds_since(begun_) > budget_ / 4) {
                warm_step_ = done_;
                warm_seconds_ = seconds_by_name(profile);
            }
            const bool asked = outer_stop_ != nullptr && outer_stop_->load();
            if (asked || (seconds_since(begun_) > budget_ && done_ > warm_step_)) stop = true;
        };
        const Clock::time_point first = Clock::now();
        try {
            start_run(experiment, {.out = folder_, .threads = threads_, .hooks = hooks});
            finished_ = true;
        } catch (const Stopped&) {
        } catch (const NumericError&) {  // its time until then says enough
        }
        if (outer_stop_ != nullptr && outer_stop_->load()) throw Stopped("stopped while it measured");
        trained_ = std::chrono::duration<double>(last - first).count();
        seconds_to_end_ = seconds_since(last);
        seconds_ = seconds_by_name(profile);
        log_ = size_of(RunPaths(folder_).log);
        if (!finished_)
            log_ += bytes_of_more_rows(LogReader(RunPaths(folder_).log), config_, experiment.task->seq_len(), done_);
        for (const std::int64_t step : list_checkpoints(RunPaths(folder_).checkpoints))
            checkpoint_ = size_of(RunPaths(folder_).checkpoints + "/" + checkpoint_name(step));
    }

    /// Of a whole run what is marked as `name`, `seconds` in the part that was trained.
    double whole(const std::string& name, double seconds) const {
        if (const std::optional<double> growth = growth_of(name, config_, done_)) return seconds * *growth;
        const auto warm = warm_seconds_.find(name);
        const double before = warm == warm_seconds_.end() ? 0 : warm->second;
        return before + (seconds - before) / static_cast<double>(std::max<std::int64_t>(done_ - warm_step_, 1)) *
                            static_cast<double>(config_.train.steps - warm_step_);
    }

    std::string folder_;
    int threads_;
    double budget_;
    const std::atomic<bool>* outer_stop_;
    Clock::time_point begun_;
    Config config_;
    bool finished_ = false;
    std::int64_t done_ = 0, warm_step_ = 0;
    double before_training_ = 0, trained_ = 0, seconds_to_end_ = 0;
    double log_ = 0, checkpoint_ = 0;  ///< bytes
    std::map<std::string, double> warm_seconds_, seconds_;
};

/// Runs that differ in no more than the seed cost the same.
std::string kind_of(const SweepRun& run) {
    std::string kind;
    for (const std::string& text : run.overrides)
        if (!text.starts_with("seed=")) kind += text + "\n";
    return kind;
}

/// `count` of the numbers 0 to `size` - 1, evenly.
std::vector<std::size_t> spread(std::size_t size, std::size_t count) {
    std::vector<std::size_t> chosen;
    for (std::size_t i = 0; i < count; ++i) chosen.push_back(count < 2 ? 0 : i * (size - 1) / (count - 1));
    return chosen;
}

/// Costs of the kinds that were measured, and for the others what lies between their neighbours.
std::vector<Cost> filled(const std::map<std::size_t, Cost>& measured, std::size_t kinds) {
    std::vector<Cost> costs(kinds);
    for (std::size_t i = 0; i < kinds; ++i) {
        const auto above = measured.lower_bound(i);
        if (above == measured.end() || above->first == i || above == measured.begin()) {
            costs[i] = above == measured.end() ? measured.rbegin()->second : above->second;
            continue;
        }
        const auto below = std::prev(above);
        const double share = static_cast<double>(i - below->first) / static_cast<double>(above->first - below->first);
        costs[i] = {std::lerp(below->second.seconds, above->second.seconds, share),
                    std::lerp(below->second.bytes, above->second.bytes, share)};
    }
    return costs;
}

/// When the last run ends, each beginning as soon as one of `jobs` places is free.
double end_of(const std::vector<double>& seconds, int jobs) {
    std::vector<double> free(static_cast<std::size_t>(jobs), 0);
    for (const double each : seconds) *std::ranges::min_element(free) += each;
    return std::ranges::max(free);
}

/// Measures some kinds, `jobs` at once.
class Measurements {
public:
    Measurements(const Manifest& manifest, const EstimateOptions& options) : manifest_(manifest), options_(options) {}

    std::map<std::size_t, Cost> of(const std::vector<const SweepRun*>& kinds) {
        constexpr std::size_t most = 24;
        constexpr double shortest = 0.4, longest = 1.5;
        chosen_ = spread(kinds.size(), std::min(kinds.size(), most));
        const auto jobs = static_cast<std::size_t>(options_.jobs);
        // All places are taken while the sweep runs, so they are while it is measured.
        for (std::size_t i = 0; chosen_.size() % jobs != 0; ++i) chosen_.push_back(chosen_[i]);
        const double rounds = static_cast<double>(chosen_.size() / jobs);
        budget_ = std::clamp(options_.seconds / rounds, shortest, longest);
        std::vector<std::thread> threads;
        for (std::size_t i = 0; i < jobs; ++i) threads.emplace_back([&] { work(kinds); });
        for (std::thread& thread : threads) thread.join();
        if (failure_) std::rethrow_exception(failure_);
        std::map<std::size_t, Cost> costs;
        for (const auto& [kind, found] : found_) {
            Cost& cost = costs[kind];
            for (const Cost& each : found) {
                cost.seconds += each.seconds / static_cast<double>(found.size());
                cost.bytes += each.bytes / static_cast<double>(found.size());
            }
        }
        return costs;
    }

private:
    void work(const std::vector<const SweepRun*>& kinds) {
        for (;;) {
            const std::size_t number = next_++;
            if (number >= chosen_.size()) return;
            try {
                const Config config = config_of(manifest_, *kinds[chosen_[number]]);
                const std::string folder = fmt::format("{}/{}", scratch_.path(), number);
                const Cost cost = Measurement(config, folder, options_.threads, budget_, options_.stop).cost();
                const std::lock_guard lock(mutex_);
                found_[chosen_[number]].push_back(cost);
            } catch (...) {
                const std::lock_guard lock(mutex_);
                if (!failure_) failure_ = std::current_exception();
                next_ = chosen_.size();
            }
        }
    }

    const Manifest& manifest_;
    const EstimateOptions& options_;
    const ScratchFolder scratch_;
    std::vector<std::size_t> chosen_;
    double budget_ = 0;
    std::atomic<std::size_t> next_{0};
    std::mutex mutex_;
    std::map<std::size_t, std::vector<Cost>> found_;
    std::exception_ptr failure_;
};

}  // namespace

SweepEstimate estimate_sweep(const Manifest& manifest, const EstimateOptions& options) {
    std::vector<const SweepRun*> kinds;
    std::map<std::string, std::size_t> kind_numbers;
    std::vector<std::size_t> left;  // the kind of each run
    for (const SweepRun& run : manifest.runs) {
        if (!is_left_to_do(run)) continue;
        const auto [kind, is_new] = kind_numbers.try_emplace(kind_of(run), kinds.size());
        if (is_new) kinds.push_back(&run);
        left.push_back(kind->second);
    }
    SweepEstimate estimate{.runs = left.size()};
    if (left.empty()) return estimate;
    EstimateOptions busy = options;
    busy.jobs = std::min(options.jobs, static_cast<int>(left.size()));
    const std::map<std::size_t, Cost> measured = Measurements(manifest, busy).of(kinds);
    const std::vector<Cost> costs = filled(measured, kinds.size());
    std::vector<double> seconds;
    for (const std::size_t kind : left) {
        seconds.push_back(costs[kind].seconds);
        estimate.bytes += costs[kind].bytes;
    }
    estimate.seconds = end_of(seconds, busy.jobs);
    estimate.measured = measured.size();
    return estimate;
}

}  // namespace headscope::experiments
