#include "experiments/analysis/verification.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <optional>
#include <set>

#include "experiments/base/errors.h"
#include "experiments/base/files.h"
#include "experiments/base/sha256.h"
#include "experiments/config/config.h"
#include "experiments/storage/checkpoint.h"
#include "experiments/storage/child_process.h"
#include "experiments/storage/hdf5.h"
#include "experiments/storage/log_consistency.h"
#include "experiments/storage/log_reader.h"
#include "experiments/storage/log_seal.h"
#include "experiments/storage/log_tail.h"
#include "experiments/storage/run_folder.h"
#include "experiments/storage/run_state.h"
#include "experiments/training/belonging.h"
#include "experiments/training/training_state.h"

namespace headscope::experiments {

namespace {

namespace fs = std::filesystem;

/// What the config says of the files beside it.
struct Expected {
    std::optional<Config> config;
    std::string identity;
    std::optional<Experiment> experiment;  ///< none when the data are not at hand
    std::unique_ptr<TrainingState> state;  ///< of that experiment; takes the checkpoints that fit
    std::string no_experiment;             ///< why there is none
    std::optional<LogReader> log;          ///< none when it cannot be read
};

/// Adds the message of the Error that `check` throws, without the name of the file, which the report has.
template <class Check>
void collect(FileReport& report, const std::string& path, Check&& check) {
    try {
        check();
    } catch (const Error& error) {
        std::string message = error.what();
        if (message.starts_with(path + ": ")) message.erase(0, path.size() + 2);
        report.problems.push_back(message);
    }
}

void require_file(const std::string& path) {
    if (!path_exists(path)) throw IoError("is missing");
}

bool all_finite(const Tensor& tensor) {
    if (tensor.dtype() == DType::i64) return true;
    return dispatch_float(tensor.dtype(), "verify", [&](auto zero) {
        return std::ranges::all_of(tensor.values<decltype(zero)>(), [](auto value) { return std::isfinite(value); });
    });
}

FileReport verify_config(const std::string& file, const std::string& path, Expected& expected) {
    FileReport report{file, "config", {}};
    collect(report, path, [&] {
        require_file(path);
        expected.config = load_config(path);
        find_moved_data(*expected.config, folder_of(path), {});
        expected.identity = config_identity(*expected.config);
    });
    if (!expected.config) return report;
    try {
        expected.experiment = build_experiment_of_any_size(*expected.config);
        expected.state = std::make_unique<TrainingState>(*expected.experiment);
    } catch (const Error& error) {
        expected.no_experiment = error.what();
        report.note = "no model to compare with: " + expected.no_experiment;
    }
    return report;
}

// --- data ---

/// Adds a report when the data at hand are not those that the log tells of. Data that are not at hand are no fault.
void verify_data(Expected& expected, const std::string& folder, std::vector<FileReport>& reports) {
    if (!expected.config || !expected.log) return;
    std::vector<std::string> found;
    try {
        for (const auto& [key, file] : data_paths(*expected.config)) found.push_back(file->require("verify", key));
    } catch (const IoError&) {
        return;
    }
    if (found.empty()) return;
    FileReport report{fmt::format("{}", fmt::join(found, ", ")), "data", {}};
    const std::optional<std::string> trained_on = expected.log->data_sha256();
    if (expected.experiment) {
        if (const auto difference = data_difference(*expected.experiment, folder, trained_on))
            report.problems.push_back(*difference);
    } else if (trained_on) {
        report.problems.push_back(fmt::format("are not those of SHA-256 {} that the run was trained on: {}",
                                              *trained_on, expected.no_experiment));
    }
    if (!report.good()) reports.push_back(report);
}

// --- checkpoints ---

void check_tensors(FileReport& report, const std::string& what, const std::map<std::string, Tensor>& tensors) {
    for (const auto& [name, tensor] : tensors)
        if (!all_finite(tensor)) report.problems.push_back(fmt::format("{}{} is not finite", what, name));
}

/// What the file's name and the config say of it.
void check_belonging(FileReport& report, const Checkpoint& checkpoint, const Expected& expected) {
    const std::string name = fs::path(report.file).filename().string();
    if (name.starts_with("step-") && name != checkpoint_name(checkpoint.step))
        report.problems.push_back(fmt::format("holds step {}; its name says otherwise", checkpoint.step));
    if (name == "best.h5" && checkpoint.step != checkpoint.best.step)
        report.problems.push_back(
            fmt::format("holds step {}, and says that step {} was the best", checkpoint.step, checkpoint.best.step));
    if (expected.config && !belongs(checkpoint, *expected.config, expected.log ? &*expected.log : nullptr))
        report.problems.push_back(
            "belongs to another run: to another config than config.toml, or to other data or another run_id than "
            "log.h5");
    else if (expected.state) collect(report, "", [&] { expected.state->restore(checkpoint); });
}

FileReport verify_checkpoint(const std::string& file, const std::string& path, const Expected& expected) {
    FileReport report{file, "checkpoint", {}};
    collect(report, path, [&] {
        const Checkpoint checkpoint = load_checkpoint(path);
        report.note = fmt::format("step {}", checkpoint.step);
        check_tensors(report, "/model/", checkpoint.model);
        check_tensors(report, "/optimizer/", checkpoint.optimizer);
        if (!std::isfinite(checkpoint.elapsed) || checkpoint.elapsed < 0 || checkpoint.tokens_seen < 0)
            report.problems.push_back("elapsed or tokens_seen is none that a run can have");
        check_belonging(report, checkpoint, expected);
    });
    return report;
}

// --- the log ---

void check_log_config(FileReport& report, const LogReader& log, const Expected& expected) {
    const std::string resolved = log.resolved_config();
    if (log.config_sha256() != sha256(resolved))
        report.problems.push_back("attribute config_sha256 is not that of /config/resolved");
    const Config config = parse_config(resolved, log.resolved_config_place());
    if (log.seed() != config.seed) report.problems.push_back("attribute seed is not that of /config/resolved");
    if (expected.config && config_identity(config) != expected.identity)
        report.problems.push_back("/config/resolved is another config than config.toml");
}

void check_log_parameters(FileReport& report, const LogReader& log, const Expected& expected) {
    if (!expected.state) return;
    std::vector<std::string> names;
    for (const nn::Parameter& parameter : expected.state->model().named_parameters()) names.push_back(parameter.name);
    if (log.parameter_names() != names)
        report.problems.push_back("/parameters/name lists other parameters than the config's model has");
}

/// "fork", "replay" or nothing.
std::string lineage_of(const LogReader& log) {
    const std::optional<Lineage> lineage = log.lineage();
    return lineage ? lineage->kind : "";
}

/// A log says which checkpoints there must be. The folder is listed after the log was read, so that a run may go on
/// meanwhile.
void check_log_checkpoints(FileReport& report, const LogReader& log, const std::string& folder) {
    const std::string lineage = lineage_of(log);
    if (lineage == "replay") return;  // a log alone
    const std::vector<std::int64_t> steps = list_checkpoints(folder);
    if (lineage == "fork" && !path_exists(folder + "/" + start_checkpoint_name))
        report.problems.push_back(fmt::format("begins with checkpoints/{}, which is missing", start_checkpoint_name));
    const bool finished = log.state() == "finished";
    const std::int64_t last_row = log.last_step("train");
    const std::int64_t every = parse_config(log.resolved_config(), log.resolved_config_place()).checkpoint.every;
    if (steps.empty() && (finished || (lineage.empty() && last_row >= every)))
        report.problems.push_back("tells of training that must have left checkpoints, and there are none");
    else if (finished && steps.back() <= last_row)
        report.problems.push_back(
            fmt::format("the run is finished, with a row of step {}, but its newest checkpoint is of step {}; "
                        "`headscope resume` trains the rest again",
                        last_row, steps.back()));
}

FileReport verify_log(const std::string& file, const std::string& path, const Expected& expected,
                      const std::string& checkpoints) {
    FileReport report{file, "log", {}};
    collect(report, path, [&] {
        require_file(path);
        const std::vector<std::int64_t> saved = list_checkpoints(checkpoints);  // before the log, which reaches as far
        const LogReader log(path);
        if (!is_sealed(read_file(path)))
            report.problems.push_back(
                "has no checksum at its end: cut off, or rewritten by another tool, so damage would go unseen");
        for (const std::string& problem : check_log(open_log(path))) report.problems.push_back(problem);
        if (!report.good()) return;
        check_log_config(report, log, expected);
        check_log_parameters(report, log, expected);
        if (!checkpoints.empty()) check_log_checkpoints(report, log, checkpoints);
        if (!saved.empty() && log.complete_until().value_or(saved.back()) < saved.back())
            report.problems.push_back(
                fmt::format("its rows end before step {}, and the newest checkpoint is of step {}; `headscope resume` "
                            "trains the rest again",
                            *log.complete_until(), saved.back()));
        const bool of_run = !checkpoints.empty();  // else a file on its own, and nobody trains in its folder
        report.note =
            fmt::format("{}, rows of /train: {}", of_run ? read_run_state(folder_of(path), log).word() : log.state(),
                        log.steps("train").size());
    });
    return report;
}

/// Rows that are lost with a damaged tail are missed by verify_log(), if a checkpoint needs them.
FileReport verify_tail(const std::string& file, const std::string& path, const std::string& log_path) {
    FileReport report{file, "log tail", {}};
    collect(report, path, [&] {
        const hdf5::File log = open_sealed(log_path);
        const std::int64_t publication =
            log.has_attribute("/", "publication") ? log.integer_attribute("/", "publication") : 0;
        const TailContents tail = read_tail(log_path, publication, [](std::span<const std::byte>) {});
        report.note = tail.publication == publication ? fmt::format("blocks of rows newer than log.h5: {}", tail.blocks)
                                                      : "of a log.h5 that is no longer there; not used";
        if (tail.whole_bytes < tail.bytes)
            report.note += fmt::format("; its last {} bytes are no whole block: a process was killed while it wrote",
                                       tail.bytes - tail.whole_bytes);
    });
    return report;
}

// --- anything else ---

/// Reads all of a file and returns its kind. Throws IoError for what cannot be read.
std::string read_through(const hdf5::File& file) {
    const std::vector<std::string> problems = unreadable_parts(file);
    if (!problems.empty()) throw IoError(fmt::format("{}", fmt::join(problems, "; ")));
    constexpr std::string_view ours = "headscope.";
    const std::string schema = file.has_attribute("/", "schema_name") ? file.text_attribute("/", "schema_name") : "";
    return schema.starts_with(ours) ? schema.substr(ours.size()) : "HDF5 file";
}

/// Of a file without a checksum of ours, in a process of its own.
FileReport verify_hdf5(const std::string& file, const std::string& path, const std::string& bytes) {
    FileReport report{file, "HDF5 file", {}};
    collect(report, path, [&] {
        if (is_sealed(bytes)) report.kind = read_through(open_sealed(path));
        else
            report.kind = read_in_child(
                path, [&] { return read_through(hdf5::File::open_image(std::as_bytes(std::span(bytes)), path)); });
    });
    return report;
}

/// By what the file says of itself.
FileReport verify_any(const std::string& file, const std::string& path, const Expected& expected) {
    std::string bytes;
    FileReport unread{file, "unknown", {}};
    collect(unread, path, [&] { bytes = read_file(path); });
    if (!unread.good()) return unread;
    constexpr std::string_view checkpoint_start = "headscope checkpoint\n", hdf5_start = "\x89HDF\r\n\x1a\n";
    if (bytes.starts_with(checkpoint_start)) return verify_checkpoint(file, path, expected);
    if (is_sealed(bytes) || bytes.starts_with(hdf5_start)) {
        FileReport report = verify_hdf5(file, path, bytes);
        return report.kind == "log" ? verify_log(file, path, expected, "") : report;
    }
    return {file, "unknown", {"is neither a checkpoint nor an HDF5 file, or its first bytes are damaged"}};
}

/// A replay leaves a log alone.
bool is_replay(const std::string& path) {
    try {
        return lineage_of(LogReader(path)) == "replay";
    } catch (const Error&) {
        return false;
    }
}

bool is_temporary(const std::string& name) { return name.starts_with(".") && name.find(".tmp-") != std::string::npos; }

/// Adds all files below folder/below, by their paths in `folder`; a folder that cannot be listed becomes a report. What
/// a running run takes away meanwhile is not there.
void find_files(const std::string& folder, const std::string& below, std::set<std::string>& files,
                std::vector<FileReport>& reports) {
    FileReport report{below.empty() ? "." : below, "folder", {}};
    collect(report, folder + "/" + below, [&] {
        for (const std::string& name : list_folder(folder + "/" + below)) {
            const std::string file = below.empty() ? name : below + "/" + name;
            std::error_code error;
            const fs::file_type type = fs::symlink_status(folder + "/" + file, error).type();
            if (type == fs::file_type::none) fail_io(folder + "/" + file, "cannot be looked at", error.value());
            // In the place of a checkpoint it keeps the run from one.
            const bool dangling = type == fs::file_type::symlink && !fs::exists(folder + "/" + file, error);
            const bool in_the_way =
                below == checkpoints_name && is_checkpoint_name(name) && (type == fs::file_type::directory || dangling);
            if (in_the_way) reports.push_back({file, "checkpoint", {"is no file, nor a link that leads to one"}});
            else if (type == fs::file_type::directory) find_files(folder, file, files, reports);
            else if (type != fs::file_type::not_found) files.insert(file);
        }
    });
    if (!report.good()) reports.push_back(report);
}

}  // namespace

std::vector<FileReport> verify_run(const std::string& folder) {
    const RunPaths paths(folder);
    if (!fs::is_directory(folder)) throw UsageError("verify: there is no folder " + folder);
    if (!path_exists(paths.config) && !path_exists(paths.log) && !path_exists(paths.checkpoints))
        throw UsageError("verify: " + folder + " holds no run: no config.toml, no log.h5, no checkpoints");
    Expected expected;
    std::vector<FileReport> reports;
    if (path_exists(paths.config) || !is_replay(paths.log))
        reports.push_back(verify_config("config.toml", paths.config, expected));
    reports.push_back(verify_log("log.h5", paths.log, expected, paths.checkpoints));
    if (reports.back().good()) expected.log.emplace(paths.log);
    verify_data(expected, folder, reports);
    std::set<std::string> files;
    find_files(folder, "", files, reports);
    for (const std::string& file : files) {
        const std::string path = folder + "/" + file;
        const fs::path relative(file);
        if (is_temporary(relative.filename().string())) {
            reports.push_back(
                {file, "temporary", {}, "left by a killed process, or in use; `headscope resume` clears"});
            continue;
        }
        if (file == "log.h5.tail") {
            if (FileReport tail = verify_tail(file, path, paths.log); path_exists(path)) reports.push_back(tail);
            continue;
        }
        if (relative.extension() != ".h5" || file == "log.h5") continue;
        FileReport report = relative.parent_path() == "checkpoints" ? verify_checkpoint(file, path, expected)
                                                                    : verify_any(file, path, expected);
        if (report.good() || path_exists(path)) reports.push_back(std::move(report));  // else deleted by a running run
    }
    return reports;
}

FileReport verify_file(const std::string& path) {
    if (!path_exists(path)) throw UsageError("verify: there is no " + path);
    Expected none;
    if (fs::path(path).extension() == ".toml") return verify_config(path, path, none);
    return verify_any(path, path, none);
}

}  // namespace headscope::experiments
