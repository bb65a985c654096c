#include "experiments/storage/log_comparison.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <string_view>
#include <type_traits>
#include <vector>

namespace headscope::experiments {
namespace {

constexpr std::array<std::string_view, 4> of_the_clock{"elapsed", "time", "tokens_per_second", "peak_memory"};

/// Groups that hold a series in both.
std::vector<std::string> common_groups(const hdf5::File& a, const hdf5::File& b) {
    std::vector<std::string> groups;
    const auto add = [&](const std::string& group) {
        const std::string tokens = group + "/tokens";  // of /attention: maps of other samples are another series
        if (a.has_dataset(tokens) && b.has_dataset(tokens) && a.info(tokens).shape != b.info(tokens).shape) return;
        if (group != "/events" && a.has_dataset(group + "/step") && b.has_dataset(group + "/step"))
            groups.push_back(group);
    };
    for (const std::string& name : a.children("/")) add("/" + name);
    if (a.has_group("/heads"))
        for (const std::string& name : a.children("/heads")) add("/heads/" + name);
    return groups;
}

/// Equal bits, or NaN both: "not measured" has many bit patterns of one meaning.
template <class T>
bool same_value(T a, T b) {
    if constexpr (std::is_floating_point_v<T>)
        if (std::isnan(a) && std::isnan(b)) return true;
    return std::memcmp(&a, &b, sizeof(T)) == 0;
}

class Comparer {
public:
    Comparer(const hdf5::File& a, const hdf5::File& b, std::int64_t from, std::int64_t to)
        : a_(a), b_(b), from_(from), to_(to) {}

    void compare_group(const std::string& group) {
        const auto steps_a = a_.read<std::int64_t>(group + "/step"), steps_b = b_.read<std::int64_t>(group + "/step");
        std::map<std::int64_t, std::size_t> row_in_b;
        for (std::size_t i = 0; i < steps_b.size(); ++i) row_in_b[steps_b[i]] = i;
        pairs_.clear();
        for (std::size_t i = 0; i < steps_a.size(); ++i) {
            const auto found = row_in_b.find(steps_a[i]);
            if (steps_a[i] >= from_ && steps_a[i] <= to_ && found != row_in_b.end())
                pairs_.push_back({steps_a[i], i, found->second});
        }
        if (pairs_.empty()) return;
        for (const std::string& name : a_.children(group)) {
            const std::string path = group + "/" + name;
            if (name == "step" || std::ranges::find(of_the_clock, name) != of_the_clock.end()) continue;
            if (a_.has_dataset(path) && b_.has_dataset(path) && a_.info(path).growing) compare_series(path);
        }
    }

    LogComparison result;

private:
    struct Pair {
        std::int64_t step;
        std::size_t row_a, row_b;
    };

    void compare_series(const std::string& path) {
        const hdf5::DatasetInfo a = a_.info(path), b = b_.info(path);
        ++result.series;
        if (a.type != b.type || !std::equal(a.shape.begin() + 1, a.shape.end(), b.shape.begin() + 1, b.shape.end())) {
            difference(path, pairs_.front().step, "type or shape are others");
            return;
        }
        switch (a.type) {
            case hdf5::Type::f32: return compare_values<float>(path, a.shape);
            case hdf5::Type::f64: return compare_values<double>(path, a.shape);
            case hdf5::Type::i64: return compare_values<std::int64_t>(path, a.shape);
            default: return;
        }
    }

    template <class T>
    void compare_values(const std::string& path, const hdf5::Dims& shape) {
        const std::vector<T> a = a_.read<T>(path), b = b_.read<T>(path);
        const std::size_t row = a.size() / static_cast<std::size_t>(shape[0]);
        for (const Pair& pair : pairs_) {
            ++result.rows;
            const T *left = a.data() + pair.row_a * row, *right = b.data() + pair.row_b * row;
            for (std::size_t i = 0; i < row; ++i) {
                if (same_value(left[i], right[i])) continue;
                difference(path, pair.step, fmt::format("{} and {}", left[i], right[i]));
                break;
            }
        }
    }

    void difference(const std::string& path, std::int64_t step, const std::string& what) {
        ++result.different;
        if (step >= first_step_) return;
        first_step_ = step;
        result.first = fmt::format("{} at step {}: {}", path, step, what);
    }

    const hdf5::File &a_, &b_;
    std::int64_t from_, to_;
    std::vector<Pair> pairs_;
    std::int64_t first_step_ = std::numeric_limits<std::int64_t>::max();
};

}  // namespace

LogComparison compare_rows(const hdf5::File& a, const hdf5::File& b, std::int64_t from, std::int64_t to) {
    Comparer comparer(a, b, from, to);
    for (const std::string& group : common_groups(a, b)) comparer.compare_group(group);
    return comparer.result;
}

}  // namespace headscope::experiments
