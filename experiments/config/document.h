// A config as a tree of values that know where they were written: what is read from a TOML file, with what the command
// line sets on top. No other file sees the TOML library.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace headscope::experiments {

/// Where something was written, in the order in which problems are listed: the file, then each override.
struct SourcePosition {
    int source = 0;  ///< 0: the file; n: the n-th override
    std::uint32_t line = 1, column = 1;
    std::string text;  ///< "run.toml:3:5" or "command line: model.d_model=x"
};

/// Everything wrong with a config, collected so that all of it is reported at once.
class Problems {
public:
    /// How many of them raise() lists.
    static constexpr std::size_t shown = 20;

    void add(const SourcePosition& place, const std::string& message) { list_.push_back({place, message}); }
    bool empty() const { return list_.empty(); }
    /// So many that this one will hardly be listed: looking for what may have been meant instead is not worth its time.
    bool crowded() const { return list_.size() >= 50 * shown; }
    /// Throws UsageError, a line per problem in the order of their places, unless there is none. When there are more
    /// than `shown`, a last line has the number of the others.
    void raise() const;

private:
    struct Problem {
        SourcePosition place;
        std::string message;
    };
    std::vector<Problem> list_;
};

struct TomlValue {
    enum class Kind { integer, real, boolean, text, date, list, table, unset };
    Kind kind = Kind::table;
    std::int64_t integer = 0;
    double real = 0;
    bool boolean = false;
    std::string text;                 ///< of text
    std::vector<TomlValue> items;     ///< of a list, or of a table in the order of the text
    std::string key;                  ///< of an item of a table
    SourcePosition key_place, place;  ///< of the key and of the value
    bool from_override = false;
    std::string raw;            ///< from the command line: the value as typed
    std::string syntax_error;   ///< from the command line: why `raw`, now text, is not TOML; else empty
    std::string not_a_number;   ///< of digits that no number stands for: "1e400 is beyond the largest number, ..."
    bool replaces = false;      ///< from the command line: the file has the key too
    std::string replaced_text;  ///< the file's value, if that is a string or a table with a `type`
    std::vector<std::string> replaced_keys;  ///< the keys of the file's table, without `type`

    /// The item of a table with that key, or null.
    const TomlValue* find(const std::string& key) const;
    TomlValue* find(const std::string& key);
};

/// "the integer 5", "the string \"abc\"", "a list": what a value is, for messages.
std::string describe(const TomlValue& value);
/// The value as one would type it on a command line.
std::string spell(const TomlValue& value);

/// The table that `text` holds; `path` names it in places. A syntax error becomes a problem and an empty table.
TomlValue parse_document(const std::string& text, const std::string& path, Problems& problems);

/// Sets every "model.d_model=32" in `root`, whole tables before their keys. A value that is not TOML is taken as an
/// unquoted string. "model.d_model=" leaves a value of kind `unset`: the key counts as not given. The string at a path
/// of `typed` ("model.attention") becomes a table of one item, `type`, when a key inside it is set.
void apply_overrides(TomlValue& root, const std::vector<std::string>& overrides, const std::vector<std::string>& typed,
                     Problems& problems);

}  // namespace headscope::experiments
