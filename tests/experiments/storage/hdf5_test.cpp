#include "experiments/storage/hdf5.h"

#include <gtest/gtest.h>
#include <hdf5.h>

#include <filesystem>
#include <functional>

#include "experiments/base/errors.h"
#include "experiments/base/files.h"
#include "tests/experiments/temporary_folder.h"

namespace headscope::experiments {
namespace {

using hdf5::File;
using hdf5::Layout;
using hdf5::Type;

std::string message_of(const std::function<void()>& action) {
    try {
        action();
    } catch (const IoError& error) {
        return error.what();
    }
    return "";
}

File copy_of(const File& file, bool writable = false) { return File::open_image(file.image(), "copy", writable); }

TEST(Hdf5, ValuesComeBack) {
    const std::vector<float> floats = {1.5F, -2, 3, 4.25F, 5, 6};
    const std::vector<std::int64_t> integers = {-7, 1LL << 60, 0};
    File file = File::create_in_memory();
    file.write<float>("/a/b/floats", {2, 3}, floats);
    file.write<std::int64_t>("/a/integers", {3}, integers, Layout::compressed);
    file.write<double>("/scalar", {}, std::vector<double>{0.1});
    file.write<double>("/nothing", {0, 4}, {});
    file.write<double>("/nothing_compressed", {0, 4}, {}, Layout::compressed);
    file.write_text("/text", "Grüße");
    file.write_texts("/texts", {"", "道", "b"}, Layout::compressed);

    const File copy = copy_of(file);
    EXPECT_EQ(copy.read<float>("/a/b/floats"), floats);
    EXPECT_EQ(copy.read<double>("/a/b/floats"), std::vector<double>(floats.begin(), floats.end()));
    EXPECT_EQ(copy.info("/a/b/floats").shape, (hdf5::Dims{2, 3}));
    EXPECT_EQ(copy.info("/a/b/floats").type, Type::f32);
    EXPECT_EQ(copy.read<std::int64_t>("/a/integers"), integers);
    EXPECT_EQ(copy.read<double>("/scalar"), std::vector<double>{0.1});
    EXPECT_TRUE(copy.info("/scalar").shape.empty());
    EXPECT_TRUE(copy.read<double>("/nothing").empty());
    EXPECT_TRUE(copy.read<double>("/nothing_compressed").empty());
    EXPECT_EQ(copy.read_text("/text"), "Grüße");
    EXPECT_EQ(copy.read_texts("/texts"), (std::vector<std::string>{"", "道", "b"}));
    EXPECT_EQ(copy.children("/"),
              (std::vector<std::string>{"a", "nothing", "nothing_compressed", "scalar", "text", "texts"}));
    EXPECT_TRUE(copy.has_group("/a/b"));
    EXPECT_FALSE(copy.has_group("/a/b/floats"));
    EXPECT_FALSE(copy.has_dataset("/a/c/d"));
}

TEST(Hdf5, AttributesAreOverwritten) {
    File file = File::create_in_memory();
    file.make_group("/group");
    file.set_attribute("/group", "state", std::string("running"));
    file.set_attribute("/group", "state", std::string("finished"));
    file.set_attribute("/", "count", std::int64_t{5});
    file.set_attribute("/", "ratio", 0.25);
    const File copy = copy_of(file);
    EXPECT_EQ(copy.text_attribute("/group", "state"), "finished");
    EXPECT_EQ(copy.integer_attribute("/", "count"), 5);
    EXPECT_EQ(copy.number_attribute("/", "ratio"), 0.25);
    EXPECT_THROW(copy.integer_attribute("/", "ratio"), IoError);
    EXPECT_THROW(copy.text_attribute("/", "missing"), IoError);
}

TEST(Hdf5, RowsAreAppendedAndCut) {
    File file = File::create_in_memory();
    file.create_growing("/grow/value", Type::f32, {2, 3});
    file.create_growing("/grow/kind", Type::text, {});
    std::vector<float> expected;
    std::vector<std::string> kinds;
    for (std::size_t rows : {1U, 700U, 0U, 2U, 1500U}) {
        std::vector<float> values(rows * 6);
        for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(expected.size() + i);
        file.append_rows<float>("/grow/value", values);
        expected.insert(expected.end(), values.begin(), values.end());
        const std::string kind = "kind " + std::to_string(rows);
        file.append_texts("/grow/kind", std::span(&kind, 1));
        kinds.push_back(kind);
    }
    File copy = copy_of(file, true);
    EXPECT_EQ(copy.read<float>("/grow/value"), expected);
    EXPECT_EQ(copy.read_texts("/grow/kind"), kinds);
    copy.truncate_rows("/grow/value", 701);
    expected.resize(701 * 6);
    EXPECT_EQ(copy.read<float>("/grow/value"), expected);
    EXPECT_THROW(copy.truncate_rows("/grow/value", 702), IoError);
    EXPECT_THROW(copy.append_rows<float>("/grow/value", std::vector<float>(5)), IoError);
    EXPECT_THROW(copy.append_rows<double>("/grow/value", std::vector<double>(6)), IoError);
    copy.write<float>("/fixed", {1, 2}, std::vector<float>{1, 2});
    EXPECT_THROW(copy.append_rows<float>("/fixed", std::vector<float>{3, 4}), IoError);
}

TEST(Hdf5, PiecesAreAllValuesInOrder) {
    std::vector<std::int64_t> values(600'001);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<std::int64_t>(i * i % 1009) - 300;
    File file = File::create_in_memory();
    const auto size = std::ssize(values);
    file.write<std::int64_t>("/plain", {size}, values);
    file.write<std::int64_t>("/one_chunk", {size}, values, Layout::compressed);
    file.create_growing("/small_chunks", Type::i64, {});
    file.append_rows<std::int64_t>("/small_chunks", values);
    file.write<std::int64_t>("/nothing", {0}, {});
    file.write<std::int64_t>("/square", {2, 2}, std::vector<std::int64_t>(4));
    file.write<double>("/floats", {2}, std::vector<double>(2));
    const auto read = [&](const std::string& path, std::size_t& pieces) {
        std::vector<std::int64_t> all;
        pieces = 0;
        file.read_pieces(path, [&](std::span<const std::int64_t> piece) {
            all.insert(all.end(), piece.begin(), piece.end());
            ++pieces;
        });
        return all;
    };
    std::size_t pieces = 0;
    for (const char* path : {"/plain", "/small_chunks"}) {
        EXPECT_EQ(read(path, pieces), values) << path;
        EXPECT_EQ(pieces, 3U) << path;
    }
    EXPECT_EQ(read("/one_chunk", pieces), values);
    EXPECT_EQ(pieces, 1U);
    EXPECT_TRUE(read("/nothing", pieces).empty());
    for (const char* path : {"/square", "/floats", "/missing"}) EXPECT_THROW(read(path, pieces), IoError) << path;
}

TEST(Hdf5, EqualContentsAreEqualBytes) {
    const auto make = [](int pause) {
        File file = File::create_in_memory(512);
        file.write<double>("/a/values", {2}, std::vector<double>{1, 2});
        if (pause > 0) ::usleep(1100000);  // a time stamp would show
        file.write_text("/a/text", "x");
        file.make_group("/b/c");
        file.set_attribute("/b", "n", std::int64_t{1});
        file.create_growing("/b/grow", Type::i64, {});
        return file.image();
    };
    EXPECT_EQ(make(0), make(1));
}

TEST(Hdf5, ErrorsNameFilePathAndReason) {
    File file = File::create_in_memory();
    file.write<double>("/value", {2}, std::vector<double>{1, 2});
    const File copy = copy_of(file);
    EXPECT_EQ(message_of([&] { copy.read<double>("/nowhere/value"); }), "copy: /nowhere/value is missing");
    EXPECT_EQ(message_of([&] { copy.read<std::int64_t>("/value"); }), "copy: /value does not hold integers");
    EXPECT_EQ(message_of([&] { copy.read_text("/value"); }), "copy: /value does not hold strings");
    EXPECT_NE(message_of([&] {
                  file.write<double>("/value", {2}, std::vector<double>{1, 2});
              }).find("already exists"),
              std::string::npos);
    std::vector<double> one(1);
    EXPECT_NE(message_of([&] { file.read_into("/value", std::span(one)); }).find("has "), std::string::npos);
    file.write_texts("/texts", {"a", "b"});
    EXPECT_NE(message_of([&] { file.read_text("/texts"); }).find("is not a single string but 2"), std::string::npos);
    EXPECT_THROW(file.write<double>("/short", {3}, std::vector<double>{1, 2}), IoError);
    std::vector<std::byte> image = file.image();
    image.resize(image.size() / 2);
    EXPECT_NE(message_of([&] { File::open_image(image, "half.h5"); }).find("half.h5: cannot be opened as an HDF5 file"),
              std::string::npos);
    EXPECT_NE(message_of([&] { File::open("/no/such/file.h5"); }).find("No such file"), std::string::npos);
    EXPECT_THROW(File::open_image({}, "empty"), IoError);
}

// What the HDF5 library would believe and allocate.
TEST(Hdf5, ShapesThatTheFileCannotHoldAreRefused) {
    const TemporaryFolder folder;
    const std::string path = folder.path("hostile.h5");
    const hsize_t huge[] = {1ULL << 40, 1ULL << 20}, chunk[] = {16, 16}, small[] = {4};
    const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    const auto add = [&](const char* name, int rank, const hsize_t* sizes, hid_t properties) {
        const hid_t space = H5Screate_simple(rank, sizes, nullptr);
        H5Dclose(H5Dcreate2(file, name, H5T_IEEE_F32LE, space, H5P_DEFAULT, properties, H5P_DEFAULT));
        H5Sclose(space);
    };
    const hid_t chunked = H5Pcreate(H5P_DATASET_CREATE), outside = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(chunked, 2, chunk);
    H5Pset_deflate(chunked, 1);
    H5Pset_external(outside, "/etc/hostname", 0, 16);
    add("never_written", 2, huge, H5P_DEFAULT);
    add("chunked", 2, huge, chunked);
    add("outside", 1, small, outside);
    const hid_t null_space = H5Screate(H5S_NULL);
    H5Dclose(H5Dcreate2(file, "null", H5T_IEEE_F32LE, null_space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    H5Lcreate_external("/etc/hostname", "/x", file, "link", H5P_DEFAULT, H5P_DEFAULT);
    H5Sclose(null_space);
    H5Pclose(chunked);
    H5Pclose(outside);
    H5Fclose(file);

    const File hostile = File::open(path);
    for (const char* name : {"/never_written", "/chunked", "/outside", "/null", "/link"}) {
        EXPECT_THROW(hostile.read<float>(name), IoError) << name;
    }
    EXPECT_THROW(hostile.children("/"), IoError);
}

TEST(Hdf5, MoreBytesThanTheFileHasAreRefused) {
    const TemporaryFolder folder;
    const std::string path = folder.path("hostile.h5");
    const std::vector<float> values(997);
    const hsize_t sizes[] = {values.size()};
    const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    const hid_t space = H5Screate_simple(1, sizes, nullptr);
    const hid_t dataset = H5Dcreate2(file, "values", H5T_IEEE_F32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5Dwrite(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data());
    H5Dclose(dataset);
    H5Sclose(space);
    H5Fclose(file);

    std::string bytes = read_file(path);
    const std::uint64_t stored = values.size() * sizeof(float), claimed = std::uint64_t{1} << 40;
    const std::size_t at = bytes.find(std::string(reinterpret_cast<const char*>(&stored), sizeof stored));
    ASSERT_NE(at, std::string::npos);
    bytes.replace(at, sizeof claimed, reinterpret_cast<const char*>(&claimed), sizeof claimed);
    EXPECT_THROW(File::open_image(std::as_bytes(std::span(bytes)), "hostile").read<float>("/values"), IoError);
}

// Room for strings that was made and never filled.
TEST(Hdf5, StringsThatWereNeverWrittenAreEmpty) {
    const TemporaryFolder folder;
    const std::string path = folder.path("texts.h5");
    const hsize_t sizes[] = {2};
    const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    const hid_t space = H5Screate_simple(1, sizes, nullptr), scalar = H5Screate(H5S_SCALAR);
    const hid_t text = H5Tcopy(H5T_C_S1), at_once = H5Pcreate(H5P_DATASET_CREATE);
    H5Tset_size(text, H5T_VARIABLE);
    H5Tset_cset(text, H5T_CSET_UTF8);
    H5Pset_alloc_time(at_once, H5D_ALLOC_TIME_EARLY);
    H5Dclose(H5Dcreate2(file, "texts", text, space, H5P_DEFAULT, at_once, H5P_DEFAULT));
    H5Aclose(H5Acreate2(file, "text", text, scalar, H5P_DEFAULT, H5P_DEFAULT));
    for (const hid_t handle : {space, scalar}) H5Sclose(handle);
    H5Tclose(text);
    H5Pclose(at_once);
    H5Fclose(file);

    const File made = File::open(path);
    EXPECT_EQ(made.read_texts("/texts"), (std::vector<std::string>{"", ""}));
    EXPECT_EQ(made.text_attribute("/", "text"), "");
}

TEST(Hdf5, ScalesAreAttachedAndLabelled) {
    File file = File::create_in_memory();
    file.write<std::int64_t>("/g/layer", {2}, std::vector<std::int64_t>{0, 1});
    file.write<float>("/g/value", {2}, std::vector<float>{1, 2});
    file.make_scale("/g/layer", "layer");
    file.attach_scale("/g/value", 0, "/g/layer");
    file.describe("/g/value", "nat", "a value");
    EXPECT_TRUE(file.has_attribute("/g/value", "DIMENSION_LIST"));
    EXPECT_TRUE(file.has_attribute("/g/value", "DIMENSION_LABELS"));
    EXPECT_EQ(file.text_attribute("/g/value", "units"), "nat");
    EXPECT_THROW(file.attach_scale("/g/layer", 0, "/g/value"), IoError);
}

}  // namespace
}  // namespace headscope::experiments
