// What the tests of tasks share: settings filled in by key, as the config reader does it, and files in a folder of
// their own.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <variant>
#include <vector>

#include "experiments/tasks/task.h"
#include "tests/experiments/temporary_folder.h"

namespace headscope::experiments {

using Value = std::variant<bool, std::int64_t, double, std::string>;

/// The settings of a type with `values` written over the defaults.
inline std::unique_ptr<TaskSettings> task_settings(const std::string& type,
                                                   const std::map<std::string, Value>& values) {
    auto settings = find_type<TaskSettings>(type)->settings();
    Fields fields;
    settings->fields(fields);
    for (const auto& [key, value] : values) {
        bool found = false;
        for (const Field& field : fields.list()) {
            if (field.key != key) continue;
            found = true;
            std::visit([&](const auto& v) { *static_cast<std::decay_t<decltype(v)>*>(field.value) = v; }, value);
        }
        if (!found) throw std::logic_error("no key " + key);
    }
    return settings;
}

inline std::unique_ptr<Task> build_task(const std::string& type, const std::map<std::string, Value>& values,
                                        std::uint64_t seed = 7) {
    return task_settings(type, values)->build(seed);
}

/// The message of the E that `body` throws; any other outcome is a failure.
template <class E, class Body>
std::string message_of(Body&& body) {
    try {
        body();
    } catch (const E& error) {
        return error.what();
    } catch (const std::exception& error) {
        ADD_FAILURE() << "another kind of error: " << error.what();
        return {};
    }
    ADD_FAILURE() << "no error";
    return {};
}

inline void expect_contains(const std::string& message, const std::vector<std::string>& parts) {
    for (const std::string& part : parts)
        EXPECT_NE(message.find(part), std::string::npos) << "'" << part << "' in: " << message;
}

inline std::vector<std::int64_t> values_of(const Tensor& tensor) {
    const auto values = tensor.values<std::int64_t>();
    return {values.begin(), values.end()};
}

/// A new folder for each test, removed after it.
class FileTest : public testing::Test {
protected:
    std::string path(const std::string& name) const { return temporary_.path(name); }
    std::string write(const std::string& name, const std::string& bytes) const {
        std::ofstream(path(name), std::ios::binary) << bytes;
        return path(name);
    }

    const TemporaryFolder temporary_;
    const std::string folder_ = temporary_.path();
};

}  // namespace headscope::experiments
