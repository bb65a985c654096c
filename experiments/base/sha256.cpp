#include "experiments/base/sha256.h"

#include <openssl/evp.h>

#include <array>

#include "autograd/error.h"

namespace headscope::experiments {

namespace {

void require_sha256(bool done) {
    if (!done) throw Error("sha256: libcrypto cannot compute it");
}

}  // namespace

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
    require_sha256(context_ != nullptr && EVP_DigestInit_ex(context_, EVP_sha256(), nullptr) == 1);
}

Sha256::~Sha256() { EVP_MD_CTX_free(context_); }

void Sha256::add(std::span<const std::byte> bytes) {
    require_sha256(EVP_DigestUpdate(context_, bytes.data(), bytes.size()) == 1);
}

std::string Sha256::hex() {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned size = 0;
    require_sha256(EVP_DigestFinal_ex(context_, digest.data(), &size) == 1);
    std::string hex;
    for (unsigned i = 0; i < size; ++i) {
        hex += "0123456789abcdef"[digest[i] >> 4];
        hex += "0123456789abcdef"[digest[i] & 15];
    }
    return hex;
}

std::string sha256(std::span<const std::byte> bytes) {
    Sha256 digest;
    digest.add(bytes);
    return digest.hex();
}

std::string sha256(std::string_view text) { return sha256(std::as_bytes(std::span(text))); }

}  // namespace headscope::experiments
