#include "experiments/storage/log.h"

#include <gtest/gtest.h>
#include <hdf5.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <random>

#include "experiments/base/errors.h"
#include "experiments/base/file_replacement.h"
#include "experiments/base/files.h"
#include "experiments/storage/hdf5.h"
#include "experiments/storage/log_seal.h"
#include "tests/experiments/temporary_folder.h"

namespace headscope::experiments {
namespace {

namespace fs = std::filesystem;
constexpr double nan = std::numeric_limits<double>::quiet_NaN();

class LogFile : public testing::Test {
protected:
    std::string path(const std::string& name) const { return temporary_.path(name + ".h5"); }

    const TemporaryFolder temporary_;
    const std::string folder_ = temporary_.path();
};

// Sizes that differ from each other: 2 layers, 3 heads, 4 projections.
MetricSpec overlap() {
    MetricSpec spec;
    spec.name = "overlap";
    spec.long_name = "mean subspace overlap";
    spec.units = "1";
    spec.formula = "tr(P_a P_b) / k";
    spec.source = "a book";
    spec.invariance = "GL";
    spec.minimum = 0;
    spec.maximum = 1;
    spec.dimensions = {{"layer", 2, {}}, {"head", 3, {}}, {"projection", 4, {"q", "k", "v", "o"}}};
    spec.null_mean = 0.25;
    spec.null_std = 0.02;
    spec.null_draws = 1500;
    spec.null_mean_error = 0.0005;
    spec.null_std_error = 0.0003;
    return spec;
}

MetricSpec grad_norm(const std::string& name = "grad_norm") {
    MetricSpec spec;
    spec.name = name;
    spec.long_name = "gradient norm of a head";
    spec.units = "nat";
    spec.invariance = "none";
    spec.dimensions = {{"layer", 2, {}}, {"head", 3, {}}};
    return spec;
}

void declare(Log& log) {
    log.set_attribute("state", "running");
    log.set_text("/config/resolved", "name = \"größe\"\n", "resolved config");
    log.set_number("/task/floors/both", 1.0758, "nat", "loss of a model that knows both lags");
    log.set_vocabulary({"a", "道", " ", std::string("\0", 1), std::string("x\0y", 3)});
    log.declare_series("train", {{"loss", "nat/token", "loss"}, {"tokens_seen", "1", "tokens seen", true}});
    log.declare_series("eval", {{"loss", "nat/token", "loss on held-out data"}});
    log.declare_metric(overlap(), false);
    log.declare_metric(grad_norm(), true);
    log.declare_parameters({"embedding.weight", "head.weight"});
}

// A row is a function of its step, as in a run that is recomputed bit for bit.
double value_at(std::int64_t step, std::size_t index) {
    return std::sin(static_cast<double>(step) * 1.7 + static_cast<double>(index));
}

std::vector<double> row_at(std::int64_t step, std::size_t size) {
    std::vector<double> row(size);
    for (std::size_t i = 0; i < size; ++i) row[i] = value_at(step, i);
    return row;
}

void append_steps(Log& log, std::int64_t first, std::int64_t end) {
    for (std::int64_t step = first; step < end; ++step) {
        log.append("train", step, {value_at(step, 0), static_cast<double>(step * 1536)});
        if (step % 7 == 0) log.append("eval", step, {value_at(step, 1)});
        if (step % 3 == 0) log.append_metric("overlap", step, row_at(step, 24));
        log.append_metric("grad_norm", step, row_at(step, 6));
        log.append_parameters(step, {value_at(step, 2), 1}, {nan, value_at(step, 3)});
    }
}

// Every dataset below a group: its shape and its values as text.
void collect(const hdf5::File& file, const std::string& group, std::map<std::string, std::string>& contents) {
    for (const std::string& name : file.children(group == "" ? "/" : group)) {
        const std::string path = group + "/" + name;
        if (file.has_group(path)) {
            collect(file, path, contents);
            continue;
        }
        const hdf5::DatasetInfo info = file.info(path);
        std::string text;
        for (const std::int64_t size : info.shape) text += std::to_string(size) + " ";
        if (info.type == hdf5::Type::text) {
            for (const std::string& value : file.read_texts(path)) text += value + "|";
        } else if (info.type == hdf5::Type::i64) {
            for (const std::int64_t value : file.read<std::int64_t>(path)) text += std::to_string(value) + "|";
        } else {
            for (const double value : file.read<double>(path)) text += std::to_string(value) + "|";
        }
        contents[path] = text;
    }
}

std::map<std::string, std::string> contents_of(const std::string& path) {
    std::map<std::string, std::string> contents;
    collect(hdf5::File::open(path), "", contents);
    return contents;
}

TEST_F(LogFile, RowsComeBack) {
    Log log(path("log"));
    declare(log);
    append_steps(log, 0, 30);
    log.publish();
    append_steps(log, 30, 50);
    log.set_attribute("state", "finished");
    log.publish();

    const hdf5::File file = hdf5::File::open(path("log"));
    EXPECT_EQ(file.text_attribute("/", "schema_name"), "headscope.log");
    EXPECT_EQ(file.text_attribute("/", "schema_version"), "1.1");
    EXPECT_EQ(file.text_attribute("/", "state"), "finished");
    EXPECT_EQ(file.read_text("/config/resolved"), "name = \"größe\"\n");
    EXPECT_EQ(file.read<double>("/task/floors/both"), std::vector<double>{1.0758});
    EXPECT_EQ(file.read_texts("/task/vocabulary"), (std::vector<std::string>{"a", "道", " ", "␀", "x␀y"}));
    std::vector<double> losses;
    std::vector<std::int64_t> steps, tokens;
    std::vector<float> overlaps;
    for (std::int64_t step = 0; step < 50; ++step) {
        steps.push_back(step);
        losses.push_back(value_at(step, 0));
        tokens.push_back(step * 1536);
        if (step % 3 != 0) continue;
        for (const double value : row_at(step, 24)) overlaps.push_back(static_cast<float>(value));
    }
    EXPECT_EQ(file.read<std::int64_t>("/train/step"), steps);
    EXPECT_EQ(file.read<double>("/train/loss"), losses);
    EXPECT_EQ(file.info("/train/loss").type, hdf5::Type::f64);
    EXPECT_EQ(file.read<std::int64_t>("/train/tokens_seen"), tokens);
    EXPECT_EQ(file.info("/train/tokens_seen").type, hdf5::Type::i64);
    EXPECT_EQ(file.read<float>("/heads/overlap/value"), overlaps);
    EXPECT_EQ(file.info("/heads/overlap/value").type, hdf5::Type::f32);
    EXPECT_EQ(file.info("/heads/overlap/value").shape, (hdf5::Dims{17, 2, 3, 4}));
    EXPECT_EQ(file.info("/heads/grad_norm/value").type, hdf5::Type::f64);
    EXPECT_TRUE(std::isnan(file.read<double>("/parameters/grad_norm")[0]));
    EXPECT_EQ(file.info("/parameters/norm").shape, (hdf5::Dims{50, 2}));
    EXPECT_EQ(file.text_attribute("/heads/overlap/value", "invariance"), "GL");
    EXPECT_EQ(file.number_attribute("/heads/overlap/value", "null_mean"), 0.25);
    EXPECT_EQ(file.number_attribute("/heads/overlap/value", "null_std"), 0.02);
    EXPECT_EQ(file.integer_attribute("/heads/overlap/value", "null_draws"), 1500);
    EXPECT_EQ(file.number_attribute("/heads/overlap/value", "null_mean_error"), 0.0005);
    EXPECT_EQ(file.number_attribute("/heads/overlap/value", "null_std_error"), 0.0003);
    EXPECT_EQ(file.integer_attribute("/heads/grad_norm", "null_draws"), 0);
    EXPECT_TRUE(std::isnan(file.number_attribute("/heads/grad_norm/value", "null_mean")));
}

TEST_F(LogFile, EveryDatasetIsDescribed) {
    Log log(path("log"));
    declare(log);
    append_steps(log, 0, 5);
    log.event(0, "NaN", "loss");
    log.publish();
    const hdf5::File file = hdf5::File::open(path("log"));
    for (const auto& [dataset, text] : contents_of(path("log"))) {
        EXPECT_FALSE(file.text_attribute(dataset, "units").empty()) << dataset;
        EXPECT_FALSE(file.text_attribute(dataset, "long_name").empty()) << dataset;
        const bool scale = file.has_attribute(dataset, "CLASS"), scalar = file.info(dataset).shape.empty();
        EXPECT_TRUE(scale || scalar || file.has_attribute(dataset, "DIMENSION_LIST")) << dataset;
        EXPECT_TRUE(scale || scalar || file.has_attribute(dataset, "DIMENSION_LABELS")) << dataset;
    }
}

TEST_F(LogFile, ResumedEqualsUninterrupted) {
    {
        Log log(path("whole"));
        declare(log);
        append_steps(log, 0, 100);
        log.publish();
    }
    {
        Log log(path("resumed"));
        declare(log);
        append_steps(log, 0, 61);
        log.publish();
    }
    for (const std::int64_t first : {40, 70, 0, 40}) {  // 70 drops nothing: the log ends before
        const auto log = Log::reopen(path("resumed"), first);
        declare(*log);
        append_steps(*log, std::min<std::int64_t>(first, 61), 100);
        if (first == 70) continue;
        log->publish();
        EXPECT_EQ(contents_of(path("resumed")), contents_of(path("whole")));
        Log shorter(path("resumed"));
        declare(shorter);
        append_steps(shorter, 0, 61);
        shorter.publish();
    }
}

TEST_F(LogFile, ResumesStayAndOtherLaterEventsGo) {
    Log log(path("log"));
    log.event(0, "best", "first");
    log.event(50, "resume", "from 50");
    log.event(60, "best", "second");
    log.event(70, "intervention", "head 1");
    log.publish();
    const auto again = Log::reopen(path("log"), 50);
    again->event(60, "best", "second, again");
    again->publish();
    const hdf5::File file = hdf5::File::open(path("log"));
    EXPECT_EQ(file.read<std::int64_t>("/events/step"), (std::vector<std::int64_t>{0, 50, 60}));
    EXPECT_EQ(file.read_texts("/events/message"), (std::vector<std::string>{"first", "from 50", "second, again"}));
    EXPECT_GT(file.read<std::int64_t>("/events/time").at(0), 1600000000);
}

TEST_F(LogFile, AnotherRunsLogIsRefused) {
    {
        Log log(path("log"));
        declare(log);
        append_steps(log, 0, 5);
        log.publish();
    }
    const auto log = Log::reopen(path("log"), 5);
    MetricSpec other = overlap();
    other.dimensions[1].size = 5;
    EXPECT_THROW(log->declare_metric(other, false), IoError);
    EXPECT_THROW(log->declare_metric(overlap(), true), IoError);
    EXPECT_THROW(log->declare_series("train", {{"loss", "nat/token", "loss", true}}), IoError);
    EXPECT_THROW(log->declare_series("train", {{"other", "1", "another"}}), IoError);
    EXPECT_THROW(log->declare_parameters({"embedding.weight", "norm.weight"}), IoError);
    log->declare_metric(grad_norm("added_on_resume"), false);
}

TEST_F(LogFile, WrongRowsAreRefused) {
    Log log(path("log"));
    EXPECT_THROW(log.append("train", 0, {1}), Error);
    declare(log);
    EXPECT_THROW(log.append("train", 0, {1}), Error);
    EXPECT_THROW(log.append("train", 0, {1, nan}), Error);
    EXPECT_THROW(log.append("train", 0, {1, 1e17}), Error);
    EXPECT_THROW(log.append_metric("overlap", 0, std::vector<double>(23)), Error);
    EXPECT_THROW(log.append_parameters(0, {1, 2}, {1}), Error);
    log.publish();
    EXPECT_EQ(hdf5::File::open(path("log")).info("/train/loss").shape, hdf5::Dims{0});
}

TEST_F(LogFile, DamagedLogsAreRefused) {
    {
        Log log(path("log"));
        declare(log);
        append_steps(log, 0, 4);
        log.publish();
    }
    const std::string bytes = read_file(path("log"));
    constexpr std::size_t seal = 87;
    const std::size_t image = bytes.size() - seal;
    // Every bit and every length with HEADSCOPE_LONG=1; the seal's and the first block's in any case.
    const std::size_t stride = std::getenv("HEADSCOPE_LONG") != nullptr ? 1 : 61;
    std::fstream file(path("log"), std::ios::in | std::ios::out | std::ios::binary);
    const auto put = [&](std::size_t at, int flip) {
        file.seekp(static_cast<std::streamoff>(at)).put(static_cast<char>(bytes[at] ^ flip)).flush();
    };
    for (std::size_t bit = 0; bit < bytes.size() * 8; bit += bit >= 512 * 8 && bit < image * 8 ? stride : 1) {
        put(bit / 8, 1 << bit % 8);
        ASSERT_THROW(open_log(path("log")), IoError) << bit;
        put(bit / 8, 0);
    }
    open_log(path("log"));
    fs::copy_file(path("log"), path("cut"));
    for (std::size_t length = bytes.size() - 1; length > 0; length -= length > image || length < 600 ? 1 : stride) {
        if (length == image) continue;  // see below
        fs::resize_file(path("cut"), length);
        ASSERT_THROW(open_log(path("cut")), IoError) << length;
    }
    std::ofstream(path("cut"), std::ios::binary) << bytes.substr(0, image);  // by a tool that drops the seal
    open_log(path("cut"));
    std::ofstream(path("cut"), std::ios::binary) << bytes.substr(0, image) << "more";
    EXPECT_THROW(open_log(path("cut")), IoError);
    EXPECT_THROW(open_log(path("missing")), IoError);
    write_file_atomically(path("other"), hdf5::File::create_in_memory().image());
    EXPECT_THROW(Log::reopen(path("other"), 0), IoError);
}

// Nothing vouches for such a log, and the HDF5 library crashes on some.
TEST_F(LogFile, DamagedLogsWithoutASealDoNoHarm) {
    {
        Log log(path("log"));
        declare(log);
        append_steps(log, 0, 4);
        log.publish();
    }
    const std::string bytes = read_file(path("log"));
    std::mt19937 random(5);
    for (int count = 0; count < 40; ++count) {
        std::string damaged = bytes.substr(0, bytes.size() - 87);
        for (int change = 0; change < 20; ++change) damaged[48 + random() % (damaged.size() - 48)] ^= 0x55;
        std::ofstream(path("damaged"), std::ios::binary) << damaged;
        try {
            open_log(path("damaged"));
        } catch (const IoError& error) {
            EXPECT_TRUE(std::string(error.what()).starts_with(path("damaged"))) << error.what();
        }
    }
}

// As another tool may leave a log that it rewrote: without a seal, with a newer superblock or smaller offsets.
TEST_F(LogFile, OtherFormsOfHdf5AreRead) {
    for (const bool newer : {true, false}) {
        const hid_t creation = H5Pcreate(H5P_FILE_CREATE), access = H5Pcreate(H5P_FILE_ACCESS);
        if (newer) H5Pset_libver_bounds(access, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST);
        else H5Pset_sizes(creation, 4, 4);
        const hid_t file = H5Fcreate(path("other").c_str(), H5F_ACC_TRUNC, creation, access);
        const hid_t scalar = H5Screate(H5S_SCALAR);
        const hid_t dataset = H5Dcreate2(file, "x", H5T_IEEE_F32LE, scalar, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        const float value = 1.5F;
        H5Dwrite(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, &value);
        H5Dclose(dataset);
        H5Sclose(scalar);
        H5Fclose(file);
        H5Pclose(creation);
        H5Pclose(access);
        EXPECT_EQ(open_sealed(path("other")).read<float>("/x"), std::vector<float>{1.5F});
    }
}

TEST_F(LogFile, PublishingFails) {
    EXPECT_THROW(Log(folder_ + "/missing/log.h5"), IoError);
    fs::create_directories(folder_ + "/missing");
    Log log(folder_ + "/missing/log.h5");
    log.publish();
    declare(log);
    append_steps(log, 0, 3);
    log.save_rows();
    fs::rename(folder_ + "/missing", folder_ + "/moved");
    append_steps(log, 3, 5);
    EXPECT_THROW(log.publish(), IoError);
    fs::rename(folder_ + "/moved", folder_ + "/missing");
    append_steps(log, 5, 7);
    fs::rename(folder_ + "/missing/log.h5", folder_ + "/missing/before");
    fs::create_directory(folder_ + "/missing/log.h5");  // so that the very last step fails
    EXPECT_THROW(log.publish(), IoError);
    fs::remove(folder_ + "/missing/log.h5");
    append_steps(log, 7, 8);
    log.publish();
    EXPECT_EQ(hdf5::File::open(folder_ + "/missing/log.h5").read<std::int64_t>("/train/step"),
              (std::vector<std::int64_t>{0, 1, 2, 3, 4, 5, 6, 7}));
}

// Other programs' view; scripts/setup installs them.
TEST_F(LogFile, XarrayAndH5dumpOpenIt) {
    Log log(path("log"));
    declare(log);
    append_steps(log, 0, 10);
    log.event(3, "resume", "from 3");
    log.publish();
    const std::string script = R"(
import sys, h5py, numpy, xarray
log = sys.argv[1]
ds = xarray.open_dataset(log, group='heads/overlap', engine='h5netcdf')
assert ds.value.dims == ('step', 'layer', 'head', 'projection'), ds.value.dims
assert ds.value.shape == (4, 2, 3, 4) and list(ds.projection.values) == ['q', 'k', 'v', 'o'], ds
assert list(ds.step.values) == [0, 3, 6, 9] and ds.value.attrs['invariance'] == 'GL', ds.value.attrs
assert numpy.isclose(ds.value.sel(step=6, layer=1, head=2, projection='k'), numpy.sin(6 * 1.7 + 21), atol=1e-6)
assert xarray.open_dataset(log, group='heads/grad_norm', engine='h5netcdf').value.dtype == 'float64'
train = xarray.open_dataset(log, group='train', engine='h5netcdf')
assert train.loss.dims == ('step',) and train.tokens_seen.dtype == 'int64' and train.loss.attrs['units'] == 'nat/token'
assert xarray.open_dataset(log, group='eval', engine='h5netcdf').loss.size == 2
parameters = xarray.open_dataset(log, group='parameters', engine='h5netcdf')
assert parameters.norm.dims == ('step', 'name') and parameters.name.values[1] == 'head.weight', parameters
assert xarray.open_dataset(log, group='events', engine='h5netcdf').message.values[0] == 'from 3'
assert list(xarray.open_dataset(log, group='task', engine='h5netcdf').vocabulary.values) == ['a', '道', ' ', '␀', 'x␀y']
assert float(xarray.open_dataset(log, group='task/floors', engine='h5netcdf').both) == 1.0758
with h5py.File(log, 'r') as f:
    value = f['heads/overlap/value']
    assert value.dims[3].label == 'projection' and value.dims[0][0] == f['heads/overlap/step']
    assert value.chunks and value.compression == 'gzip' and value.shuffle and value.fletcher32
    assert value.maxshape[0] is None and f.attrs['schema_version'] == '1.1'
)";
    write_file_atomically(folder_ + "/check.py", std::as_bytes(std::span(script)));
    EXPECT_EQ(std::system(("/usr/bin/python3 " + folder_ + "/check.py " + path("log")).c_str()), 0);
    EXPECT_EQ(std::system(("h5dump " + path("log") + " > " + folder_ + "/dump").c_str()), 0);
    EXPECT_NE(read_file(folder_ + "/dump").find("mean subspace overlap"), std::string::npos);
}

// Publishing may take one percent of a run's time, so it has to take milliseconds. The bound is loose: a busy machine.
TEST_F(LogFile, PublishingIsQuick) {
    Log log(path("log"));
    for (int metric = 0; metric < 12; ++metric) log.declare_metric(grad_norm("metric" + std::to_string(metric)), false);
    using Clock = std::chrono::steady_clock;
    std::chrono::duration<double, std::milli> appending{}, quickest{1e9};
    for (std::int64_t step = 0; step < 2000; ++step) {
        const std::vector<double> row = row_at(step, 6);
        const auto start = Clock::now();
        for (int metric = 0; metric < 12; ++metric) log.append_metric("metric" + std::to_string(metric), step, row);
        appending += Clock::now() - start;
        if (step % 200 != 199) continue;
        const auto middle = Clock::now();
        log.publish();
        quickest = std::min<std::chrono::duration<double, std::milli>>(quickest, Clock::now() - middle);
    }
    RecordProperty("append_us", std::to_string(appending.count() * 1e3 / 24000));
    RecordProperty("publish_ms", std::to_string(quickest.count()));
    EXPECT_LT(quickest.count(), 100);
    EXPECT_LT(appending.count(), 1000);
}

}  // namespace
}  // namespace headscope::experiments
