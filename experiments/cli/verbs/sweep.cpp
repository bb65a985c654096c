#include "experiments/study/sweep.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <thread>

#include "experiments/base/errors.h"
#include "experiments/base/file_replacement.h"
#include "experiments/base/files.h"
#include "experiments/cli/comparison_text.h"
#include "experiments/cli/output.h"
#include "experiments/cli/progress.h"
#include "experiments/cli/summary_text.h"
#include "experiments/cli/sweep_text.h"
#include "experiments/cli/verb.h"
#include "experiments/study/slurm.h"
#include "experiments/study/sweep_estimate.h"
#include "experiments/study/sweep_plan.h"
#include "experiments/study/sweep_task.h"
#include "experiments/study/task_process.h"

namespace headscope::experiments::cli {

namespace {

int cores() { return std::max(1, static_cast<int>(std::thread::hardware_concurrency())); }

/// Prints lines of JSON, a few in a second.
RunHooks hooks_in_json(const std::atomic<bool>& stop) {
    using Clock = std::chrono::steady_clock;
    RunHooks hooks;
    hooks.stop = &stop;
    hooks.on_step = [last = Clock::time_point()](const Progress& progress) mutable {
        if (Clock::now() - last < std::chrono::milliseconds(200)) return;
        last = Clock::now();
        print_out("{}\n", progress_to_json(progress));
        std::fflush(stdout);
    };
    hooks.on_message = [](const std::string& message) { print_note(message + "\n"); };
    return hooks;
}

class Sweep : public Verb {
public:
    void declare(VerbOptions& options) override {
        options.required("config", config_, "TOML file, or the folder of a sweep to go on with");
        options.optional("overrides", overrides_,
                         "model.num_heads=2,8 seed=0..4: values to go through, each with each; train.steps=100: of all "
                         "runs");
        options.optional("--out", out_, "the sweep's folder (default runs/<name>-sweep)");
        options.integer("--jobs", jobs_, {1, 1024}, "runs at once (default: as many as there are cores)");
        options.flag("--zip", zip_, "the n-th values go together");
        options.flag("--resume", resume_, "go on with a sweep: what is stopped, failed or new");
        options.flag("--keep-going", keep_going_, "a run that fails stops no other");
        options.flag("--dry-run", dry_run_, "list the runs, and train none");
        options.optional("--emit", emit_, "slurm: write a job array for a cluster instead of training here");
        options.flag("--submit", submit_, "write it and hand it to sbatch");
        options.integer("--task", task_, {.smallest = 0}, "train the run of this number alone, as a task on a cluster");
        options.flag("--json", json_,
                     "the runs and how they ended in JSON; with --task the progress, a line at a time");
    }

    bool computes() const override { return true; }

    void run(const std::atomic<bool>& stop) override {
        if (task_) return run_task(stop);
        prepare();
        if (!emit_.empty() || submit_) return hand_over();
        const int jobs = jobs_ ? static_cast<int>(*jobs_) : std::max(1, cores() / threads.value_or(1));
        const int each = threads.value_or(jobs_ ? std::max(1, cores() / jobs) : 1);
        ProgressPrinter printer(stderr);
        printer.update("measuring");
        const SweepEstimate estimate = estimate_sweep(manifest_, {.jobs = jobs, .threads = each, .stop = &stop});
        printer.erase();
        if (dry_run_) return list(estimate, jobs, each);
        const RunLock lock = make_folder();
        if (estimate.runs > 0) printer.line(describe(estimate, jobs, each));
        SweepPrinter observer(printer, jobs);
        manifest_ = run_sweep(lock, {jobs, each, keep_going_, &stop}, observer);
        printer.erase();
        print_end();
        require_finished(stop);
    }

private:
    void prepare() {
        if (is_sweep(config_)) {
            if (!resume_ && !dry_run_)
                throw UsageError(fmt::format("{} is a sweep; --resume goes on with it", config_));
            if (!overrides_.empty() || zip_ || !out_.empty())
                throw UsageError("sweep: name the config, not the folder, to add values");
            folder_ = without_slash(config_);
            manifest_ = read_manifest(folder_);
            manifest_.require_complete(folder_);
            return;
        }
        const Config base = load_users_config(config_, {});
        const Manifest wanted = plan_sweep({config_, base.source, overrides_, zip_});
        folder_ = out_.empty() ? fmt::format("runs/{}-sweep", wanted.name) : without_slash(out_);
        const bool there = is_sweep(folder_);
        if (there && !resume_) refuse_existing();
        manifest_ = wanted;
        if (!there) return;
        const Manifest old = read_manifest(folder_);
        old.require_complete(folder_);
        manifest_ = extended_sweep(old, wanted);
    }

    void list(const SweepEstimate& estimate, int jobs, int each) const {
        if (json_) return print_text(to_json(folder_, manifest_, &estimate) + "\n");
        print_out("{}: {}\n{}{}\n", folder_, count_states(manifest_), list_runs(manifest_),
                  describe(estimate, jobs, each));
    }

    [[noreturn]] void refuse_existing() const {
        throw UsageError(
            fmt::format("{}: exists already; --resume goes on with it, --out FOLDER begins another", folder_));
    }

    /// Of a new sweep; of an old one the manifest gets the runs that were added.
    RunLock make_folder() {
        make_folders(folder_);
        RunLock lock(folder_, [](const std::string& message) { print_note(message + "\n"); });
        if (is_sweep(folder_)) {
            remove_temporary_files(lock.folder(), [](const std::string& name) { return name == manifest_name; });
            if (!resume_) refuse_existing();  // it was made meanwhile
            change_manifest(folder_, [this](Manifest& now) {
                now.axes = manifest_.axes;
                for (std::size_t i = now.runs.size(); i < manifest_.runs.size(); ++i)
                    now.runs.push_back(manifest_.runs[i]);
            });
            return lock;
        }
        if (!list_folder(folder_).empty())
            throw UsageError(
                fmt::format("{}: holds something that is no sweep; choose another folder with --out", folder_));
        write_manifest(folder_, manifest_);
        return lock;
    }

    /// To a cluster.
    void hand_over() {
        if (!emit_.empty() && emit_ != "slurm")
            throw UsageError(fmt::format("sweep: --emit writes scripts for slurm, not for {}", emit_));
        const RunLock lock = make_folder();
        SlurmOptions options{.program = std::filesystem::read_symlink("/proc/self/exe").string(), .threads = threads};
        if (jobs_) options.jobs = static_cast<int>(*jobs_);
        const std::string script = write_slurm_script(folder_, manifest_, options);
        print_out("{}: {}\n", script, count_states(manifest_));
        if (submit_) print_text(submit_to_slurm(script));
        else print_out("submit it with `sbatch --chdir={} {}`\n", folder_, script);
    }

    void print_end() const {
        if (json_) return print_text(to_json(folder_, manifest_) + "\n");
        print_out("{}\n{}\n", folder_, describe_end(manifest_));
        std::vector<ComparedRun> compared;
        for (const std::string& run : runs_of(folder_)) compared.push_back(read_compared_run(run, {}));
        if (!compared.empty()) print_out("\n{}\n", to_text(experiments::compare(compared)));
    }

    /// Ends with the code of the first run that failed.
    void require_finished(const std::atomic<bool>& stop) const {
        const auto failed = std::ranges::find(manifest_.runs, SweepState::failed, &SweepRun::state);
        const std::string advice = fmt::format("`headscope sweep {} --resume` goes on", folder_);
        if (stop.load()) throw Stopped("stopped; " + advice);
        const bool all =
            std::ranges::all_of(manifest_.runs, [](const SweepRun& run) { return run.state == SweepState::finished; });
        if (all) return;
        if (failed == manifest_.runs.end()) throw IoError(fmt::format("{} is not finished; {}", folder_, advice));
        const std::string message = fmt::format("{}: {}; {}", failed->folder, failed->message, advice);
        switch (failed->exit.value_or(exit_io)) {
            case exit_numeric: throw NumericError(message);
            case exit_usage: throw UsageError(message);
            case exit_check_failed: throw CheckFailed(message);
            default: throw IoError(message);
        }
    }

    void run_task(const std::atomic<bool>& stop) const {
        const auto task = static_cast<std::size_t>(*task_);
        const std::string folder = std::filesystem::absolute(config_).lexically_normal().string();
        // A config's relative paths start there. Where it is gone, data are known by their digest (note_data()).
        std::error_code ignored;
        std::filesystem::current_path(read_manifest(folder).working_folder, ignored);
        if (json_) return run_sweep_task(folder, task, hooks_in_json(stop));
        ProgressPrinter printer(stderr);
        run_sweep_task(folder, task, hooks_of(printer, stop));
        printer.erase();
        print_summary(without_slash(folder) + "/" + read_manifest(folder).run(task).folder, false);
    }

    std::string config_, out_, folder_, emit_;
    std::vector<std::string> overrides_;
    std::optional<std::int64_t> jobs_, task_;
    bool zip_ = false, resume_ = false, keep_going_ = false, dry_run_ = false, submit_ = false, json_ = false;
    Manifest manifest_;
};

const RegisterType<Verb> registered_sweep("sweep", "train by a config with many values: a run for each combination",
                                          [] { return std::make_unique<Sweep>(); });

}  // namespace

}  // namespace headscope::experiments::cli
