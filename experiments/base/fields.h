// Declared config keys. A struct of settings lists its keys once, in `fields(Fields&)`; from that list come reading
// with checks, writing the resolved config, and `headscope describe`.
//
//   struct SgdSettings {
//       double momentum = 0;
//       void fields(Fields& f) { f.real("momentum", momentum, "share of the last step kept", {.min = 0, .below = 1}); }
//   };
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "experiments/base/data_path.h"

namespace headscope::experiments {

struct IntegerRange {
    std::int64_t min = std::numeric_limits<std::int64_t>::min();
    std::int64_t max = std::numeric_limits<std::int64_t>::max();
};

/// NaN and infinity are never in range.
struct RealRange {
    double min = -std::numeric_limits<double>::infinity();    ///< inclusive
    double above = -std::numeric_limits<double>::infinity();  ///< exclusive
    double max = std::numeric_limits<double>::infinity();     ///< inclusive
    double below = std::numeric_limits<double>::infinity();   ///< exclusive
};

/// One declared key, bound to a member of a settings struct.
struct Field {
    enum class Kind { integer, real, boolean, text, choice, text_list, integer_table };
    std::string key;
    Kind kind = Kind::integer;
    std::string doc;
    void* value = nullptr;  ///< std::int64_t, double, bool, std::string, std::vector<std::string>, map
    IntegerRange integer_range{};
    RealRange real_range{};
    std::vector<std::string> choices;  ///< of choice and text_list
    bool required = false;
    /// Of the two keys that say where a file of data is: the path given, and what a run notes of it.
    DataPath* data_path = nullptr;
    /// A choice between types with keys of their own: a table of these keys and `type` may stand in its place.
    bool typed = false;
    bool* given = nullptr;  ///< set to whether the file or the command line gave the key
};

/// A value below its own range stands for one that is not set: another key decides, or it is known only later. It is
/// not written out.
bool is_unset(const Field& field);

/// Does the key name a file of data as the user gave it?
bool is_given_path(const Field& field);
/// Is it what a run notes of where that file was? Not set when there is nothing to note.
bool is_noted_path(const Field& field);

/// Something wrong between the keys of one table.
struct KeyProblem {
    std::string key;  ///< the key it is about, without its table
    std::string message;
};

/// Collects the keys of one table.
class Fields {
public:
    Field& integer(std::string key, std::int64_t& value, std::string doc, IntegerRange range = {});
    Field& real(std::string key, double& value, std::string doc, RealRange range = {});
    Field& boolean(std::string key, bool& value, std::string doc);
    Field& text(std::string key, std::string& value, std::string doc);
    /// A string that must be one of `choices`.
    Field& choice(std::string key, std::string& value, std::vector<std::string> choices, std::string doc);
    /// A list of strings, each one of `choices`, none twice.
    Field& text_list(std::string key, std::vector<std::string>& value, std::vector<std::string> choices,
                     std::string doc);
    /// A table whose keys are `choices` and whose values are integers of `range` ([log.probes]).
    Field& integer_table(std::string key, std::map<std::string, std::int64_t>& value, std::vector<std::string> choices,
                         std::string doc, IntegerRange range = {});

    /// A file of data: `key` as given, and `absolute_<key>`, which a run notes itself. Returns the first.
    Field& path(const std::string& key, DataPath& value, std::string doc);

    const std::vector<Field>& list() const { return fields_; }

private:
    std::vector<Field> fields_;
};

}  // namespace headscope::experiments
