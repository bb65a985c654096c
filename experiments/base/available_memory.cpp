#include "experiments/base/available_memory.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <sstream>
#include <string_view>

namespace headscope::experiments {

namespace {

/// The number behind a name at the beginning of a line, with or without a colon; nothing when there is none.
std::optional<double> number_of(const std::string& path, std::string_view name) {
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) {
        std::istringstream words(line);
        std::string word;
        double number = 0;
        if (words >> word && (word == name || word == std::string(name) + ":") && words >> number) return number;
    }
    return std::nullopt;
}

/// The number that a file holds; nothing for "max" and when there is no such file.
std::optional<double> number_in(const std::string& path) {
    std::ifstream file(path);
    double number = 0;
    return file >> number ? std::optional(number) : std::nullopt;
}

/// What a version of cgroups calls its files.
struct Names {
    const char *type, *controller;  ///< of its file system; in the list of a process, empty for all of them
    const char *limit, *in_use, *droppable;
};
constexpr std::array<Names, 2> versions{
    Names{"cgroup2", "", "/memory.max", "/memory.current", "inactive_file"},
    Names{"cgroup", "memory", "/memory.limit_in_bytes", "/memory.usage_in_bytes", "total_inactive_file"}};

/// The process's group: "/user.slice/job" of a line "0::/user.slice/job" or "4:cpu,memory:/user.slice/job".
std::optional<std::string> group_of(const Names& names, const std::string& root) {
    std::ifstream file(root + "/proc/self/cgroup");
    for (std::string line; std::getline(file, line);) {
        const std::size_t first = line.find(':'), second = line.find(':', first + 1);
        if (first == std::string::npos || second == std::string::npos) continue;
        std::istringstream controllers(line.substr(first + 1, second - first - 1) + ",");
        for (std::string controller; std::getline(controllers, controller, ',');)
            if (controller == names.controller) return line.substr(second + 1);
    }
    return std::nullopt;
}

/// Where its groups are folders, and which group the first of these is: in a container not always the topmost.
struct Mount {
    std::string point, group;
};

std::optional<Mount> mount_of(const Names& names, const std::string& root) {
    std::ifstream file(root + "/proc/self/mountinfo");
    for (std::string line; std::getline(file, line);) {  // "35 31 0:32 /group /point rw - cgroup cgroup rw,memory"
        const std::size_t dash = line.find(" - ");
        if (dash == std::string::npos) continue;
        std::istringstream before(line.substr(0, dash)), after(line.substr(dash + 3));
        std::string skipped, type, source, options;
        Mount mount;
        before >> skipped >> skipped >> skipped >> mount.group >> mount.point;
        after >> type >> source >> options;
        const bool controls =
            ("," + options + ",").find(std::string(",") + names.controller + ",") != std::string::npos;
        if (type == names.type && (*names.controller == '\0' || controls)) return mount;
    }
    return std::nullopt;
}

/// Lowers `room` to what the process's groups leave.
void limit_by_groups(const Names& names, const std::string& root, std::optional<double>& room) {
    const std::optional<std::string> group = group_of(names, root);
    const std::optional<Mount> mount = mount_of(names, root);
    if (!group || !mount) return;
    std::string below = *group;  // the mount's own group
    if (mount->group != "/") below = below.starts_with(mount->group) ? below.substr(mount->group.size()) : "";
    while (below.ends_with('/')) below.pop_back();
    for (;;) {
        const std::string folder = root + mount->point + below;
        const std::optional<double> limit = number_in(folder + names.limit);
        if (limit) {
            const double used = number_in(folder + names.in_use).value_or(0);
            const double droppable = number_of(folder + "/memory.stat", names.droppable).value_or(0);
            const double left = std::max(*limit - std::max(used - droppable, 0.0), 0.0);
            room = std::min(room.value_or(left), left);
        }
        if (below.empty()) return;
        below.erase(below.rfind('/'));
    }
}

/// Lowers `room` to what a limit of the process leaves.
void limit_by(decltype(RLIMIT_AS) kind, double pages_taken, std::optional<double>& room) {
    rlimit limit{};
    if (::getrlimit(kind, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return;
    const double taken = pages_taken * static_cast<double>(::sysconf(_SC_PAGESIZE));
    const double left = std::max(static_cast<double>(limit.rlim_cur) - taken, 0.0);
    room = std::min(room.value_or(left), left);
}

}  // namespace

std::optional<double> available_memory(const std::string& root) {
    std::optional<double> room = number_of(root + "/proc/meminfo", "MemAvailable");
    if (room) *room *= 1024;
    for (const Names& names : versions) limit_by_groups(names, root, room);
    double size = 0, resident = 0, shared = 0, text = 0, unused = 0, data = 0;  // in pages
    std::ifstream("/proc/self/statm") >> size >> resident >> shared >> text >> unused >> data;
    limit_by(RLIMIT_AS, size, room);
    limit_by(RLIMIT_DATA, data, room);
    return room;
}

}  // namespace headscope::experiments
