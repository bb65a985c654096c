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

TEST(ChildProcess, PiecesComeInOrderWhileTheChildReadsOn) {
    std::string sent, got;
    for (int i = 0; i < 300'000; ++i) sent += static_cast<char>(i * i >> 3);
    read_in_child(
        "file.h5",
        [&](const SendBytes& send) {
            for (std::size_t at = 0, size = 0; at < sent.size(); at += size++) send(sent.substr(at, size));
        },
        [&](std::string_view part) { got += part; });
    EXPECT_EQ(got, sent);
}

TEST(ChildProcess, ErrorsAfterPiecesAreErrors) {
    const auto message = [](const std::function<void(const SendBytes&)>& read) {
        std::string got;
        try {
            read_in_child("file.h5", read, [&](std::string_view part) { got += part; });
        } catch (const Error& error) {
            return got + ": " + error.what();
        }
        return std::string("no error");
    };
    EXPECT_EQ(message([](const SendBytes& send) {
                  send("some");
                  throw UsageError("wrong value");
              }),
              "some: wrong value");
    EXPECT_TRUE(message([](const SendBytes& send) {
                    send("some");
                    _exit(0);
                }).starts_with("some: file.h5: damaged"));
}

TEST(ChildProcess, WhatTheTakerThrowsEndsTheChild) {
    int taken = 0;
    EXPECT_THROW(read_in_child(
                     "file.h5",
                     [](const SendBytes& send) {
                         for (;;) send(std::string(100'000, 'x'));
                     },
                     [&](std::string_view) {
                         if (++taken == 3) throw UsageError("enough");
                     }),
                 UsageError);
    EXPECT_EQ(taken, 3);
}

TEST(ChildProcess, ChangesNothingHere) {
    int count = 1;
    read_in_child("file.h5", [&] { return std::to_string(++count); });
    EXPECT_EQ(count, 1);
}

}  // namespace
}  // namespace headscope::experiments
