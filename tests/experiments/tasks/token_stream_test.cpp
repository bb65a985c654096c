#include "experiments/tasks/token_stream.h"

#include <hdf5.h>

#include <map>
#include <set>

#include "experiments/base/errors.h"
#include "tests/experiments/tasks/task_helpers.h"

namespace headscope::experiments {
namespace {

constexpr std::int64_t V = 7;

std::vector<std::int64_t> row_of(std::int64_t size, std::int64_t vocab_size = V) {
    std::vector<std::int64_t> values(static_cast<std::size_t>(size));
    for (std::size_t i = 0; i < values.size(); ++i)
        values[i] = static_cast<std::int64_t>((i * i + i / 3) % static_cast<std::size_t>(vocab_size));
    return values;
}

class StreamTaskTest : public FileTest {
protected:
    std::string make(const std::string& name, const std::vector<std::int64_t>& values, hid_t type = H5T_STD_I64LE,
                     const char* dataset = "tokens", std::vector<hsize_t> sizes = {}) const {
        if (sizes.empty()) sizes = {values.size()};
        const hid_t file = H5Fcreate(path(name).c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
        const hid_t space = H5Screate_simple(static_cast<int>(sizes.size()), sizes.data(), nullptr);
        const hid_t data = H5Dcreate2(file, dataset, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        if (H5Tget_class(type) == H5T_INTEGER)
            H5Dwrite(data, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data());
        H5Dclose(data);
        H5Sclose(space);
        H5Fclose(file);
        return path(name);
    }

    static std::unique_ptr<Task> build(const std::string& file, std::int64_t seq_len = 5,
                                       const std::map<std::string, Value>& more = {}, std::uint64_t seed = 0) {
        std::map<std::string, Value> values = {
            {"path", file}, {"vocab_size", V}, {"seq_len", seq_len}, {"stream", true}};
        for (const auto& [key, value] : more) values[key] = value;
        return build_task("tokens", values, seed);
    }

    static std::string error_of(const std::string& file, std::int64_t seq_len = 5) {
        return message_of<UsageError>([&] { build(file, seq_len); });
    }
};

/// Where a window begins in a row in which no window of its length occurs twice.
std::int64_t start_of(const std::vector<std::int64_t>& row, const std::vector<std::int64_t>& window) {
    const auto found = std::search(row.begin(), row.end(), window.begin(), window.end());
    return found == row.end() ? -1 : found - row.begin();
}

TEST_F(StreamTaskTest, EachEpochHasEveryWindowOnceInAnotherOrder) {
    const auto row = row_of(48, 101);  // 9 windows of 5, and the last target is token 45
    const auto task = build(make("s.h5", row), 5, {{"vocab_size", 101}});
    EXPECT_EQ(task->fixed_batch_size(), 0);
    EXPECT_EQ(task->seq_len(), 5);
    EXPECT_EQ(task->vocab_size(), 101);
    EXPECT_EQ(task->eval_batches(4), 0);
    std::vector<std::int64_t> starts;
    for (std::int64_t step = 0; step < 27; ++step) {
        const Batch batch = task->train_batch(step, 2);
        ASSERT_EQ(batch.inputs.shape(), (Shape{2, 5}));
        const auto x = values_of(batch.inputs), y = values_of(batch.targets);
        for (std::size_t first : {0U, 5U}) {
            const std::int64_t start = start_of(row, {x.data() + first, x.data() + first + 5});
            ASSERT_GE(start, 0);
            EXPECT_EQ(start_of(row, {y.data() + first, y.data() + first + 5}), start + 1);
            starts.push_back(start);
        }
    }
    std::set<std::vector<std::int64_t>> orders;
    for (std::size_t epoch = 0; epoch < 6; ++epoch) {
        std::vector<std::int64_t> one(starts.data() + epoch * 9, starts.data() + epoch * 9 + 9);
        orders.insert(one);
        std::ranges::sort(one);
        EXPECT_EQ(one, (std::vector<std::int64_t>{0, 5, 10, 15, 20, 25, 30, 35, 40})) << epoch;
    }
    EXPECT_EQ(orders.size(), 6U);
}

TEST_F(StreamTaskTest, TheOrderOfWindowsDoesNotDependOnTheBatchSize) {
    const std::string file = make("s.h5", row_of(100));
    const auto windows = [&](std::int64_t batch_size, std::uint64_t seed) {
        const auto task = build(file, 5, {}, seed);
        std::vector<std::int64_t> all;
        for (std::int64_t step = 60 / batch_size - 1; step >= 0; --step) {  // whoever asks first
            const auto batch = values_of(task->train_batch(step, batch_size).inputs);
            all.insert(all.begin(), batch.begin(), batch.end());
        }
        return all;
    };
    const auto truth = windows(4, 1);
    for (const std::int64_t batch_size : {1, 3, 20, 60}) EXPECT_EQ(windows(batch_size, 1), truth) << batch_size;
    EXPECT_NE(windows(4, 2), truth);
}

TEST_F(StreamTaskTest, EvaluationHasAStreamOfItsOwn) {
    const auto row = row_of(48, 101);
    const auto task = build(make("s.h5", row_of(12)), 5, {{"vocab_size", 101}, {"eval_path", make("held.h5", row)}}, 9);
    ASSERT_EQ(task->eval_batches(4), 2);
    ASSERT_EQ(task->eval_batches(20), 1);
    EXPECT_EQ(task->eval_batch(0, 20).inputs.shape(), (Shape{9, 5}));
    std::set<std::int64_t> starts;
    for (std::int64_t index = 0; index < 9; ++index) {
        const Batch batch = task->eval_batch(index, 1);
        const std::int64_t start = start_of(row, values_of(batch.inputs));
        EXPECT_EQ(start_of(row, values_of(batch.targets)), start + 1);
        starts.insert(start);
    }
    EXPECT_EQ(starts, (std::set<std::int64_t>{0, 5, 10, 15, 20, 25, 30, 35, 40}));
    EXPECT_EQ(task->train_batch(0, 3).inputs.shape(), (Shape{3, 5}));  // 2 windows, one of them twice
}

TEST_F(StreamTaskTest, AnyIntegerAndAnyVocabularyIsTheSameData) {
    const auto row = row_of(301);
    const auto task = build(make("s.h5", row));
    for (const hid_t type : {H5T_STD_U8LE, H5T_STD_I8BE, H5T_STD_U16BE, H5T_STD_I32LE, H5T_STD_I64BE, H5T_STD_U64LE}) {
        for (const std::int64_t vocab_size : {V, std::int64_t{1000}, std::int64_t{100'000}}) {  // 1, 2, 4 bytes each
            const auto other = build(make("other.h5", row, type), 5, {{"vocab_size", vocab_size}});
            EXPECT_EQ(other->data_sha256(), task->data_sha256());
            EXPECT_EQ(values_of(other->train_batch(3, 8).targets), values_of(task->train_batch(3, 8).targets));
        }
    }
    const auto wide = row_of(301, 90'000);
    const auto batch = build(make("wide.h5", wide), 300, {{"vocab_size", 90'000}})->train_batch(0, 1);
    EXPECT_EQ(values_of(batch.inputs), std::vector(wide.begin(), wide.end() - 1));
}

TEST_F(StreamTaskTest, TheDigestIsOfTheTokens) {
    const std::string file = make("s.h5", row_of(40)), held = make("held.h5", row_of(41));
    const std::string one = build(file)->data_sha256(), both = build(file, 5, {{"eval_path", held}})->data_sha256();
    EXPECT_EQ(one.size(), 64U);
    EXPECT_NE(one, both);
    EXPECT_NE(build(held)->data_sha256(), one);
    EXPECT_NE(build(held, 5, {{"eval_path", file}})->data_sha256(), both);
    auto changed = row_of(40);
    changed[39] = (changed[39] + 1) % V;  // trains nothing with this seq_len, and is data nevertheless
    EXPECT_NE(build(make("c.h5", changed), 6)->data_sha256(), build(file, 6)->data_sha256());
}

TEST_F(StreamTaskTest, WrongTokensAreNamedWithTheirPlace) {
    for (const std::int64_t wrong : {V, std::int64_t{-1}, std::int64_t{-100}}) {
        auto row = row_of(600'000);
        row[456'789] = wrong;
        expect_contains(error_of(make("s.h5", row)),
                        {path("s.h5"), "/tokens[456789] is " + std::to_string(wrong), "allows 0 to 6"});
    }
    std::vector<std::int64_t> row = row_of(20);
    row[3] = -1;
    make("s.h5", row, H5T_STD_U64LE);  // HDF5 writes 0
    const std::vector<std::uint64_t> large(20, ~std::uint64_t{0});
    const hid_t file = H5Fopen(path("s.h5").c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
    const hid_t data = H5Dopen2(file, "tokens", H5P_DEFAULT);
    H5Dwrite(data, H5T_NATIVE_UINT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, large.data());
    H5Dclose(data);
    H5Fclose(file);
    expect_contains(error_of(path("s.h5")), {"/tokens[0] is 9223372036854775807 or more"});
}

TEST_F(StreamTaskTest, BadLayoutIsNamed) {
    expect_contains(error_of(make("s.h5", row_of(5))), {"/tokens has 5 tokens", "task.seq_len = 5 needs 6"});
    EXPECT_EQ(build(make("s.h5", row_of(6)))->train_batch(7, 2).inputs.shape(), (Shape{2, 5}));
    expect_contains(error_of(make("s.h5", {}, H5T_STD_I64LE, "tokens", {0})), {"/tokens has 0 tokens"});
    expect_contains(error_of(make("s.h5", row_of(30), H5T_STD_I64LE, "tokens", {3, 10})),
                    {"/tokens is [3, 10]", "[n]"});
    expect_contains(error_of(make("s.h5", row_of(30), H5T_IEEE_F64LE)), {"/tokens is not of integers"});
    expect_contains(error_of(make("s.h5", row_of(30), H5T_STD_I64LE, "other")), {"/tokens is missing"});
    const std::string batches = make("s.h5", row_of(30), H5T_STD_I64LE, "inputs", {3, 2, 5});
    expect_contains(error_of(batches), {"/tokens is missing", "leave task.stream out"});
    const std::string stream = make("s.h5", row_of(30));
    expect_contains(message_of<UsageError>([&] {
                        build(stream, 5, {{"stream", false}});
                    }),
                    {"/inputs is missing", "task.stream = true"});
    expect_contains(message_of<IoError>([&] { build(path("none.h5")); }), {path("none.h5"), "does not exist"});
    expect_contains(message_of<IoError>([&] { build(write("text.h5", "not HDF5")); }), {path("text.h5")});
}

TEST_F(StreamTaskTest, SizesBeyondMemoryAreRefused) {
    const std::vector<hsize_t> size = {1ULL << 45}, chunk = {1 << 20};
    const hid_t file = H5Fcreate(path("s.h5").c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    const hid_t space = H5Screate_simple(1, size.data(), nullptr), creation = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(creation, 1, chunk.data());
    H5Dclose(H5Dcreate2(file, "tokens", H5T_STD_I64LE, space, H5P_DEFAULT, creation, H5P_DEFAULT));
    H5Pclose(creation);
    H5Sclose(space);
    H5Fclose(file);
    expect_contains(error_of(path("s.h5")), {"/tokens has 35184372088832 tokens", "memory"});
}

}  // namespace
}  // namespace headscope::experiments
