// HDF5 behind one class. Groups, datasets and attributes are named by absolute path ("/heads/overlap/value").
//
// Every function throws IoError when HDF5 does, with the file, the path and HDF5's innermost reason; HDF5 itself prints
// nothing. No object carries a time stamp, so equal contents made in equal order are equal bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

namespace headscope::experiments::hdf5 {

/// Sizes of the axes; empty for a scalar.
using Dims = std::vector<std::int64_t>;

enum class Type { f32, f64, i64, text, other };

/// The Type of float, double or std::int64_t.
template <class T>
constexpr Type type_of() {
    if constexpr (std::is_same_v<T, float>) return Type::f32;
    else if constexpr (std::is_same_v<T, double>) return Type::f64;
    else {
        static_assert(std::is_same_v<T, std::int64_t>, "datasets hold float, double or std::int64_t");
        return Type::i64;
    }
}

/// How the values lie in the file: in one piece, or chunked with shuffle, deflate and fletcher32.
enum class Layout { contiguous, compressed };

struct DatasetInfo {
    Dims shape;
    Type type;      ///< `other` for any type that is not exactly one of ours (int32, big endian, compound, ...)
    bool integers;  ///< of any size and byte order, signed or not: what can be read as std::int64_t
    bool growing;   ///< the first axis is unlimited
};

class Handle;
class Overlay;

class File {
public:
    /// Empty, in memory. `user_block` bytes before it (0, or 512, 1024, ...) are left to the caller: image() starts
    /// behind them. Memory is taken in steps of `growth` bytes, each of which may copy the whole file.
    static File create_in_memory(std::int64_t user_block = 0, std::size_t growth = 1 << 20);
    /// The bytes of a whole file, copied; `name` names it in messages. Changes stay in memory.
    static File open_image(std::span<const std::byte> image, const std::string& name, bool writable = false);
    /// A file on disk, read only.
    static File open(const std::string& path);
    /// A new file, and one that is there, changed through an overlay, which must outlive it.
    static File create_in(Overlay& overlay, const std::string& name);
    static File open_in(Overlay& overlay, const std::string& name);
    File(File&& other) noexcept;
    ~File();
    /// Throws IoError when HDF5 cannot close it.
    void close();

    /// The bytes of the file as they would be on disk were it closed now, without the user block.
    std::vector<std::byte> image() const;

    // --- structure ---

    bool has_group(const std::string& path) const;
    bool has_dataset(const std::string& path) const;
    /// Makes the group and its parents; nothing to do when it is there.
    void make_group(const std::string& path);
    /// Names in a group, sorted. Throws IoError on links that could lead out of the file.
    std::vector<std::string> children(const std::string& group) const;
    void remove(const std::string& path);

    // --- attributes of a group or dataset; setting again overwrites ---

    bool has_attribute(const std::string& path, const std::string& name) const;
    void set_attribute(const std::string& path, const std::string& name, const std::string& value);
    void set_attribute(const std::string& path, const std::string& name, std::int64_t value);
    void set_attribute(const std::string& path, const std::string& name, double value);
    std::string text_attribute(const std::string& path, const std::string& name) const;
    std::int64_t integer_attribute(const std::string& path, const std::string& name) const;
    double number_attribute(const std::string& path, const std::string& name) const;
    /// Reads every attribute that is a single string, the only ones that lie scattered in a file.
    void check_attributes(const std::string& path) const;
    /// Attributes `units` and `long_name`.
    void describe(const std::string& path, const std::string& units, const std::string& long_name);

    // --- datasets; parents are made as needed ---

    DatasetInfo info(const std::string& path) const;
    /// A new dataset. Throws IoError when the path is taken.
    template <class T>
    void write(const std::string& path, const Dims& shape, std::span<const T> values,
               Layout layout = Layout::contiguous) {
        write_values(path, type_of<T>(), shape, values.data(), values.size(), layout);
    }
    void write_text(const std::string& path, const std::string& text);
    void write_texts(const std::string& path, const std::vector<std::string>& texts,
                     Layout layout = Layout::contiguous);

    /// All values, row-major. Integers of any size are read as std::int64_t, those beyond its range as its nearest end,
    /// and floats of any size as float or double; integers are never read as floats nor floats as integers. A shape
    /// larger than what the file can hold is refused before memory is taken for it.
    template <class T>
    std::vector<T> read(const std::string& path) const {
        std::vector<T> values;
        read_values(path, type_of<T>(), [&](std::size_t count) {
            values.resize(count);
            return static_cast<void*>(values.data());
        });
        return values;
    }
    /// The same into memory of just that size.
    template <class T>
    void read_into(const std::string& path, std::span<T> values) const {
        read_values(path, type_of<T>(), [&](std::size_t count) {
            require_count(path, count, values.size());
            return static_cast<void*>(values.data());
        });
    }
    /// The same as they are stored: `room` gives memory for all values of a shape and type, or throws what refuses
    /// them. The dataset is opened once.
    void read_stored(const std::string& path, const std::function<void*(const DatasetInfo&)>& room) const;
    /// All values of a dataset of integers with one axis, in order, as spans of some hundred thousand, or of a chunk
    /// where that is more. So they need not be in memory at once.
    void read_pieces(const std::string& path, const std::function<void(std::span<const std::int64_t>)>& take) const;
    std::string read_text(const std::string& path) const;
    std::vector<std::string> read_texts(const std::string& path) const;
    /// Reads a dataset of any of our types, for the sake of its checksums.
    void check_readable(const std::string& path) const;

    // --- datasets that grow along their first axis: compressed, with zero rows at first ---

    void create_growing(const std::string& path, Type type, const Dims& row_shape);
    /// Appends values.size() / (size of a row) rows.
    template <class T>
    void append_rows(const std::string& path, std::span<const T> values) {
        append_values(path, type_of<T>(), values.data(), values.size());
    }
    void append_texts(const std::string& path, std::span<const std::string> texts);
    /// Drops all but the first `rows` rows.
    void truncate_rows(const std::string& path, std::int64_t rows);

    // --- dimension scales ---

    /// Turns a one-dimensional dataset into a scale.
    void make_scale(const std::string& path, const std::string& name);
    /// Attaches a scale to an axis and labels the axis with the scale's name.
    void attach_scale(const std::string& dataset, int axis, const std::string& scale);
    /// The labels of a dataset's axes, which attach_scale() gives; "" for an axis without one.
    std::vector<std::string> scale_names(const std::string& dataset) const;

private:
    File(std::int64_t id, std::string name, const Overlay* overlay = nullptr);
    static File create(std::int64_t user_block, const Handle& access, const std::string& name,
                       const Overlay* overlay = nullptr);
    [[noreturn]] void fail(const std::string& path, const std::string& what) const;
    /// Wraps an id that HDF5 returned; throws when it stands for an error.
    Handle own(std::int64_t id, int (*close)(std::int64_t), const std::string& path, const char* what) const;
    /// Throws when `status` is negative.
    void check(std::int64_t status, const std::string& path, const char* what) const;
    bool exists(const std::string& path) const;
    Handle open_object(const std::string& path) const;
    Handle open_dataset(const std::string& path) const;
    DatasetInfo info(const Handle& dataset, const std::string& path) const;
    void make_parent(const std::string& path);
    void write_attribute(const std::string& path, const std::string& name, Type type, const void* value);
    void read_attribute(const std::string& path, const std::string& name, Type type, void* value) const;
    /// Number of values; throws when the file cannot hold so many.
    std::size_t count_values(const Handle& dataset, const DatasetInfo& info, const std::string& path) const;
    void require_count(const std::string& path, std::size_t count, std::size_t wanted) const;
    void write_values(const std::string& path, Type type, const Dims& shape, const void* values, std::size_t count,
                      Layout layout);
    void read_values(const std::string& path, Type type, const std::function<void*(std::size_t count)>& room) const;
    void append_values(const std::string& path, Type type, const void* values, std::size_t count);

    std::int64_t id_;
    std::string name_;
    const Overlay* overlay_ = nullptr;  ///< knows better why a read failed
};

}  // namespace headscope::experiments::hdf5
