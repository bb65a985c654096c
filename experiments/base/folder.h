// An open folder, by its handle. What is done through it is done in this very folder, whatever its path names
// meanwhile: a run whose folder was moved or replaced never writes into another's.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "experiments/base/files.h"

namespace headscope::experiments {

/// Every function throws IoError with the path and the reason. Names are those of files in the folder; links are not
/// followed. A copy is the same open folder.
class Folder {
public:
    /// Opens the folder at `path`, which may be a link.
    explicit Folder(std::string path);
    /// The folder that a file lies in. Throws with the path of the file, which "cannot be written".
    static Folder of_file(const std::string& path);

    /// The folder `name` in this one; nothing when it is missing.
    std::optional<Folder> find_subfolder(const std::string& name) const;
    /// The same, made when it is missing.
    Folder subfolder(const std::string& name) const;

    /// Where it was when it was opened.
    const std::string& path() const { return path_; }
    /// Of a file in it, for messages and for readers.
    std::string path_of(const std::string& name) const { return path_ + "/" + name; }
    int descriptor() const { return *file_; }

    /// Does its path still name this folder?
    bool is_in_place() const;
    /// Throws when it, or that of the folder it is in, does not, and says where the folder is now.
    void require_in_place() const;
    /// IoError "path: what: reason; mend" about a file in it, or that the folder is not in place. `error`: an errno.
    [[noreturn]] void fail(const std::string& name, const char* what, int error) const;
    /// Where it is now; nothing when it was removed, or the kernel does not tell.
    std::optional<std::string> place() const;

    /// openat(2), again on EINTR, closed in child processes; negative and errno when it fails.
    Descriptor open(const std::string& name, int flags) const;
    /// Names of what is in it, sorted.
    std::vector<std::string> list() const;
    /// Puts a file in the place of another. What has been renamed lasts after sync().
    void rename(const std::string& from, const std::string& to) const;
    /// Removes a file, or a link; false when there is none.
    bool remove(const std::string& name) const;
    /// A new file or another name survives a power cut only when the folder is on disk as well.
    void sync() const;

private:
    Folder(std::string path, Descriptor file, std::shared_ptr<const Folder> above = nullptr);

    std::string path_;
    std::shared_ptr<Descriptor> file_;
    std::shared_ptr<const Folder> above_;  ///< what it is a subfolder of
};

}  // namespace headscope::experiments
