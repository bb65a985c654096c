#include "experiments/base/available_memory.h"

#include <fstream>
#include <string>

namespace headscope::experiments {

std::optional<double> available_memory() {
    std::ifstream file("/proc/meminfo");
    std::string name, unit;
    double kibibytes = 0;
    while (file >> name >> kibibytes) {
        if (name == "MemAvailable:") return kibibytes * 1024;
        std::getline(file, unit);
    }
    return std::nullopt;
}

}  // namespace headscope::experiments
