// Inside hdf5*.cpp only: closes what HDF5 opened, and names types.
#pragma once

#include <hdf5.h>

#include <type_traits>
#include <utility>

#include "experiments/storage/hdf5.h"

namespace headscope::experiments::hdf5 {

static_assert(std::is_same_v<hid_t, std::int64_t> && std::is_same_v<herr_t, int>, "hdf5.h spells these types out");

class Handle {
public:
    Handle(hid_t id, herr_t (*close)(hid_t)) : id_(id), close_(close) {}
    Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
    Handle(const Handle&) = delete;
    Handle& operator=(const Handle&) = delete;
    ~Handle() {
        if (id_ >= 0) close_(id_);
    }
    operator hid_t() const { return id_; }

private:
    hid_t id_;
    herr_t (*close_)(hid_t);
};

/// The type in memory, which is also the type in the file.
Handle native_type(Type type);
/// The same of a number, which nobody has to close; none of the others.
hid_t native_number(Type type);

class Overlay;
/// File access through an overlay, which must outlive the file.
Handle overlay_access(Overlay& overlay);

/// "/heads/overlap" of "/heads/overlap/value", "/" of "/train". Paths begin at the root.
inline std::string parent_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace headscope::experiments::hdf5
