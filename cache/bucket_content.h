// Names of contents and chunks of a bucket's objects.
//
// A version of an object has a digest of which 16 bytes count. A content is named by them and the
// inode, a chunk by a digest of version and index, the inode and the index: so what a name stands
// for is found without a table, and a stale one is told from a fresh one.
// Pure functions.
#pragma once

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>

#include "cache/base/coding.h"
#include "cache/base/digest.h"
#include "cache/base/result.h"
#include "cache/journal.h"

namespace cairn {

inline constexpr uint32_t kObjectChunkBytes = 256 * 1024;
inline constexpr uint64_t kWholeContent = UINT64_MAX;  // in place of a chunk's index

inline Digest half(Digest version) {
  std::fill(version.bytes.begin() + 16, version.bytes.end(), std::byte{0});
  return version;
}

inline Digest name_of_chunk(const Digest& version, uint64_t ino, uint64_t index) {
  std::array<std::byte, 40> in{};
  std::copy_n(version.bytes.begin(), 16, in.begin());
  put_be64(in.data() + 32, index);
  Digest name = index == kWholeContent ? version : sha256(in);
  put_be64(name.bytes.data() + 16, ino);
  put_be64(name.bytes.data() + 24, index);
  return name;
}

inline uint64_t ino_of_name(const Digest& name) {
  return get_be64(name.bytes.data() + 16);
}
inline uint64_t index_of_name(const Digest& name) {
  return get_be64(name.bytes.data() + 24);
}

inline uint32_t object_chunk_length(uint64_t size, uint64_t index) {
  return static_cast<uint32_t>(
      std::min<uint64_t>(kObjectChunkBytes, size - index * kObjectChunkBytes));
}

// What who reads a version that is gone gets to hear.
inline tl::unexpected<Error> object_replaced() {
  return fail(Errc::kPrecondition, "the object was replaced or removed since it was opened",
              ESTALE);
}

// The version that this cache makes of an inode by its records up to `lsn`.
inline Digest own_version(uint64_t ino, Lsn lsn) {
  std::array<std::byte, 16> in{};
  put_be64(in.data(), ino);
  put_be64(in.data() + 8, lsn);
  return half(sha256(in));
}

}  // namespace cairn
