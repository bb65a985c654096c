// A file of data that a config names. A run can be moved, with its data or without: its config notes, besides the path
// as it was given, where that was, so that the file is found again.
//
//   [task]
//   path = "t.txt"                        as given; relative paths start at the working folder
//   absolute_path = "/home/me/t.txt"      where the file was; noted by the run, no user need give it
//
// Neither says what a run is; what the file holds does (Task::data_sha256()).
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace headscope::experiments {

struct DataPath {
    std::string given;     ///< empty: there is no such file
    std::string absolute;  ///< empty: not noted yet
    std::string moved;     ///< where it is if it has moved together with its run (find_moved_data()); empty: not known

    /// Where the file may be, absolute, in the order in which it is looked for: as given, as noted, moved. Each place
    /// once.
    std::vector<std::string> places() const;
    /// The first place where there is something. Throws IoError when the disk does not let us know.
    std::optional<std::string> found() const;
    /// The same, and an error when there is none: it begins with `task`, lists the places, and ends with `key`=FILE
    /// and `mend`. IoError, or UsageError when no file is given.
    std::string require(const std::string& task, const std::string& key, const std::string& mend = "") const;
    /// Forgets what was noted of another file: a note counts only when its file has the name of the given one.
    void drop_foreign_notes();
};

}  // namespace headscope::experiments
