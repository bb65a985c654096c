#include "experiments/study/slurm.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <span>

#include "experiments/base/errors.h"
#include "experiments/base/file_replacement.h"

namespace headscope::experiments {

namespace {

/// For bash, whatever is in it.
std::string shell_quoted(const std::string& text) {
    std::string quoted = "'";
    for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return quoted + "'";
}

/// sbatch reads no quotes in its own lines; what is not plain there must not be there.
std::string job_name(const std::string& name) {
    std::string plain;
    for (const char c : name)
        plain += std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '.' ? c : '_';
    return plain;
}

}  // namespace

std::string slurm_script(const std::string& sweep, const Manifest& manifest, const SlurmOptions& options) {
    const std::string folder = std::filesystem::absolute(sweep).lexically_normal().string();
    std::string script = "#!/bin/bash\n";
    script += fmt::format("#SBATCH --job-name={}\n", job_name(manifest.name));
    script += fmt::format("#SBATCH --array=0-{}{}\n", manifest.runs.size() - 1,
                          options.jobs ? fmt::format("%{}", *options.jobs) : "");
    if (options.threads) script += fmt::format("#SBATCH --cpus-per-task={}\n", *options.threads);
    script +=
        "#SBATCH --output=task-%a.out\n"
        "#SBATCH --open-mode=append\n"
        "#SBATCH --requeue\n"
        "#SBATCH --signal=TERM@120\n"
        "\n"
        "# As a step, so that signals reach it: it writes a checkpoint and ends with 75.\n";
    script +=
        fmt::format("srun {} sweep {} --task \"$SLURM_ARRAY_TASK_ID\" --threads \"${{SLURM_CPUS_PER_TASK:-1}}\"\n",
                    shell_quoted(options.program), shell_quoted(folder));
    script +=
        "status=$?\n"
        "if [ \"$status\" -eq 75 ]; then\n"
        "    # This task alone; the number of the job would put the whole array back.\n"
        "    scontrol requeue \"${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}\"\n"
        "fi\n"
        "exit \"$status\"\n";
    return script;
}

std::string write_slurm_script(const std::string& sweep, const Manifest& manifest, const SlurmOptions& options) {
    const std::string path = sweep + "/sweep.sbatch", script = slurm_script(sweep, manifest, options);
    write_file_atomically(path, std::as_bytes(std::span(script)));
    return path;
}

std::string submit_to_slurm(const std::string& script) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) fail_io("pipe", "cannot be made", errno);
    const Descriptor reading(ends[0]);
    Descriptor writing(ends[1]);
    const std::string folder = "--chdir=" + folder_of(std::filesystem::absolute(script).string());
    constexpr int not_there = 127;
    const pid_t child = ::fork();
    if (child < 0) fail_io(script, "no process can be started for sbatch", errno);
    if (child == 0) {
        ::dup2(writing, STDOUT_FILENO);
        ::dup2(writing, STDERR_FILENO);
        ::execlp("sbatch", "sbatch", folder.c_str(), script.c_str(), nullptr);
        ::_exit(not_there);
    }
    writing = Descriptor();
    std::string said;
    std::array<char, 1024> piece{};
    for (ssize_t got = 0; (got = ::read(reading, piece.data(), piece.size())) > 0 || (got < 0 && errno == EINTR);)
        if (got > 0) said.append(piece.data(), static_cast<std::size_t>(got));
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == not_there)
        throw UsageError(fmt::format("sweep: there is no sbatch here; on the cluster: sbatch {} {}", folder, script));
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        throw UsageError(fmt::format("sweep: sbatch refused {}: {}", script, said));
    return said;
}

}  // namespace headscope::experiments
