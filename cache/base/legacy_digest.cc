#include "cache/base/legacy_digest.h"

#include <openssl/evp.h>

#include <cstdlib>

#include "cache/base/coding.h"

namespace cairn {

namespace {

template <size_t N>
std::array<std::byte, N> digest_with(const EVP_MD* algorithm, Bytes in) {
  std::array<std::byte, N> out{};
  unsigned size = 0;
  if (EVP_Digest(in.data(), in.size(), reinterpret_cast<unsigned char*>(out.data()), &size,
                 algorithm, nullptr) != 1 ||
      size != N)
    std::abort();
  return out;
}

}  // namespace

std::string sha1_hex(Bytes in) {
  return to_hex(digest_with<20>(EVP_sha1(), in));
}

std::array<std::byte, 16> md5(Bytes in) {
  return digest_with<16>(EVP_md5(), in);
}

}  // namespace cairn
