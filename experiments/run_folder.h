// A run's folder on disk, and the only code that writes files: temporary name, fsync, rename, fsync of the folder.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace headscope {

/// Replaces `path` by `bytes` in one step. On any failure the old file is untouched, the temporary one is removed, and
/// IoError names the path and the reason. Retries on EINTR, handles short writes. Temporary names begin with ".".
void write_file_atomically(const std::string& path, std::span<const std::byte> bytes);

/// Whole file. Throws IoError.
std::string read_file(const std::string& path);

/// Makes `path` and missing parents for a new run. Throws UsageError when it exists (a run is never overwritten: the
/// message says `headscope resume` or --out), IoError when it cannot be made.
void create_run_folder(const std::string& path);

/// SHA-256 as 64 hex digits.
std::string sha256(std::span<const std::byte> bytes);

struct RunPaths {
    explicit RunPaths(std::string folder);
    std::string folder, log, config, checkpoints;
};

}  // namespace headscope
