// Files and folders. write_file_atomically() is the only code that writes files: temporary name, fsync, rename, fsync
// of the folder.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace headscope::experiments {

/// Replaces `path` by `bytes` in one step. On any failure the old file is untouched, the temporary one is removed, and
/// IoError names the path, the reason and the mend. Retries on EINTR, handles short writes. Temporary names are
/// ".<name>.tmp-<process>"; only a killed process leaves one behind.
void write_file_atomically(const std::string& path, std::span<const std::byte> bytes);

/// IoError "path: what: reason; mend". `error`: an errno.
[[noreturn]] void fail_io(const std::string& path, const char* what, int error);

/// Removes what killed processes left of write_file_atomically in a folder. For whoever owns the folder: a resumed run.
void remove_temporary_files(const std::string& folder);

/// Whole file. Throws IoError.
std::string read_file(const std::string& path);

/// False only when there is nothing: throws IoError when the disk or the permissions do not let us know, for what
/// cannot be seen is not to be taken for missing.
bool path_exists(const std::string& path);

/// Names of what is in a folder, sorted; none when there is no such folder. Throws IoError when it cannot be listed.
std::vector<std::string> list_folder(const std::string& path);

/// Makes a folder and its missing parents, each of them on disk before the next. Throws IoError.
void make_folders(const std::string& path);

/// Makes a new folder and syncs its parent, which exists. Returns false, and changes nothing, when there is something
/// of that name. Throws IoError.
bool make_new_folder(const std::string& path);

/// The folder that a path lies in; "." when it names none.
std::string folder_of(const std::string& path);

/// "runs/a/" -> "runs/a".
std::string without_slash(std::string folder);

}  // namespace headscope::experiments
