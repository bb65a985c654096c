#include "experiments/storage/child_process.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <ctime>

#include "experiments/base/errors.h"

namespace headscope::experiments {
namespace {

template <class Kind>
std::string message_of(const std::function<std::string()>& read) {
    try {
        read_in_child("file.h5", read);
    } catch (const Kind& error) {
        return error.what();
    }
    return "no error";
}

TEST(ChildProcess, BytesComeBack) {
    std::string bytes(1'000'003, '\0');
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * i >> 3);
    EXPECT_EQ(read_in_child("file.h5", [&] { return bytes; }), bytes);
    EXPECT_EQ(read_in_child("file.h5", [] { return std::string(); }), "");
}

TEST(ChildProcess, ErrorsComeBackByKind) {
    EXPECT_EQ(message_of<UsageError>([]() -> std::string { throw UsageError("wrong shape"); }), "wrong shape");
    EXPECT_EQ(message_of<IoError>([]() -> std::string { throw IoError("no such file"); }), "no such file");
    EXPECT_EQ(message_of<IoError>([]() -> std::string { throw std::length_error("too long"); }), "too long");
}

TEST(ChildProcess, CrashesAreErrorsThatNameTheFile) {
    for (const int signal_number : {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGKILL}) {
        const std::string message = message_of<IoError>([&] {
            ::kill(::getpid(), signal_number);
            return std::string("never");
        });
        EXPECT_TRUE(message.starts_with("file.h5: damaged")) << signal_number << ": " << message;
    }
    EXPECT_TRUE(message_of<IoError>([]() -> std::string { _exit(0); }).starts_with("file.h5: damaged"));
}

TEST(ChildProcess, EndlessWorkEnds) {
    const std::string message = message_of<IoError>([] {
        while (std::clock() >= 0) {
        }
        return std::string();
    });
    EXPECT_TRUE(message.starts_with("file.h5: damaged")) << message;
}

TEST(ChildProcess, ChangesNothingHere) {
    int count = 1;
    read_in_child("file.h5", [&] { return std::to_string(++count); });
    EXPECT_EQ(count, 1);
}

}  // namespace
}  // namespace headscope::experiments
