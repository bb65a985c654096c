#include "autograd/profile.h"

#include <algorithm>

namespace headscope {

Profile::Profile() : outer_(current_), last_(Clock::now()) { current_ = this; }

Profile::~Profile() {
    current_ = outer_;
    if (outer_ != nullptr) outer_->last_ = Clock::now();
}

void Profile::add(Phase phase, std::string_view name) {
    auto& totals = totals_[static_cast<std::size_t>(phase)];
    auto place = totals.find(name);
    if (place == totals.end()) place = totals.emplace(name, Total{}).first;
    const Clock::time_point now = Clock::now();
    ++place->second.count;
    place->second.time += now - last_;
    last_ = now;
}

std::vector<Profile::Row> Profile::rows() const {
    std::vector<Row> rows;
    for (const Phase phase : {Phase::forward, Phase::backward, Phase::other})
        for (const auto& [name, total] : totals_[static_cast<std::size_t>(phase)])
            rows.push_back({name, phase, total.count, std::chrono::duration<double>(total.time).count()});
    std::stable_sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.seconds > b.seconds; });
    return rows;
}

}  // namespace headscope
