#include "cache/format/records.h"

#include <sys/stat.h>

#include <array>
#include <cstdlib>

#include "cache/base/coding.h"
#include "cache/format/cbor.h"

namespace cairn {
namespace {

constexpr size_t kInoDigits = 16;
constexpr uint64_t kMaxSigned = INT64_MAX;
constexpr std::string_view kSuperblockKey = "0000000000000000/s";

std::string ino_text(Ino ino) {
  std::array<std::byte, 8> raw;
  put_be64(raw.data(), ino);
  return to_hex(raw);
}

constexpr std::array<std::pair<FileType, uint32_t>, 7> kTypes{{
    {FileType::kRegular, S_IFREG},
    {FileType::kDirectory, S_IFDIR},
    {FileType::kSymlink, S_IFLNK},
    {FileType::kFifo, S_IFIFO},
    {FileType::kSocket, S_IFSOCK},
    {FileType::kCharDevice, S_IFCHR},
    {FileType::kBlockDevice, S_IFBLK},
}};

Result<UnknownElements> read_unknown(CborReader& in, uint64_t count) {
  UnknownElements unknown;
  for (; unknown.count < count; ++unknown.count) {
    TRY_ASSIGN(const Bytes element, in.raw());
    append(unknown.bytes, element);
  }
  return unknown;
}

// A link to a block of the given codecs: never an identity CID, which would not be stored.
bool is_block_link(const Cid& cid, Codec a, Codec b) {
  return !cid.is_identity() && (cid.codec() == a || cid.codec() == b);
}

}  // namespace

bool valid_name(std::string_view name) {
  return !name.empty() && name.size() <= kMaxName && name != "." && name != ".." &&
         name.find('/') == name.npos && name.find('\0') == name.npos;
}

bool valid_xattr_name(std::string_view name) {
  return !name.empty() && name.size() <= kMaxName && name.find('\0') == name.npos;
}

std::string superblock_key() {
  return std::string(kSuperblockKey);
}
std::string inode_key(Ino ino) {
  return ino_text(ino) + "/i";
}
std::string ino_prefix(Ino ino) {
  return ino_text(ino) + "/";
}
std::string dirent_prefix(Ino dir) {
  return ino_text(dir) + "/d/";
}
std::string xattr_prefix(Ino ino) {
  return ino_text(ino) + "/x/";
}
std::string dirent_key(Ino dir, std::string_view name) {
  return dirent_prefix(dir).append(name);
}
std::string xattr_key(Ino ino, std::string_view name) {
  return xattr_prefix(ino).append(name);
}

std::string prefix_end(std::string prefix) {
  while (!prefix.empty() && static_cast<unsigned char>(prefix.back()) == 0xff) prefix.pop_back();
  if (!prefix.empty()) ++prefix.back();
  return prefix;
}

Result<RecordKey> parse_key(std::string_view key) {
  const auto bad = [] { return fail(Errc::kCorruption, "tree key: not a record's key"); };
  if (key == kSuperblockKey) return RecordKey{};
  if (key.size() < kInoDigits + 2 || key[kInoDigits] != '/') return bad();
  const auto raw = from_hex(key.substr(0, kInoDigits));
  if (!raw) return bad();
  RecordKey out;
  out.ino = get_be64(raw->data());
  if (out.ino == 0) return bad();
  const std::string_view rest = key.substr(kInoDigits + 1);
  if (rest == "i") {
    out.kind = KeyKind::kInode;
    return out;
  }
  if (rest.size() < 2 || rest[1] != '/') return bad();
  out.name = rest.substr(2);
  if (rest[0] == 'd' && valid_name(out.name)) {
    out.kind = KeyKind::kDirent;
    return out;
  }
  if (rest[0] == 'x' && valid_xattr_name(out.name)) {
    out.kind = KeyKind::kXattr;
    return out;
  }
  return bad();
}

Cid record_cid(Bytes encoded) {
  return encoded.size() <= Cid::kMaxInline ? Cid::identity(Codec::kDagCbor, encoded)
                                           : Cid::make(Codec::kDagCbor, encoded);
}

std::optional<FileType> type_of_mode(uint32_t mode) {
  for (const auto& [type, bits] : kTypes)
    if ((mode & S_IFMT) == bits) return type;
  return std::nullopt;
}

uint32_t mode_of_type(FileType type) {
  for (const auto& [known, bits] : kTypes)
    if (known == type) return bits;
  return 0;
}

ByteVec Dirent::encode() const {
  ByteVec out;
  CborWriter w(out);
  w.array(2 + unknown.count);
  w.uint(ino);
  w.uint(static_cast<uint64_t>(type));
  w.raw(unknown.bytes);
  return out;
}

Result<Dirent> Dirent::decode(Bytes bytes) {
  CborReader in(bytes);
  Dirent out;
  TRY_ASSIGN(const uint64_t count, in.array());
  if (count < 2) return in.bad("a dirent of too few elements");
  TRY_ASSIGN(out.ino, in.uint());
  if (out.ino == 0) return in.bad("a dirent of inode 0");
  TRY_ASSIGN(const uint64_t type, in.uint_at_most(kTypes.size()));
  if (type == 0) return in.bad("a dirent of unknown type");
  out.type = static_cast<FileType>(type);
  TRY_ASSIGN(out.unknown, read_unknown(in, count - 2));
  TRY(in.finish());
  return out;
}

Status InodeRecord::check() const {
  const auto bad = [](const char* what) {
    return fail(Errc::kInvalid, std::string("inode record: ") + what);
  };
  const auto file_type = type();
  if (mode > UINT16_MAX || !file_type) return bad("mode without a known type");
  if (size > kMaxSigned || allocated > kMaxSigned) return bad("size out of range");
  const auto* cid = std::get_if<Cid>(&body);
  const auto* target = std::get_if<ByteVec>(&body);
  const bool none = std::holds_alternative<std::monostate>(body);
  const auto* number = std::get_if<uint64_t>(&body);
  switch (*file_type) {
    case FileType::kRegular:
      if (none || (cid && is_block_link(*cid, Codec::kRaw, Codec::kDagPb))) return {};
      break;
    case FileType::kSymlink:
      if (target && !target->empty() && target->size() <= kMaxInlineTarget) return {};
      if (cid && is_block_link(*cid, Codec::kRaw, Codec::kRaw)) return {};
      break;
    case FileType::kDirectory:
      if (number && *number != 0) return {};
      break;
    case FileType::kCharDevice:
    case FileType::kBlockDevice:
      if (number) return {};
      break;
    case FileType::kFifo:
    case FileType::kSocket:
      if (none) return {};
      break;
  }
  return bad("body that does not fit its type");
}

ByteVec InodeRecord::encode() const {
  if (!check()) std::abort();  // the caller's mistake: nobody could read this record again
  constexpr uint64_t kElements = 12;
  ByteVec out;
  out.reserve(kMaxEncoded + unknown.bytes.size());
  CborWriter w(out);
  w.array(kElements + unknown.count);
  w.uint(mode);
  w.uint(uid);
  w.uint(gid);
  w.uint(nlink);
  w.uint(size);
  w.uint(allocated);
  for (const int64_t time : {mtime, ctime, atime, btime}) w.integer(time);
  if (const auto* cid = std::get_if<Cid>(&body)) {
    w.link(*cid);
  } else if (const auto* target = std::get_if<ByteVec>(&body)) {
    w.bytes(*target);
  } else if (const auto* number = std::get_if<uint64_t>(&body)) {
    w.uint(*number);
  } else {
    w.null();
  }
  w.uint(flags);
  w.raw(unknown.bytes);
  return out;
}

Result<InodeRecord> InodeRecord::decode(Bytes bytes) {
  constexpr uint64_t kElements = 12;
  CborReader in(bytes);
  InodeRecord out;
  TRY_ASSIGN(const uint64_t count, in.array());
  if (count < kElements) return in.bad("an inode record of too few elements");
  for (auto* field : {&out.mode, &out.uid, &out.gid, &out.nlink}) {
    TRY_ASSIGN(const uint64_t value, in.uint_at_most(UINT32_MAX));
    *field = static_cast<uint32_t>(value);
  }
  TRY_ASSIGN(out.size, in.uint());
  TRY_ASSIGN(out.allocated, in.uint());
  for (auto* time : {&out.mtime, &out.ctime, &out.atime, &out.btime}) {
    TRY_ASSIGN(*time, in.integer());
  }
  TRY_ASSIGN(const CborType body_type, in.peek());
  if (body_type == CborType::kLink) {
    TRY_ASSIGN(out.body, in.link());
  } else if (body_type == CborType::kBytes) {
    TRY_ASSIGN(const Bytes target, in.bytes());
    if (target.size() > kMaxInlineTarget) return in.bad("an inline target that is too long");
    out.body = to_vec(target);
  } else if (body_type == CborType::kUint) {
    TRY_ASSIGN(out.body, in.uint());
  } else {
    TRY(in.null());
  }
  TRY_ASSIGN(const uint64_t flags, in.uint_at_most(UINT32_MAX));
  out.flags = static_cast<uint32_t>(flags);
  TRY_ASSIGN(out.unknown, read_unknown(in, count - kElements));
  TRY(in.finish());
  if (const Status valid = out.check(); !valid) return in.bad(valid.error().message());
  return out;
}

XattrValue XattrValue::of(Bytes bytes) {
  XattrValue out;
  if (bytes.size() <= kMaxInline) {
    out.value = to_vec(bytes);
  } else {
    out.value = Cid::make(Codec::kRaw, bytes);
  }
  return out;
}

ByteVec XattrValue::encode() const {
  ByteVec out;
  CborWriter w(out);
  if (const auto* bytes = std::get_if<ByteVec>(&value)) {
    w.bytes(*bytes);
  } else {
    w.link(std::get<Cid>(value));
  }
  return out;
}

Result<XattrValue> XattrValue::decode(Bytes bytes) {
  CborReader in(bytes);
  XattrValue out;
  TRY_ASSIGN(const CborType type, in.peek());
  if (type == CborType::kLink) {
    TRY_ASSIGN(const Cid cid, in.link());
    if (!is_block_link(cid, Codec::kRaw, Codec::kRaw)) return in.bad("an xattr of another codec");
    out.value = cid;
  } else {
    TRY_ASSIGN(const Bytes inline_bytes, in.bytes());
    if (inline_bytes.size() > kMaxInline) return in.bad("an inline xattr that is too long");
    out.value = to_vec(inline_bytes);
  }
  TRY(in.finish());
  return out;
}

}  // namespace cairn
