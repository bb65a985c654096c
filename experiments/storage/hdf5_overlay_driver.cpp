#include <hdf5.h>

#include <algorithm>

#include "experiments/storage/hdf5_handle.h"
#include "experiments/storage/hdf5_overlay.h"

#if H5_VERSION_GE(1, 13, 0)
#include <H5FDdevelop.h>
#endif

namespace headscope::experiments::hdf5 {

namespace {

/// What HDF5 hands to the driver when it opens a file.
struct Access {
    Overlay* overlay;
};

/// An open file; HDF5 fills in the first member.
struct OpenOverlay {
    H5FD_t of_hdf5;
    Overlay* overlay;
    haddr_t end_of_allocated;
};

OpenOverlay* opened(H5FD_t* file) { return reinterpret_cast<OpenOverlay*>(file); }
const OpenOverlay* opened(const H5FD_t* file) { return reinterpret_cast<const OpenOverlay*>(file); }

H5FD_t* open_overlay(const char*, unsigned, hid_t access, haddr_t) {
    const auto* wanted = static_cast<const Access*>(H5Pget_driver_info(access));
    return wanted == nullptr ? nullptr : &(new OpenOverlay{{}, wanted->overlay, 0})->of_hdf5;
}

herr_t close_overlay(H5FD_t* file) {
    delete opened(file);
    return 0;
}

herr_t query_overlay(const H5FD_t*, unsigned long* flags) {
    *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_DATA_SIEVE |
             H5FD_FEAT_AGGREGATE_SMALLDATA;
    return 0;
}

haddr_t end_of_allocated(const H5FD_t* file, H5FD_mem_t) { return opened(file)->end_of_allocated; }

herr_t set_end_of_allocated(H5FD_t* file, H5FD_mem_t, haddr_t at) {
    opened(file)->end_of_allocated = at;
    return 0;
}

haddr_t end_of_file(const H5FD_t* file, H5FD_mem_t) { return opened(file)->overlay->size(); }

herr_t read_overlay(H5FD_t* file, H5FD_mem_t, hid_t, haddr_t at, std::size_t size, void* bytes) {
    return opened(file)->overlay->read(at, {static_cast<std::byte*>(bytes), size}) ? 0 : -1;
}

herr_t write_overlay(H5FD_t* file, H5FD_mem_t, hid_t, haddr_t at, std::size_t size, const void* bytes) {
    opened(file)->overlay->write(at, {static_cast<const std::byte*>(bytes), size});
    return 0;
}

herr_t truncate_overlay(H5FD_t* file, hid_t, hbool_t) {
    opened(file)->overlay->set_size(opened(file)->end_of_allocated);
    return 0;
}

hid_t register_driver() {
    static H5FD_class_t driver{};
#if H5_VERSION_GE(1, 13, 0)
    driver.version = H5FD_CLASS_VERSION;
    driver.value = static_cast<H5FD_class_value_t>(600);  // of the range that is free for drivers of one's own
#endif
    driver.name = "headscope_overlay";
    driver.maxaddr = (static_cast<haddr_t>(1) << 62U) - 1;
    driver.fc_degree = H5F_CLOSE_WEAK;
    driver.fapl_size = sizeof(Access);
    driver.open = open_overlay;
    driver.close = close_overlay;
    driver.query = query_overlay;
    driver.get_eoa = end_of_allocated;
    driver.set_eoa = set_end_of_allocated;
    driver.get_eof = end_of_file;
    driver.read = read_overlay;
    driver.write = write_overlay;
    driver.truncate = truncate_overlay;
    const H5FD_mem_t free_lists[] = H5FD_FLMAP_DICHOTOMY;
    std::ranges::copy(free_lists, driver.fl_map);
    return H5FDregister(&driver);
}

}  // namespace

Handle overlay_access(Overlay& overlay) {
    static const hid_t driver = register_driver();
    const Access wanted{&overlay};
    Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
    H5Pset_driver(access, driver, &wanted);
    return access;
}

}  // namespace headscope::experiments::hdf5
