// main() of the tests under ThreadSanitizer, which has said what it found by the time they are over. They end at once
// then: libomp 14, as it is taken down, now and then trips over threads of its own that still end.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>

int main(int argc, char** argv) {
    testing::InitGoogleTest(&argc, argv);
    const int result = RUN_ALL_TESTS();
    std::fflush(nullptr);
    _exit(result);
}
