// Cid: a content identifier, version 1. A small value without heap memory, safe to copy and share.
//
// Either the sha2-256 digest of a block, or (identity) the bytes of a value of at most 128 bytes
// themselves. Three codecs exist here: raw, dag-pb, dag-cbor. Ordering is that of the binary form.
// Errors: from_bytes and take give kCorruption, parse gives kInvalid.
// Format: FORMAT.md, "CIDs" (multiformats CIDv1, multihash 0x12 and 0x00, multibase 'b').
#pragma once

#include <array>
#include <compare>
#include <functional>
#include <string>
#include <string_view>

#include "cache/base/bytes.h"
#include "cache/base/digest.h"
#include "cache/base/result.h"

namespace cairn {

enum class Codec : uint8_t { kRaw = 0x55, kDagPb = 0x70, kDagCbor = 0x71 };

class Cid {
 public:
  static constexpr size_t kMaxInline = 128;           // bytes of an identity payload
  static constexpr size_t kDigestCidSize = 36;        // bytes() of a sha2-256 CID
  static constexpr size_t kMaxSize = 5 + kMaxInline;  // bytes() of the largest CID
  static constexpr size_t kMaxText = 1 + (kMaxSize * 8 + 4) / 5;

  // The identity CID of no bytes.
  Cid() = default;

  // The CID of a block: hashes `data`.
  static Cid make(Codec codec, Bytes data) { return from_digest(codec, sha256(data)); }
  static Cid from_digest(Codec codec, const Digest& digest);
  // Requires payload.size() <= kMaxInline.
  static Cid identity(Codec codec, Bytes payload);

  // Exactly one CID in its binary form, nothing after it.
  static Result<Cid> from_bytes(Bytes in);
  // A CID from the front of `in`, which moves behind it.
  static Result<Cid> take(Bytes& in);
  // The text form: multibase 'b', lower case base32 without padding.
  static Result<Cid> parse(std::string_view text);

  Codec codec() const { return codec_; }
  bool is_identity() const { return identity_; }
  // Requires !is_identity().
  Digest digest() const;
  // The bytes inside an identity CID. Requires is_identity(). Valid while this CID lives.
  Bytes payload() const { return Bytes(data_).first(size_); }
  // True when `data` is the block (or the inline value) this CID names.
  bool matches(Bytes data) const;

  ByteVec bytes() const;
  void append_to(ByteVec& out) const;
  size_t byte_size() const { return 3 + (size_ < 128 ? 1 : 2) + size_t{size_}; }
  std::string text() const;

  bool operator==(const Cid& other) const { return (*this <=> other) == 0; }
  std::strong_ordering operator<=>(const Cid& other) const;

 private:
  Codec codec_ = Codec::kRaw;
  bool identity_ = true;
  uint8_t size_ = 0;  // bytes used in data_
  std::array<std::byte, kMaxInline> data_{};
};

}  // namespace cairn

template <>
struct std::hash<cairn::Cid> {
  size_t operator()(const cairn::Cid& cid) const noexcept {
    if (!cid.is_identity()) return std::hash<cairn::Digest>{}(cid.digest());
    return std::hash<std::string_view>{}(cairn::as_chars(cid.payload()));
  }
};
