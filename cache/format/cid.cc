#include "cache/format/cid.h"

#include <algorithm>
#include <cstdlib>

namespace cairn {
namespace {

constexpr uint64_t kCidVersion = 1;
constexpr uint8_t kIdentityHash = 0x00;
constexpr uint8_t kSha256Hash = 0x12;

bool known_codec(uint64_t codec) {
  return codec == static_cast<uint64_t>(Codec::kRaw) ||
         codec == static_cast<uint64_t>(Codec::kDagPb) ||
         codec == static_cast<uint64_t>(Codec::kDagCbor);
}

}  // namespace

Cid Cid::from_digest(Codec codec, const Digest& digest) {
  Cid cid;
  cid.codec_ = codec;
  cid.identity_ = false;
  cid.size_ = kDigestSize;
  std::copy(digest.bytes.begin(), digest.bytes.end(), cid.data_.begin());
  return cid;
}

Cid Cid::identity(Codec codec, Bytes payload) {
  if (payload.size() > kMaxInline) std::abort();  // the caller's mistake: it would lose bytes
  Cid cid;
  cid.codec_ = codec;
  cid.identity_ = true;
  cid.size_ = static_cast<uint8_t>(payload.size());
  std::copy_n(payload.begin(), cid.size_, cid.data_.begin());
  return cid;
}

Result<Cid> Cid::take(Bytes& in) {
  Bytes rest = in;
  TRY_ASSIGN(const uint64_t version, take_varint(rest));
  if (version != kCidVersion) return fail(Errc::kCorruption, "CID: not version 1");
  TRY_ASSIGN(const uint64_t codec, take_varint(rest));
  if (!known_codec(codec))
    return fail(Errc::kCorruption, "CID: unknown codec " + std::to_string(codec));
  TRY_ASSIGN(const uint64_t hash, take_varint(rest));
  TRY_ASSIGN(const uint64_t size, take_varint(rest));
  if (hash != kIdentityHash && hash != kSha256Hash)
    return fail(Errc::kCorruption, "CID: unknown hash function " + std::to_string(hash));
  if (hash == kSha256Hash ? size != kDigestSize : size > kMaxInline)
    return fail(Errc::kCorruption, "CID: digest of " + std::to_string(size) + " bytes");
  if (rest.size() < size) return fail(Errc::kCorruption, "CID: truncated");
  const Bytes data = rest.first(static_cast<size_t>(size));
  in = rest.subspan(data.size());
  const auto checked = static_cast<Codec>(codec);
  return hash == kIdentityHash ? identity(checked, data)
                               : from_digest(checked, Digest::from_bytes(data));
}

Result<Cid> Cid::from_bytes(Bytes in) {
  TRY_ASSIGN(Cid cid, take(in));
  if (!in.empty()) return fail(Errc::kCorruption, "CID: bytes after its end");
  return cid;
}

Result<Cid> Cid::parse(std::string_view text) {
  if (text.size() < 2 || text.size() > kMaxText || text.front() != 'b')
    return fail(Errc::kInvalid, "CID: not a base32 CID of version 1 (it begins with 'b')");
  const auto bytes = from_base32(text.substr(1));
  if (!bytes) return fail(Errc::kInvalid, "CID: not lower case base32");
  auto cid = from_bytes(*bytes);
  if (!cid) return fail(Errc::kInvalid, cid.error().message());
  return cid;
}

Digest Cid::digest() const {
  if (identity_) std::abort();  // the caller's mistake: an identity CID names no block
  return Digest::from_bytes(Bytes(data_).first(kDigestSize));
}

bool Cid::matches(Bytes data) const {
  return identity_ ? equal(payload(), data) : digest() == sha256(data);
}

void Cid::append_to(ByteVec& out) const {
  put_varint(out, kCidVersion);
  put_varint(out, static_cast<uint64_t>(codec_));
  put_varint(out, identity_ ? kIdentityHash : kSha256Hash);
  put_varint(out, size_);
  append(out, Bytes(data_).first(size_));
}

ByteVec Cid::bytes() const {
  ByteVec out;
  out.reserve(byte_size());
  append_to(out);
  return out;
}

std::string Cid::text() const {
  return "b" + to_base32(bytes());
}

// The binary form is compared field by field: codec, hash function, length, digest. (All but the
// length are one byte each, and the two-byte length 128 begins with 0x80, after every other one.)
std::strong_ordering Cid::operator<=>(const Cid& other) const {
  if (codec_ != other.codec_) return codec_ <=> other.codec_;
  if (identity_ != other.identity_)
    return identity_ ? std::strong_ordering::less : std::strong_ordering::greater;
  if (size_ != other.size_) return size_ <=> other.size_;
  return std::memcmp(data_.data(), other.data_.data(), size_) <=> 0;
}

}  // namespace cairn
