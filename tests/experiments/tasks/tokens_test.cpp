#include <hdf5.h>

#include <limits>

#include "experiments/base/errors.h"
#include "tests/experiments/tasks/task_helpers.h"

namespace headscope::experiments {
namespace {

using Sizes = std::vector<hsize_t>;

/// batches = 3, B = 2, T = 5, V = 7.
constexpr std::int64_t V = 7;
const Sizes shape = {3, 2, 5};

std::vector<std::int64_t> some_tokens(std::int64_t first) {
    std::vector<std::int64_t> values(30);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = (first + static_cast<std::int64_t>(i * i)) % V;
    return values;
}

class TokensTask : public FileTest {
protected:
    /// A new HDF5 file that `fill` writes to.
    template <class Fill>
    std::string make(const std::string& name, Fill&& fill) const {
        const hid_t file = H5Fcreate(path(name).c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
        fill(file);
        H5Fclose(file);
        return path(name);
    }

    static void put(hid_t file, const char* name, const Sizes& sizes, const std::vector<std::int64_t>& values,
                    hid_t type = H5T_STD_I64LE, hid_t creation = H5P_DEFAULT) {
        const hid_t space = H5Screate_simple(static_cast<int>(sizes.size()), sizes.data(), nullptr);
        const hid_t data = H5Dcreate2(file, name, type, space, H5P_DEFAULT, creation, H5P_DEFAULT);
        if (!values.empty()) H5Dwrite(data, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data());
        H5Dclose(data);
        H5Sclose(space);
    }

    std::string good(const std::string& name) const {
        return make(name, [](hid_t file) {
            put(file, "inputs", shape, some_tokens(0));
            put(file, "targets", shape, some_tokens(1));
        });
    }

    static std::unique_ptr<Task> build(const std::string& file, const std::map<std::string, Value>& more = {}) {
        std::map<std::string, Value> values = {{"path", file}, {"vocab_size", V}, {"seq_len", 5}};
        for (const auto& [key, value] : more) values[key] = value;
        return build_task("tokens", values);
    }

    /// The error of a file whose /inputs `fill` writes and whose /targets is good.
    template <class E, class Fill>
    std::string inputs_error(Fill&& fill) const {
        const std::string file = make("bad.h5", [&](hid_t id) {
            fill(id);
            put(id, "targets", shape, some_tokens(1));
        });
        return message_of<E>([&] { build(file); });
    }
};

TEST_F(TokensTask, BatchesComeInOrderAndBeginAgain) {
    const auto task = build(good("t.h5"));
    EXPECT_EQ(task->vocab_size(), V);
    EXPECT_EQ(task->seq_len(), 5);
    EXPECT_EQ(task->fixed_batch_size(), 2);
    EXPECT_EQ(task->eval_batches(2), 0);
    EXPECT_TRUE(task->floors().empty());
    const auto inputs = some_tokens(0), targets = some_tokens(1);
    for (const std::int64_t step : {0, 1, 2, 3, 7, 300}) {
        const Batch batch = task->train_batch(step, 2);
        ASSERT_EQ(batch.inputs.shape(), (Shape{2, 5}));
        const auto at = step % 3 * 10;
        EXPECT_EQ(values_of(batch.inputs), std::vector(inputs.begin() + at, inputs.begin() + at + 10)) << step;
        EXPECT_EQ(values_of(batch.targets), std::vector(targets.begin() + at, targets.begin() + at + 10)) << step;
    }
}

TEST_F(TokensTask, EvaluationComesFromItsOwnFile) {
    std::vector<std::int64_t> targets(30, -1);
    targets[3] = 2;  // the second batch has no scored target
    const std::string eval = make("eval.h5", [&](hid_t file) {
        put(file, "inputs", {2, 3, 5}, some_tokens(4));
        put(file, "targets", {2, 3, 5}, targets);
    });
    const auto task = build(good("t.h5"), {{"eval_path", eval}});
    ASSERT_EQ(task->eval_batches(2), 2);
    const Batch batch = task->eval_batch(1, 2);
    ASSERT_EQ(batch.inputs.shape(), (Shape{3, 5}));
    const auto inputs = some_tokens(4);
    EXPECT_EQ(values_of(batch.inputs), std::vector(inputs.begin() + 15, inputs.end()));
    EXPECT_EQ(values_of(batch.targets), std::vector<std::int64_t>(15, -1));
}

TEST_F(TokensTask, TheDigestIsOfTheTokens) {
    const std::string eval = good("eval.h5"), copy = good("copy.h5");
    const std::string one = build(good("t.h5"))->data_sha256(),
                      both = build(good("t.h5"), {{"eval_path", eval}})->data_sha256();
    EXPECT_EQ(one.size(), 64U);
    EXPECT_NE(one, both);
    EXPECT_EQ(build(copy)->data_sha256(), one);
    EXPECT_EQ(build(copy, {{"eval_path", copy}})->data_sha256(), both);
    // Other sizes with the same values, and other values with the same sizes.
    const std::string bytes = make("other.h5", [](hid_t file) {
        put(file, "inputs", {2, 3, 5}, some_tokens(0));
        put(file, "targets", {2, 3, 5}, some_tokens(1));
    });
    EXPECT_NE(build(bytes)->data_sha256(), one);
    EXPECT_NE(build(make("third.h5",
                         [](hid_t file) {
                             put(file, "inputs", shape, some_tokens(1));
                             put(file, "targets", shape, some_tokens(0));
                         }))
                  ->data_sha256(),
              one);
}

TEST_F(TokensTask, ValuesOutOfRangeAreNamedWithTheirPlace) {
    const auto error = [&](const char* dataset, std::int64_t value) {
        const std::string file = make("bad.h5", [&](hid_t id) {
            for (const std::string name : {"inputs", "targets"}) {
                auto values = some_tokens(0);
                if (name == dataset) values[18] = value;  // [1, 1, 3]
                put(id, name.c_str(), shape, values);
            }
        });
        return message_of<UsageError>([&] { build(file); });
    };
    expect_contains(error("inputs", V), {path("bad.h5"), "/inputs[1, 1, 3] is 7", "vocab_size = 7"});
    expect_contains(error("inputs", -1), {"/inputs[1, 1, 3] is -1"});
    expect_contains(error("targets", V), {"/targets[1, 1, 3] is 7"});
    expect_contains(error("targets", -2),
                    {"/targets[1, 1, 3] is -2", "allows 0 to 6, and -1 for a target that is not scored", "correct"});
    expect_contains(error("targets", -100), {"is -100", "-1 for a target that is not scored", "write -1"});
    expect_contains(error("inputs", -100), {"is -100", "allows 0 to 6; correct"});
    expect_contains(error("inputs", std::numeric_limits<std::int64_t>::min()), {"is -9223372036854775808 or less"});
}

TEST_F(TokensTask, AFileWithoutAnyScoredTargetIsRefused) {
    const std::string file = make("unscored.h5", [](hid_t id) {
        put(id, "inputs", shape, some_tokens(4));
        put(id, "targets", shape, std::vector<std::int64_t>(30, -1));
    });
    expect_contains(message_of<UsageError>([&] { build(file); }), {file, "/targets holds no scored target"});
    expect_contains(message_of<UsageError>([&] {
                        build(good("t.h5"), {{"eval_path", file}});
                    }),
                    {file, "/targets holds no scored target"});
}

TEST_F(TokensTask, BadLayoutIsNamed) {
    expect_contains(inputs_error<UsageError>([](hid_t) {}), {"/inputs is missing"});
    expect_contains(inputs_error<UsageError>([](hid_t id) {
                        put(id, "inputs", {6, 5}, some_tokens(0));
                    }),
                    {"/inputs", "rank 2"});
    expect_contains(inputs_error<UsageError>([](hid_t id) {
                        put(id, "inputs", {5, 2, 3}, some_tokens(0));
                    }),
                    {"/inputs is [5, 2, 3]", "task.seq_len is 5", "task.seq_len = 3"});
    expect_contains(inputs_error<UsageError>([](hid_t id) {
                        put(id, "inputs", {2, 3, 5}, some_tokens(0));
                    }),
                    {"/targets is [3, 2, 5]", "/inputs is [2, 3, 5]"});
    expect_contains(inputs_error<UsageError>([](hid_t id) {
                        put(id, "inputs", {0, 2, 5}, {});
                    }),
                    {"/inputs is [0, 2, 5]"});
    for (const hid_t type : {H5T_IEEE_F32LE, H5T_IEEE_F64BE, H5T_STD_B64LE, H5T_C_S1})
        expect_contains(inputs_error<UsageError>([&](hid_t id) { put(id, "inputs", shape, {}, type); }),
                        {"/inputs is not of integers", "int64"});
}

TEST_F(TokensTask, IntegersOfAnySizeAndByteOrderAreTheSameTokens) {
    const auto task = build(good("t.h5"));
    for (const hid_t type : {H5T_STD_I8LE, H5T_STD_U8BE, H5T_STD_I16LE, H5T_STD_U16BE, H5T_STD_U16LE, H5T_STD_I32LE,
                             H5T_STD_I32BE, H5T_STD_U32LE, H5T_STD_I64BE, H5T_STD_U64LE, H5T_STD_U64BE}) {
        const auto other = build(make("other.h5", [&](hid_t file) {
            put(file, "inputs", shape, some_tokens(0), type);
            put(file, "targets", shape, some_tokens(1), H5T_STD_I16BE);
        }));
        EXPECT_EQ(other->data_sha256(), task->data_sha256());
        for (std::int64_t step = 0; step < 3; ++step) {
            EXPECT_EQ(values_of(other->train_batch(step, 2).inputs), values_of(task->train_batch(step, 2).inputs));
            EXPECT_EQ(values_of(other->train_batch(step, 2).targets), values_of(task->train_batch(step, 2).targets));
        }
    }
    // -1 in a type as small as can hold it.
    const auto masked = build(make("masked.h5", [&](hid_t file) {
        std::vector<std::int64_t> targets(30, -1);
        targets[0] = 3;
        put(file, "inputs", shape, some_tokens(0), H5T_STD_U8LE);
        put(file, "targets", shape, targets, H5T_STD_I8LE);
    }));
    EXPECT_EQ(values_of(masked->train_batch(1, 2).targets), std::vector<std::int64_t>(10, -1));
}

TEST_F(TokensTask, WhatInt64CannotHoldIsNamedWithItsPlace) {
    std::vector<std::uint64_t> values(30, 2);
    values[18] = std::uint64_t{1} << 63U;  // [1, 1, 3]
    values[20] = ~std::uint64_t{0};
    const std::string error = inputs_error<UsageError>([&](hid_t id) {
        put(id, "inputs", shape, {}, H5T_STD_U64LE);
        const hid_t data = H5Dopen2(id, "inputs", H5P_DEFAULT);
        H5Dwrite(data, H5T_NATIVE_UINT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data());
        H5Dclose(data);
    });
    expect_contains(error, {"/inputs[1, 1, 3] is 9223372036854775807 or more", "allows 0 to 6"});
}

TEST_F(TokensTask, AbsurdSizesAreRefusedBeforeMemoryIsTaken) {
    const auto chunked = [](const Sizes& sizes) {
        return [sizes](hid_t id) {
            const Sizes chunk = {1, 1, 5};
            const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
            H5Pset_chunk(creation, 3, chunk.data());
            put(id, "inputs", sizes, {}, H5T_STD_I64LE, creation);
            H5Pclose(creation);
        };
    };
    for (const Sizes& sizes : {Sizes{1ULL << 50, 2, 5}, Sizes{1ULL << 31, 1ULL << 31, 5}, Sizes{1ULL << 62, 1, 5}})
        expect_contains(inputs_error<UsageError>(chunked(sizes)), {"/inputs", "memory"});
}

TEST_F(TokensTask, NothingIsReadFromOutsideTheFile) {
    const std::string other = good("other.h5");
    const auto refused = [&](const std::string& reason, auto&& fill) {
        const std::string file = make("bad.h5", [&](hid_t id) {
            fill(id);
            put(id, "targets", shape, some_tokens(1));
        });
        expect_contains(message_of<IoError>([&] { build(file); }), {path("bad.h5"), reason});
    };
    refused("link",
            [&](hid_t id) { H5Lcreate_external(other.c_str(), "/inputs", id, "inputs", H5P_DEFAULT, H5P_DEFAULT); });
    refused("another file", [&](hid_t id) {
        const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
        H5Pset_external(creation, other.c_str(), 0, 240);
        put(id, "inputs", shape, {}, H5T_STD_I64LE, creation);
        H5Pclose(creation);
    });
    refused("another file", [&](hid_t id) {
        const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
        const hid_t space = H5Screate_simple(3, shape.data(), nullptr);
        H5Pset_virtual(creation, space, other.c_str(), "/inputs", space);
        put(id, "inputs", shape, {}, H5T_STD_I64LE, creation);
        H5Sclose(space);
        H5Pclose(creation);
    });
}

TEST_F(TokensTask, FilesThatAreNoHdf5AreNamed) {
    expect_contains(message_of<IoError>([&] { build(path("none.h5")); }), {path("none.h5"), "does not exist"});
    expect_contains(message_of<IoError>([&] { build(folder_); }), {folder_, "is a folder"});
    expect_contains(message_of<IoError>([&] { build(write("text.h5", "not HDF5")); }), {path("text.h5")});
    good("cut.h5");
    std::filesystem::resize_file(path("cut.h5"), std::filesystem::file_size(path("cut.h5")) - 100);
    expect_contains(message_of<IoError>([&] { build(path("cut.h5")); }), {path("cut.h5")});
}

}  // namespace
}  // namespace headscope::experiments
