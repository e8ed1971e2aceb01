// SHA-256 and HMAC-SHA-256: the only door to OpenSSL's digests.
//
// Digest is a value. Sha256 is one stream, owned by one thread. Pure otherwise; aborts only when
// OpenSSL cannot provide SHA-256 at all, which no caller could handle.
#pragma once

#include <array>
#include <compare>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "cache/base/bytes.h"
#include "cache/base/coding.h"

namespace cairn {

constexpr size_t kDigestSize = 32;

struct Digest {
  std::array<std::byte, kDigestSize> bytes{};
  auto operator<=>(const Digest&) const = default;
  Bytes view() const { return bytes; }
  std::string hex() const { return to_hex(bytes); }
  // 64 lower-case hex digits, anything else is nullopt.
  static std::optional<Digest> from_hex(std::string_view hex);
  // Requires b.size() == kDigestSize.
  static Digest from_bytes(Bytes b);
};

Digest sha256(Bytes in);
Digest hmac_sha256(Bytes key, Bytes message);
// Standard base64 with padding (HTTP headers).
std::string to_base64(Bytes in);

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  void update(Bytes in);
  Digest finish();  // once; the stream cannot be used afterwards

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cairn

template <>
struct std::hash<cairn::Digest> {
  size_t operator()(const cairn::Digest& d) const noexcept {
    return static_cast<size_t>(cairn::get_le<uint64_t>(d.bytes.data()));
  }
};
