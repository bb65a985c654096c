// A list of named things that source files add to before main() begins, so that adding one touches no list elsewhere;
// code outside this repository adds to it in the same way, by being linked in.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "autograd/error.h"

namespace headscope {

/// `Entry` has a member `name`.
template <class Entry>
class Registry {
public:
    /// `kind` ("optimizer") is for messages.
    explicit Registry(std::string kind) : kind_(std::move(kind)) {}

    /// Throws Error when there is one of that name.
    void add(Entry entry) {
        const auto place = std::ranges::lower_bound(entries_, entry.name, {}, &Entry::name);
        if (place != entries_.end() && place->name == entry.name)
            throw Error(kind_ + ": '" + entry.name + "' is registered twice; rename one");
        entries_.insert(place, std::move(entry));
    }

    /// Sorted by name.
    const std::vector<Entry>& all() const { return entries_; }

    /// Null when there is none of that name.
    const Entry* find(const std::string& name) const {
        const auto found = std::ranges::find(entries_, name, &Entry::name);
        return found == entries_.end() ? nullptr : &*found;
    }

private:
    std::string kind_;
    std::vector<Entry> entries_;
};

}  // namespace headscope
