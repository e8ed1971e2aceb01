// Superblock: what a volume is, the value of the tree's first key. Features: names of what an
// older program may not know, in the superblock and in every commit.
//
// Pure values. Decoders keep fields they do not know; encode(decode(x)) == x. Parameters are fixed
// when the volume is made. Errors: kCorruption; kUnsupported from check_features.
// Format: FORMAT.md, "Superblock" and "Features".
#pragma once

#include <string>
#include <vector>

#include "cache/base/bytes.h"
#include "cache/base/random.h"
#include "cache/base/result.h"
#include "cache/format/cbor.h"

namespace cairn {

struct Features {
  static constexpr size_t kMaxFeatures = 64;  // in one set
  static constexpr size_t kMaxName = 64;      // bytes of one name

  std::vector<std::string> compat;     // ignored when unknown
  std::vector<std::string> ro_compat;  // an unknown one allows reading only
  std::vector<std::string> incompat;   // an unknown one refuses the volume
  bool operator==(const Features&) const = default;
};

enum class Access : uint8_t { kReadWrite, kReadOnly };

// What this program may do with a volume of these features. kUnsupported, naming the feature, when
// an incompatible one is unknown.
Result<Access> check_features(const Features& features);

// The names sorted and without doubles, as they are encoded.
void write_feature_set(CborWriter& out, const std::vector<std::string>& names);
Result<std::vector<std::string>> read_feature_set(CborReader& in);

struct Superblock {
  static constexpr uint64_t kFormat = 1;
  static constexpr uint64_t kMinChunkSize = 4096;
  static constexpr uint64_t kMaxChunkSize = 4 << 20;  // and a multiple of the smallest
  static constexpr uint64_t kMinLinks = 2;
  static constexpr uint64_t kMaxLinks = 8192;
  static constexpr uint64_t kMinFanoutBits = 2;
  static constexpr uint64_t kMaxFanoutBits = 5;

  uint64_t format = kFormat;
  Features features;
  Uuid uuid{};
  uint64_t chunk_size = 256 * 1024;
  uint64_t links_per_node = 174;
  uint64_t fanout_bits = 2;
  std::string profile = "default";    // the UnixFS parameters' name, for people
  uint64_t quota_bytes = 0;           // 0: none
  std::string name_policy = "bytes";  // names are compared as they are
  CborFields unknown;
  bool operator==(const Superblock&) const = default;

  ByteVec encode() const;
  static Result<Superblock> decode(Bytes in);
};

}  // namespace cairn
