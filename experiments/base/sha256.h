#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

struct evp_md_ctx_st;

namespace headscope::experiments {

/// SHA-256 of bytes that come piece by piece.
class Sha256 {
public:
    Sha256();
    ~Sha256();
    Sha256(const Sha256&) = delete;
    Sha256& operator=(const Sha256&) = delete;
    void add(std::span<const std::byte> bytes);
    /// As 64 hex digits, of all pieces one behind the other. Called once, at the end.
    std::string hex();

private:
    evp_md_ctx_st* context_;
};

/// SHA-256 as 64 hex digits.
std::string sha256(std::span<const std::byte> bytes);
std::string sha256(std::string_view text);

}  // namespace headscope::experiments
