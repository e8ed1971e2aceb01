#include "cache/base/digest.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <cstdlib>

namespace cairn {

namespace {
const unsigned char* raw(Bytes b) { return reinterpret_cast<const unsigned char*>(b.data()); }
unsigned char* raw(Digest& d) { return reinterpret_cast<unsigned char*>(d.bytes.data()); }

// Fetched once: looking the algorithm up costs more than hashing a small block.
const EVP_MD* sha256_algorithm() {
  static EVP_MD* const algorithm = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  if (algorithm == nullptr) std::abort();
  return algorithm;
}
}  // namespace

struct Sha256::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  State() {
    if (context == nullptr || EVP_DigestInit_ex(context, sha256_algorithm(), nullptr) != 1)
      std::abort();
  }
  ~State() { EVP_MD_CTX_free(context); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
};

Sha256::Sha256() : state_(std::make_unique<State>()) {}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::update(Bytes in) {
  if (EVP_DigestUpdate(state_->context, in.data(), in.size()) != 1) std::abort();
}

Digest Sha256::finish() {
  Digest out;
  if (EVP_DigestFinal_ex(state_->context, raw(out), nullptr) != 1) std::abort();
  return out;
}

std::optional<Digest> Digest::from_hex(std::string_view hex) {
  const auto bytes = cairn::from_hex(hex);
  if (!bytes || bytes->size() != 32) return std::nullopt;
  return from_bytes(*bytes);
}

Digest Digest::from_bytes(Bytes b) {
  if (b.size() != 32) std::abort();
  Digest out;
  std::memcpy(out.bytes.data(), b.data(), 32);
  return out;
}

Digest sha256(Bytes in) {
  Digest out;
  if (EVP_Digest(in.data(), in.size(), raw(out), nullptr, sha256_algorithm(), nullptr) != 1)
    std::abort();
  return out;
}

Digest hmac_sha256(Bytes key, Bytes message) {
  Digest out;
  unsigned size = 0;
  if (HMAC(sha256_algorithm(), key.data(), static_cast<int>(key.size()), raw(message),
           message.size(), raw(out), &size) == nullptr ||
      size != 32)
    std::abort();
  return out;
}

std::string to_base64(Bytes in) {
  std::string out(4 * ((in.size() + 2) / 3) + 1, '\0');
  const int length = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()), raw(in),
                                     static_cast<int>(in.size()));
  out.resize(static_cast<size_t>(length));
  return out;
}

}  // namespace cairn
