#include <fmt/format.h>
#include <hdf5_hl.h>

#include <algorithm>
#include <array>

#include "experiments/base/errors.h"
#include "experiments/storage/hdf5.h"
#include "experiments/storage/hdf5_handle.h"

namespace headscope::experiments::hdf5 {

namespace {

using Sizes = std::vector<hsize_t>;

Sizes sizes_of(const Dims& dims) { return Sizes(dims.begin(), dims.end()); }

hsize_t product(const Sizes& sizes) {
    hsize_t result = 1;
    for (const hsize_t size : sizes) result *= size;
    return result;
}

Handle make_space(const Sizes& sizes, const hsize_t* limits = nullptr) {
    if (sizes.empty()) return {H5Screate(H5S_SCALAR), H5Sclose};
    return {H5Screate_simple(static_cast<int>(sizes.size()), sizes.data(), limits), H5Sclose};
}

// Deflate's first level: the next ones take two to three times as long and save a few percent on noisy floats.
// HDF5 allows no fletcher32 on strings of variable length.
Handle creation_properties(Type type, const Sizes& chunk) {
    constexpr unsigned deflate_level = 1;
    Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    H5Pset_obj_track_times(creation, false);
    if (!chunk.empty()) {
        H5Pset_chunk(creation, static_cast<int>(chunk.size()), chunk.data());
        H5Pset_shuffle(creation);
        H5Pset_deflate(creation, deflate_level);
        if (type != Type::text) H5Pset_fletcher32(creation);
    }
    return creation;
}

Handle link_properties() {
    Handle link(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
    H5Pset_char_encoding(link, H5T_CSET_UTF8);
    return link;
}

// A chunk is what a publish compresses anew for each dataset that has grown: large enough to compress well, small
// enough that a log of a dozen metrics is published in milliseconds.
hsize_t rows_per_chunk(hsize_t row_bytes) {
    constexpr hsize_t chunk_bytes = 16 << 10, most_rows = 1024;
    return std::clamp<hsize_t>(chunk_bytes / std::max<hsize_t>(row_bytes, 1), 1, most_rows);
}

Type type_in_file(hid_t type) {
    for (const Type known : {Type::f32, Type::f64, Type::i64}) {
        if (H5Tequal(type, native_number(known)) > 0) return known;
    }
    return H5Tget_class(type) == H5T_STRING && H5Tis_variable_str(type) > 0 ? Type::text : Type::other;
}

std::vector<const char*> pointers(std::span<const std::string> texts) {
    std::vector<const char*> result;
    for (const std::string& text : texts) result.push_back(text.c_str());
    return result;
}

}  // namespace

Handle File::open_dataset(const std::string& path) const {
    Handle dataset = open_object(path);
    if (H5Iget_type(dataset) != H5I_DATASET) fail(path, "is not a dataset");
    return dataset;
}

DatasetInfo File::info(const std::string& path) const { return info(open_dataset(path), path); }

DatasetInfo File::info(const Handle& dataset, const std::string& path) const {
    const Handle space = own(H5Dget_space(dataset), H5Sclose, path, "has no shape");
    const Handle type = own(H5Dget_type(dataset), H5Tclose, path, "has no type");
    if (H5Sget_simple_extent_type(space) == H5S_NULL) fail(path, "holds nothing, not even a scalar");
    const int rank = H5Sget_simple_extent_ndims(space);
    check(rank, path, "has no shape");
    Sizes sizes(static_cast<std::size_t>(rank)), limits(sizes);
    check(H5Sget_simple_extent_dims(space, sizes.data(), limits.data()), path, "has no shape");
    return {Dims(sizes.begin(), sizes.end()), type_in_file(type), H5Tget_class(type) == H5T_INTEGER,
            rank > 0 && limits[0] == H5S_UNLIMITED};
}

// A damaged or hostile file may claim any shape. What is stored bounds it: as it is without filters, and by deflate's
// largest ratio (about 1032) with them.
std::size_t File::count_values(const Handle& dataset, const DatasetInfo& info, const std::string& path) const {
    constexpr std::size_t largest_ratio = 2048;
    const Handle type = own(H5Dget_type(dataset), H5Tclose, path, "has no type");
    bool filtered = false;
    if (H5Dget_offset(dataset) == HADDR_UNDEF) {  // else they lie in one piece in this file
        const Handle creation = own(H5Dget_create_plist(dataset), H5Pclose, path, "has no layout");
        if (H5Pget_layout(creation) == H5D_VIRTUAL || H5Pget_external_count(creation) > 0)
            fail(path, "keeps its values in another file");
        filtered = H5Pget_nfilters(creation) > 0;
    }
    hsize_t file_size = 0;
    check(H5Fget_filesize(id_, &file_size), path, "has no size");
    const hsize_t stored = H5Dget_storage_size(dataset);
    if (stored > file_size) fail(path, "claims more bytes than the file has");
    const std::size_t most = stored * (filtered ? largest_ratio : 1);

    std::size_t count = 1, bytes = 0;
    bool too_many = false;
    const Dims& shape = info.shape;
    if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return 0;
    for (const std::int64_t size : shape) {
        too_many = too_many || __builtin_mul_overflow(count, static_cast<std::size_t>(size), &count);
    }
    too_many = too_many || __builtin_mul_overflow(count, H5Tget_size(type), &bytes);
    if (too_many || bytes > most) {
        fail(path, fmt::format("has more values than are stored; its shape is {}",
                               fmt::format("[{}]", fmt::join(shape, ", "))));
    }
    return count;
}

void File::write_values(const std::string& path, Type type, const Dims& shape, const void* values, std::size_t count,
                        Layout layout) {
    const Sizes sizes = sizes_of(shape);
    if (product(sizes) != count) fail(path, fmt::format("takes {} values, not {}", product(sizes), count));
    make_parent(path);
    const Handle kind = native_type(type), space = make_space(sizes), link = link_properties();
    const bool chunked = layout == Layout::compressed && count > 0;
    const Handle creation = creation_properties(type, chunked ? sizes : Sizes{});
    const Handle dataset =
        own(H5Dcreate2(id_, path.c_str(), kind, space, link, creation, H5P_DEFAULT), H5Dclose, path, "cannot be made");
    if (count > 0) check(H5Dwrite(dataset, kind, H5S_ALL, H5S_ALL, H5P_DEFAULT, values), path, "cannot be written");
}

void File::write_text(const std::string& path, const std::string& text) {
    const char* pointer = text.c_str();
    write_values(path, Type::text, {}, &pointer, 1, Layout::contiguous);
}

void File::write_texts(const std::string& path, const std::vector<std::string>& texts, Layout layout) {
    const std::vector<const char*> values = pointers(texts);
    write_values(path, Type::text, {static_cast<std::int64_t>(texts.size())}, values.data(), values.size(), layout);
}

void File::require_count(const std::string& path, std::size_t count, std::size_t wanted) const {
    if (count != wanted) fail(path, fmt::format("has {} values, not {}", count, wanted));
}

void File::read_values(const std::string& path, Type type, const std::function<void*(std::size_t count)>& room) const {
    const Handle dataset = open_dataset(path), wanted = native_type(type);
    const Handle stored = own(H5Dget_type(dataset), H5Tclose, path, "has no type");
    if (H5Tget_class(stored) != H5Tget_class(wanted)) {
        fail(path, fmt::format("does not hold {}", type == Type::i64    ? "integers"
                                                   : type == Type::text ? "strings"
                                                                        : "floating-point numbers"));
    }
    const std::size_t count = count_values(dataset, info(dataset, path), path);
    void* const values = room(count);
    if (count > 0) check(H5Dread(dataset, wanted, H5S_ALL, H5S_ALL, H5P_DEFAULT, values), path, "cannot be read");
}

void File::read_stored(const std::string& path, const std::function<void*(const DatasetInfo&)>& room) const {
    const Handle dataset = open_dataset(path);
    const DatasetInfo found = info(dataset, path);
    const bool any = count_values(dataset, found, path) > 0;
    void* const values = room(found);
    if (any)
        check(H5Dread(dataset, native_number(found.type), H5S_ALL, H5S_ALL, H5P_DEFAULT, values), path,
              "cannot be read");
}

// Pieces are whole chunks, so that each is unpacked once, however large it is.
void File::read_pieces(const std::string& path, const std::function<void(std::span<const std::int64_t>)>& take) const {
    const Handle dataset = open_dataset(path), wanted = native_type(Type::i64);
    const DatasetInfo found = info(dataset, path);
    if (!found.integers || found.shape.size() != 1) fail(path, "does not hold integers along one axis");
    const Handle creation = own(H5Dget_create_plist(dataset), H5Pclose, path, "has no layout");
    const Handle all = own(H5Dget_space(dataset), H5Sclose, path, "has no shape");
    hsize_t chunk = 1;
    if (H5Pget_layout(creation) == H5D_CHUNKED) check(H5Pget_chunk(creation, 1, &chunk), path, "has no layout");
    constexpr hsize_t least = 1 << 18;
    const hsize_t count = count_values(dataset, found, path),
                  most = std::min((least + chunk - 1) / chunk * chunk, count);
    std::vector<std::int64_t> values(most);
    for (hsize_t first = 0, size = 0; first < count; first += size) {
        size = std::min(most, count - first);
        check(H5Sselect_hyperslab(all, H5S_SELECT_SET, &first, nullptr, &size, nullptr), path, "cannot be read");
        const Handle piece = make_space({size});
        check(H5Dread(dataset, wanted, piece, all, H5P_DEFAULT, values.data()), path, "cannot be read");
        take(std::span(values).first(size));
    }
}

std::vector<std::string> File::read_texts(const std::string& path) const {
    std::vector<char*> values;
    read_values(path, Type::text, [&](std::size_t count) {
        values.resize(count, nullptr);
        return static_cast<void*>(values.data());
    });
    std::vector<std::string> texts;
    for (char* value : values) {
        texts.emplace_back(value == nullptr ? "" : value);
        H5free_memory(value);
    }
    return texts;
}

std::string File::read_text(const std::string& path) const {
    const std::vector<std::string> texts = read_texts(path);
    if (texts.size() != 1) fail(path, fmt::format("is not a single string but {}", texts.size()));
    return texts[0];
}

void File::check_readable(const std::string& path) const {
    switch (info(path).type) {
        case Type::f32:
        case Type::f64: read<double>(path); break;
        case Type::i64: read<std::int64_t>(path); break;
        case Type::text: read_texts(path); break;
        case Type::other: break;
    }
}

void File::create_growing(const std::string& path, Type type, const Dims& row_shape) {
    const Handle kind = native_type(type);
    Sizes sizes = sizes_of(row_shape), limits = sizes, chunk = sizes;
    const hsize_t row_bytes = product(sizes) * H5Tget_size(kind);
    sizes.insert(sizes.begin(), 0);
    limits.insert(limits.begin(), H5S_UNLIMITED);
    for (hsize_t& size : chunk) size = std::max<hsize_t>(size, 1);  // a chunk has a size where an axis has none
    chunk.insert(chunk.begin(), rows_per_chunk(row_bytes));
    make_parent(path);
    const Handle space = make_space(sizes, limits.data()), link = link_properties(),
                 creation = creation_properties(type, chunk);
    own(H5Dcreate2(id_, path.c_str(), kind, space, link, creation, H5P_DEFAULT), H5Dclose, path, "cannot be made");
}

void File::append_values(const std::string& path, Type type, const void* values, std::size_t count) {
    const Handle dataset = open_dataset(path), kind = native_type(type);
    const DatasetInfo before = info(dataset, path);
    Sizes first(before.shape.size(), 0), sizes = sizes_of(before.shape);
    if (!before.growing || before.type != type) fail(path, "cannot grow by such values");
    first[0] = sizes[0];
    sizes[0] = 1;
    const hsize_t row = product(sizes);
    if (row == 0 || count % row != 0)
        fail(path, fmt::format("has rows of {} values; {} are not whole rows", row, count));
    if (count == 0) return;
    sizes[0] = first[0] + count / row;
    check(H5Dset_extent(dataset, sizes.data()), path, "cannot grow");
    sizes[0] = count / row;
    const Handle target = own(H5Dget_space(dataset), H5Sclose, path, "has no shape"), source = make_space(sizes);
    check(H5Sselect_hyperslab(target, H5S_SELECT_SET, first.data(), nullptr, sizes.data(), nullptr), path,
          "cannot grow");
    check(H5Dwrite(dataset, kind, source, target, H5P_DEFAULT, values), path, "cannot be written");
}

void File::append_texts(const std::string& path, std::span<const std::string> texts) {
    const std::vector<const char*> values = pointers(texts);
    append_values(path, Type::text, values.data(), values.size());
}

void File::truncate_rows(const std::string& path, std::int64_t rows) {
    const Handle dataset = open_dataset(path);
    const DatasetInfo before = info(dataset, path);
    if (!before.growing || rows > before.shape[0]) fail(path, fmt::format("cannot be cut to {} rows", rows));
    Sizes sizes = sizes_of(before.shape);
    sizes[0] = static_cast<hsize_t>(rows);
    check(H5Dset_extent(dataset, sizes.data()), path, "cannot shrink");
}

void File::make_scale(const std::string& path, const std::string& name) {
    check(H5DSset_scale(open_dataset(path), name.c_str()), path, "cannot become a dimension scale");
}

void File::attach_scale(const std::string& dataset, int axis, const std::string& scale) {
    const Handle target = open_dataset(dataset), source = open_dataset(scale);
    const auto index = static_cast<unsigned>(axis);
    const std::string label = scale.substr(scale.rfind('/') + 1);
    check(H5DSattach_scale(target, source, index), dataset, "cannot take a dimension scale");
    check(H5DSset_label(target, index, label.c_str()), dataset, "cannot take an axis label");
}

std::vector<std::string> File::scale_names(const std::string& dataset) const {
    const Handle handle = open_dataset(dataset);
    std::vector<std::string> names;
    for (std::size_t axis = 0; axis < info(dataset).shape.size(); ++axis) {
        std::array<char, 256> label{};
        const auto length = H5DSget_label(handle, static_cast<unsigned>(axis), label.data(), label.size());
        check(length, dataset, "has an axis whose label cannot be read");
        names.emplace_back(label.data());
    }
    return names;
}

}  // namespace headscope::experiments::hdf5
