// Lists of named things that source files add to before main() begins, so that adding one touches no list elsewhere.
// Code outside this repository adds to them in the same way, by being linked in or loaded.
//
// A kind of thing that a config chooses by `type = "..."` (attentions, tasks, optimizers, ...) is one class of
// settings:
//   class AttentionSettings {
//   public:
//       static constexpr KindText kind{"attention", "attentions", "how weights come from queries and keys"};
//       virtual void fields(Fields&) {}  // the keys that the type has of its own
//       ...
//   };
// One of the kind is a class derived from it and a line at the end of its source:
//   const RegisterType<AttentionSettings> registered_softmax("softmax", "what it is in one line",
//                                                            [] { return std::make_unique<SoftmaxSettings>(); });
// Sources of a folder may be compiled together (CMakeLists.txt), so the line and the class are named after the thing.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "autograd/error.h"

namespace headscope::experiments {

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

    /// Sorted.
    std::vector<std::string> names() const {
        std::vector<std::string> names;
        for (const Entry& entry : entries_) names.push_back(entry.name);
        return names;
    }

private:
    std::string kind_;
    std::vector<Entry> entries_;
};

/// What a kind of thing is called, and what it is in one line, for messages and `headscope list`.
struct KindText {
    const char* name;
    const char* plural;
    const char* doc;
};

/// One thing of a kind: its name in a config, what it is in one line, and its settings with their defaults.
template <class Settings>
struct Type {
    std::string name;
    std::string doc;
    std::function<std::unique_ptr<Settings>()> settings;
};

/// All of a kind. A local variable, so that it is there before the first RegisterType, whichever source that is in.
template <class Settings>
Registry<Type<Settings>>& registry() {
    static Registry<Type<Settings>> types(Settings::kind.name);
    return types;
}

/// All registered types of a kind, sorted by name.
template <class Settings>
const std::vector<Type<Settings>>& types() {
    return registry<Settings>().all();
}

/// Null when there is none of that name.
template <class Settings>
const Type<Settings>* find_type(const std::string& name) {
    return registry<Settings>().find(name);
}

template <class Settings>
struct RegisterType {
    RegisterType(std::string name, std::string doc, std::function<std::unique_ptr<Settings>()> settings) {
        registry<Settings>().add({std::move(name), std::move(doc), std::move(settings)});
    }
};

}  // namespace headscope::experiments
