#include "experiments/storage/hdf5.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <utility>

#include "experiments/base/errors.h"
#include "experiments/storage/hdf5_handle.h"
#include "experiments/storage/hdf5_overlay.h"

namespace headscope::experiments::hdf5 {

namespace {

void silence_hdf5() {
    thread_local const bool silenced = H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr) >= 0;
    static_cast<void>(silenced);
}

// The stack of errors runs from the call that we made down to the spot that failed; the latter knows why.
std::string innermost_error() {
    std::string text;
    const auto take_first = [](unsigned, const H5E_error2_t* error, void* out) -> herr_t {
        auto& reason = *static_cast<std::string*>(out);
        if (reason.empty() && error->desc != nullptr) reason = error->desc;
        return 0;
    };
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, take_first, &text);
    return text;
}

// Two files in memory that share a name are one file to HDF5, whichever threads made them.
std::string unique_name() {
    static std::atomic<int> count = 0;
    return fmt::format("headscope-memory-{}", ++count);
}

[[noreturn]] void fail_to_open(const std::string& name) {
    throw IoError(fmt::format("{}: cannot be opened as an HDF5 file: {}", name, innermost_error()));
}

Handle properties(hid_t kind) { return {H5Pcreate(kind), H5Pclose}; }

Handle memory_access(std::size_t growth) {
    Handle access = properties(H5P_FILE_ACCESS);
    H5Pset_fapl_core(access, growth, false);
    return access;
}

// Objects in the format of HDF5 1.8: every tool reads it, and their headers carry checksums. The superblock stays in
// the oldest format, since H5Fget_file_image changes a newer one without renewing its checksum (HDFGroup/hdf5 #1915).
void write_version_18(hid_t file) { H5Fset_libver_bounds(file, H5F_LIBVER_V18, H5F_LIBVER_V18); }

}  // namespace

hid_t native_number(Type type) {
    switch (type) {
        case Type::f32: return H5T_NATIVE_FLOAT;
        case Type::f64: return H5T_NATIVE_DOUBLE;
        case Type::i64: return H5T_NATIVE_INT64;
        default: return H5I_INVALID_HID;
    }
}

Handle native_type(Type type) {
    if (const hid_t number = native_number(type); number >= 0) return {H5Tcopy(number), H5Tclose};
    Handle text(H5Tcopy(H5T_C_S1), H5Tclose);
    H5Tset_size(text, H5T_VARIABLE);
    H5Tset_cset(text, H5T_CSET_UTF8);
    return text;
}

File::File(std::int64_t id, std::string name, const Overlay* overlay)
    : id_(id), name_(std::move(name)), overlay_(overlay) {}

File::File(File&& other) noexcept
    : id_(std::exchange(other.id_, -1)), name_(std::move(other.name_)), overlay_(other.overlay_) {}

File::~File() {
    if (id_ >= 0) H5Fclose(id_);
}

void File::close() {
    if (id_ >= 0) check(H5Fclose(std::exchange(id_, -1)), "/", "cannot be closed");
}

File File::create(std::int64_t user_block, const Handle& access, const std::string& name, const Overlay* overlay) {
    silence_hdf5();
    const Handle creation = properties(H5P_FILE_CREATE);
    H5Pset_userblock(creation, static_cast<hsize_t>(user_block));
    H5Pset_obj_track_times(creation, false);
    const hid_t id = H5Fcreate(unique_name().c_str(), H5F_ACC_TRUNC, creation, access);
    if (id < 0) fail_to_open(name);
    write_version_18(id);
    return {id, name, overlay};
}

File File::create_in_memory(std::int64_t user_block, std::size_t growth) {
    return create(user_block, memory_access(growth), "new file in memory");
}

File File::create_in(Overlay& overlay, const std::string& name) {
    return create(0, overlay_access(overlay), name, &overlay);
}

File File::open_in(Overlay& overlay, const std::string& name) {
    silence_hdf5();
    const hid_t id = H5Fopen(unique_name().c_str(), H5F_ACC_RDWR, overlay_access(overlay));
    overlay.check();
    if (id < 0) fail_to_open(name);
    write_version_18(id);
    return {id, name, &overlay};
}

File File::open_image(std::span<const std::byte> image, const std::string& name, bool writable) {
    silence_hdf5();
    const Handle access = memory_access(1 << 20);
    // HDF5 takes a pointer to non-const and copies from it.
    H5Pset_file_image(access, const_cast<std::byte*>(image.data()), image.size());
    const hid_t id = H5Fopen(unique_name().c_str(), writable ? H5F_ACC_RDWR : H5F_ACC_RDONLY, access);
    if (id < 0) fail_to_open(name);
    if (writable) write_version_18(id);
    return {id, name};
}

File File::open(const std::string& path) {
    silence_hdf5();
    const hid_t id = H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
    if (id < 0) fail_to_open(path);
    return {id, path};
}

std::vector<std::byte> File::image() const {
    check(H5Fflush(id_, H5F_SCOPE_GLOBAL), "/", "cannot be flushed");
    const ssize_t size = H5Fget_file_image(id_, nullptr, 0);
    check(size, "/", "has no image");
    std::vector<std::byte> bytes(static_cast<std::size_t>(size));
    check(H5Fget_file_image(id_, bytes.data(), bytes.size()), "/", "has no image");
    return bytes;
}

void File::fail(const std::string& path, const std::string& what) const {
    if (overlay_ != nullptr) overlay_->check();
    throw IoError(fmt::format("{}: {} {}", name_, path, what));
}

void File::check(std::int64_t status, const std::string& path, const char* what) const {
    if (status < 0) fail(path, fmt::format("{}: {}", what, innermost_error()));
}

Handle File::own(std::int64_t id, int (*close)(std::int64_t), const std::string& path, const char* what) const {
    check(id, path, what);
    return {id, close};
}

// H5Lexists is an error, not "no", when a parent is missing.
bool File::exists(const std::string& path) const {
    if (path == "/") return true;
    for (std::size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
        if (H5Lexists(id_, path.substr(0, slash).c_str(), H5P_DEFAULT) <= 0) return false;
        if (slash == std::string::npos) return true;
    }
}

Handle File::open_object(const std::string& path) const {
    const hid_t object = H5Oopen(id_, path.c_str(), H5P_DEFAULT);
    if (object >= 0) return {object, H5Oclose};
    const std::string reason = innermost_error();
    if (!exists(path)) fail(path, "is missing");
    fail(path, "cannot be opened: " + reason);
}

bool File::has_group(const std::string& path) const {
    return exists(path) && H5Iget_type(open_object(path)) == H5I_GROUP;
}

bool File::has_dataset(const std::string& path) const {
    return exists(path) && H5Iget_type(open_object(path)) == H5I_DATASET;
}

void File::make_group(const std::string& path) {
    if (has_group(path)) return;
    make_parent(path);
    const Handle link = properties(H5P_LINK_CREATE), creation = properties(H5P_GROUP_CREATE);
    H5Pset_char_encoding(link, H5T_CSET_UTF8);
    H5Pset_obj_track_times(creation, false);
    own(H5Gcreate2(id_, path.c_str(), link, creation, H5P_DEFAULT), H5Gclose, path, "cannot be made");
}

void File::make_parent(const std::string& path) { make_group(parent_of(path)); }

std::vector<std::string> File::children(const std::string& group) const {
    const Handle handle = open_object(group);
    // By one walk: to ask for the name of the n-th takes n steps.
    struct Found {
        std::vector<std::string> names;
        bool hard = true;
    } found;
    const auto add = [](hid_t, const char* name, const H5L_info_t* link, void* out) -> herr_t {
        auto& all = *static_cast<Found*>(out);
        all.names.emplace_back(name);
        all.hard = all.hard && link->type == H5L_TYPE_HARD;
        return 0;
    };
    if (H5Iget_type(handle) != H5I_GROUP) fail(group, "is not a group");
    check(H5Literate(handle, H5_INDEX_NAME, H5_ITER_INC, nullptr, add, &found), group, "cannot be listed");
    if (!found.hard) fail(group, "holds a soft or external link, which headscope never writes");
    return found.names;
}

void File::remove(const std::string& path) {
    check(H5Ldelete(id_, path.c_str(), H5P_DEFAULT), path, "cannot be removed");
}

bool File::has_attribute(const std::string& path, const std::string& name) const {
    return H5Aexists(open_object(path), name.c_str()) > 0;
}

void File::write_attribute(const std::string& path, const std::string& name, Type type, const void* value) {
    const Handle object = open_object(path), kind = native_type(type), space(H5Screate(H5S_SCALAR), H5Sclose);
    if (H5Aexists(object, name.c_str()) > 0) check(H5Adelete(object, name.c_str()), path, "attribute");
    const Handle creation = properties(H5P_ATTRIBUTE_CREATE);
    H5Pset_char_encoding(creation, H5T_CSET_UTF8);
    const Handle attribute = own(H5Acreate2(object, name.c_str(), kind, space, creation, H5P_DEFAULT), H5Aclose, path,
                                 ("cannot take attribute " + name).c_str());
    check(H5Awrite(attribute, kind, value), path, ("cannot take attribute " + name).c_str());
}

void File::read_attribute(const std::string& path, const std::string& name, Type type, void* value) const {
    const std::string what = "attribute " + name;
    const Handle object = open_object(path);
    if (H5Aexists(object, name.c_str()) <= 0) fail(path, "has no " + what);
    const Handle attribute =
        own(H5Aopen(object, name.c_str(), H5P_DEFAULT), H5Aclose, path, (what + " cannot be opened").c_str());
    const Handle wanted = native_type(type);
    const Handle stored = own(H5Aget_type(attribute), H5Tclose, path, (what + " has no type").c_str());
    const Handle space = own(H5Aget_space(attribute), H5Sclose, path, (what + " has no shape").c_str());
    if (H5Sget_simple_extent_npoints(space) != 1) fail(path, what + " is not a single value");
    if (H5Tget_class(stored) != H5Tget_class(wanted)) fail(path, what + " is of the wrong type");
    check(H5Aread(attribute, wanted, value), path, (what + " cannot be read").c_str());
}

void File::set_attribute(const std::string& path, const std::string& name, const std::string& value) {
    const char* text = value.c_str();
    write_attribute(path, name, Type::text, &text);
}

void File::set_attribute(const std::string& path, const std::string& name, std::int64_t value) {
    write_attribute(path, name, Type::i64, &value);
}

void File::set_attribute(const std::string& path, const std::string& name, double value) {
    write_attribute(path, name, Type::f64, &value);
}

std::string File::text_attribute(const std::string& path, const std::string& name) const {
    char* text = nullptr;
    read_attribute(path, name, Type::text, &text);
    std::string result = text == nullptr ? "" : text;
    H5free_memory(text);
    return result;
}

std::int64_t File::integer_attribute(const std::string& path, const std::string& name) const {
    std::int64_t value = 0;
    read_attribute(path, name, Type::i64, &value);
    return value;
}

double File::number_attribute(const std::string& path, const std::string& name) const {
    double value = 0;
    read_attribute(path, name, Type::f64, &value);
    return value;
}

void File::check_attributes(const std::string& path) const {
    const Handle object = open_object(path);
    H5O_info_t info{};
    check(H5Oget_info2(object, &info, H5O_INFO_NUM_ATTRS), path, "attributes cannot be counted");
    for (hsize_t i = 0; i < info.num_attrs; ++i) {
        const Handle attribute =
            own(H5Aopen_by_idx(object, ".", H5_INDEX_NAME, H5_ITER_INC, i, H5P_DEFAULT, H5P_DEFAULT), H5Aclose, path,
                "attribute cannot be opened");
        const Handle type = own(H5Aget_type(attribute), H5Tclose, path, "attribute has no type");
        const Handle space = own(H5Aget_space(attribute), H5Sclose, path, "attribute has no shape");
        if (H5Tget_class(type) != H5T_STRING || H5Sget_simple_extent_npoints(space) != 1) continue;
        std::string name(256, '\0');
        const ssize_t size = H5Aget_name(attribute, name.size(), name.data());
        check(size, path, "attribute has no name");
        name.resize(std::min(name.size() - 1, static_cast<std::size_t>(size)));
        if (H5Tis_variable_str(type) > 0) text_attribute(path, name);
    }
}

void File::describe(const std::string& path, const std::string& units, const std::string& long_name) {
    set_attribute(path, "units", units);
    set_attribute(path, "long_name", long_name);
}

}  // namespace headscope::experiments::hdf5
