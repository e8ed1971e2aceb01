// Keys and values of the tree: inode numbers, dirents, inode records, xattrs.
//
// Pure functions over bytes, safe from any thread. Decoders accept only what the encoders write
// and keep elements that a newer version put behind the known ones; encode(decode(x)) == x.
// Errors: kCorruption for bytes that are not such a record, kInvalid for a key or name that must
// not be built.
// Format: FORMAT.md, "Tree keys and records".
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "cache/base/bytes.h"
#include "cache/base/result.h"
#include "cache/format/cid.h"

namespace cairn {

// ---- inode numbers: 16-bit slot of the writer, 32-bit group, 16-bit index

using Ino = uint64_t;

inline constexpr Ino kRootIno = 1;  // slot 0, group 0, index 1
inline constexpr uint32_t kMaxIndex = UINT16_MAX;

constexpr Ino make_ino(uint16_t slot, uint32_t group, uint16_t index) {
  return uint64_t{slot} << 48 | uint64_t{group} << 16 | index;
}
constexpr uint16_t ino_slot(Ino ino) {
  return static_cast<uint16_t>(ino >> 48);
}
constexpr uint32_t ino_group(Ino ino) {
  return static_cast<uint32_t>(ino >> 16);
}
constexpr uint16_t ino_index(Ino ino) {
  return static_cast<uint16_t>(ino);
}

// ---- keys

inline constexpr size_t kMaxName = 255;  // of a dirent or an xattr, in bytes
inline constexpr size_t kMaxRecordKey = 16 + 3 + kMaxName;

enum class KeyKind : uint8_t { kSuperblock, kDirent, kInode, kXattr };

struct RecordKey {
  KeyKind kind = KeyKind::kSuperblock;
  Ino ino = 0;            // the directory of a dirent; 0 for the superblock
  std::string_view name;  // of a dirent or an xattr, inside the parsed key
  bool operator==(const RecordKey&) const = default;
};

// A name that can stand in a directory: 1 to 255 bytes, no '/' or NUL, not "." or "..".
bool valid_name(std::string_view name);
// 1 to 255 bytes without NUL.
bool valid_xattr_name(std::string_view name);

// The builders require a valid name and, but for the superblock, ino != 0.
std::string superblock_key();
std::string inode_key(Ino ino);
std::string dirent_key(Ino dir, std::string_view name);
std::string xattr_key(Ino ino, std::string_view name);
// What all keys of an inode, all dirents of a directory, all xattrs of an inode begin with.
std::string ino_prefix(Ino ino);
std::string dirent_prefix(Ino dir);
std::string xattr_prefix(Ino ino);
// The first key after every key that begins with `prefix`, whatever bytes it has; empty when there
// is none.
std::string prefix_end(std::string prefix);

Result<RecordKey> parse_key(std::string_view key);

// ---- values

// A value of the tree: identity when the encoded record is small, else a dag-cbor block that the
// caller must store under cid.digest().
Cid record_cid(Bytes encoded);

// Array elements behind those known here, as they came.
struct UnknownElements {
  uint64_t count = 0;
  ByteVec bytes;
  bool operator==(const UnknownElements&) const = default;
};

enum class FileType : uint8_t {
  kRegular = 1,
  kDirectory = 2,
  kSymlink = 3,
  kFifo = 4,
  kSocket = 5,
  kCharDevice = 6,
  kBlockDevice = 7,
};

// The type in st_mode's upper bits, and back.
std::optional<FileType> type_of_mode(uint32_t mode);
uint32_t mode_of_type(FileType type);

struct Dirent {
  Ino ino = 0;
  FileType type = FileType::kRegular;
  UnknownElements unknown;
  bool operator==(const Dirent&) const = default;

  ByteVec encode() const;
  static Result<Dirent> decode(Bytes in);
};

struct InodeRecord {
  static constexpr size_t kMaxInlineTarget = 48;  // bytes of a symlink target in the record
  static constexpr size_t kMaxTarget = 4095;      // bytes of any symlink target
  static constexpr size_t kMaxEncoded = 119;      // without unknown elements

  uint32_t mode = 0;  // as st_mode, type included; 16 bits
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t nlink = 0;
  uint64_t size = 0;       // at most 2^63 - 1
  uint64_t allocated = 0;  // bytes of storage, as st_blocks * 512; at most 2^63 - 1
  int64_t mtime = 0;       // nanoseconds since 1970
  int64_t ctime = 0;
  int64_t atime = 0;
  int64_t btime = 0;
  // regular file: nothing (no content: every byte is zero), or the content CID
  // symlink: the target's bytes, or the CID of a raw block that holds it
  // directory: the parent's inode number;  device: st_rdev;  fifo, socket: nothing
  std::variant<std::monostate, Cid, ByteVec, uint64_t> body;
  uint32_t flags = 0;
  UnknownElements unknown;
  bool operator==(const InodeRecord&) const = default;

  // Requires a record that decode would accept: a body that fits the type, values in their range.
  ByteVec encode() const;
  static Result<InodeRecord> decode(Bytes in);

  std::optional<FileType> type() const { return type_of_mode(mode); }
  // kInvalid when encode() would write what decode() refuses.
  Status check() const;
};

// An xattr's value: its bytes when they fit an inline value, else the CID of a raw block of them.
struct XattrValue {
  static constexpr size_t kMaxInline = 126;
  static constexpr size_t kMaxBytes = 65536;  // what Linux allows

  std::variant<ByteVec, Cid> value;
  bool operator==(const XattrValue&) const = default;

  // Inline, or a link to the raw block of `bytes`, which the caller must store then.
  static XattrValue of(Bytes bytes);
  ByteVec encode() const;
  static Result<XattrValue> decode(Bytes in);
};

}  // namespace cairn
