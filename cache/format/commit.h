// CommitRecord: what c/<seq> says. One state of the volume and everything needed to read it.
//
// A pure value. decode accepts only what encode writes and keeps fields it does not know, so that
// encode(decode(x)) == x. A checksum finds every damaged byte; nothing else is trusted: whether
// the record follows on its predecessor, and may, the commit log decides.
// Errors: kCorruption (decode), kUnsupported (decode of a record this program must not read;
// encode of one that would be too large), kInvalid (encode). Format: FORMAT.md, "Commits".
#pragma once

#include <array>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cache/base/bytes.h"
#include "cache/base/digest.h"
#include "cache/base/random.h"
#include "cache/base/result.h"
#include "cache/format/cbor.h"
#include "cache/format/cid.h"
#include "cache/format/superblock.h"

namespace cairn {

// A pack that the commit names.
struct CommitPack {
  Digest digest;
  uint64_t size = 0;    // bytes of the object
  uint64_t blocks = 0;  // in its index
  uint64_t tier = 0;    // of a metadata pack; 0 for a data pack
  bool operator==(const CommitPack&) const = default;
};

struct CommitSegment {
  Digest digest;
  uint64_t size = 0;
  uint64_t entries = 0;
  bool operator==(const CommitSegment&) const = default;
};

// A data pack that the collector will delete. Nothing is deduplicated against it.
struct CondemnedPack {
  Digest digest;
  uint64_t size = 0;   // bytes of the object; 0: it is deleted, and only still listed by a segment
  uint64_t since = 0;  // the commit that condemned it
  bool operator==(const CondemnedPack&) const = default;
};

struct CommitRecord {
  static constexpr size_t kMaxBytes = 1 << 20;
  static constexpr size_t kMaxHost = 255;
  static constexpr uint64_t kMaxTier = 15;
  using Nonce = std::array<std::byte, 16>;

  struct Writer {
    Uuid cache_id{};
    std::string host;   // for people; UTF-8
    uint16_t slot = 0;  // 0: none of its own (the commit that made the volume)
    bool open = false;  // false: the writer left, everything it had is here
    uint64_t lsn = 0;   // of its journal: everything up to here is in this commit
    bool operator==(const Writer&) const = default;
  };
  struct Previous {
    uint64_t seq = 0;
    Digest digest;  // of that record's bytes
    bool operator==(const Previous&) const = default;
  };
  // Where the root node's bytes are: a hint, checked by the digest.
  struct RootPlace {
    Digest pack;
    uint64_t offset = 0;
    uint64_t length = 0;
    bool operator==(const RootPlace&) const = default;
  };
  struct Totals {
    uint64_t live_bytes = 0;  // sum of what the files have allocated
    uint64_t inodes = 0;
    uint64_t stored_bytes = 0;  // of all packs that are not condemned
    bool operator==(const Totals&) const = default;
  };
  struct Slot {
    Uuid cache_id{};
    uint32_t highest_group = 0;  // opened so far
    bool operator==(const Slot&) const = default;
  };

  uint64_t seq = 0;
  uint64_t epoch = 0;
  Nonce nonce{};
  Writer writer;
  std::optional<Previous> previous;  // none for the first commit
  Cid root;                          // of the tree: dag-cbor, sha2-256
  std::optional<RootPlace> root_place;
  int64_t time_ns = 0;                     // nanoseconds since 1970, the writer's clock; for people
  std::vector<CommitPack> metadata_packs;  // together they hold the whole tree; oldest first
  std::vector<CommitPack> young_packs;     // data packs behind the last segment; oldest first
  std::vector<CommitSegment> index_segments;  // oldest first
  std::vector<CondemnedPack> condemned_packs;
  Totals totals;
  std::map<uint16_t, Slot> slots;
  Features features;
  CborFields unknown;
  bool operator==(const CommitRecord&) const = default;

  Result<ByteVec> encode() const;
  static Result<CommitRecord> decode(Bytes in);
};

}  // namespace cairn
