// Packs: many blocks in one CAR file whose last block is a sorted index of the others.
//
// That last block is the tail; its digest is the pack's name, and its CID the file's only root. So
// the name authenticates the tail, and the tail every block. PackBuilder needs digests and lengths
// only and gives every byte that is not payload before the first byte is sent. PackTail reads a
// pack's index from the end of the object.
//
// PackBuilder: one owner, one thread. PackPlan and PackTail are immutable, cheap to copy and may be
// shared. Memory: 44 bytes a block for a tail, some 120 a block while building.
// Errors: kCorruption, kUnsupported (a future format), kInvalid (arguments).
// Format: FORMAT.md, "Packs".
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "cache/base/bytes.h"
#include "cache/base/digest.h"
#include "cache/base/result.h"
#include "cache/format/car.h"
#include "cache/format/cid.h"

namespace cairn {

enum class PackKind : uint8_t { kData = 0, kMeta = 1 };

constexpr uint64_t kMaxPackSize = UINT32_MAX;
constexpr size_t kPackFooterSize = 64;
constexpr size_t kPackEntrySize = 44;

struct PackEntry {
  Digest digest;
  uint32_t offset = 0;  // of the payload in the pack
  uint32_t length = 0;
  Codec codec = Codec::kRaw;
  bool operator==(const PackEntry&) const = default;
};

// Where children of a dag-pb node were when its pack was written: `count` of them, in the order of
// the node's links, in consecutive sections. A hint, never needed: it may be wrong or missing.
struct PackRun {
  enum class Place : uint8_t {
    kPack,     // in `pack`
    kHere,     // in the pack that holds the hint
    kUnknown,  // not known where: these children are to be looked up
  };
  Place place = Place::kUnknown;
  Digest pack{};
  uint32_t offset = 0;  // of the first one's payload
  uint32_t count = 0;
  bool operator==(const PackRun&) const = default;
};

// Consecutive entries of a tail.
struct PackEntrySpan {
  uint32_t first = 0;
  uint32_t count = 0;
};
// The entries among which a digest stands if a tail of `count` entries has it. Digests are spread
// evenly, so this fails only by chance, once in some ten thousand times; find_pack_entry notices.
PackEntrySpan likely_entries(const Digest& digest, uint32_t count);
// The entry of `digest` in the encoded entries `span` of a tail of `count`; nullopt: the tail has
// none. kNotFound: it would stand outside of the span. kCorruption: these are no such entries.
Result<std::optional<PackEntry>> find_pack_entry(Bytes entries, const PackEntrySpan& span,
                                                 uint32_t count, const Digest& digest);

class PackTail {
 public:
  // How many bytes of the object's end parse() needs, read from the end that is already there
  // (at least its last 64 bytes; fewer give 64).
  static Result<uint64_t> need(Bytes suffix, uint64_t object_size);
  // `suffix` is the end of an object of `object_size` bytes, at least need() of them.
  static Result<PackTail> parse(const Buffer& suffix, uint64_t object_size, const Digest& name);

  const Digest& name() const { return name_; }
  PackKind kind() const { return kind_; }
  uint64_t object_size() const { return object_size_; }
  // The tail's block: what has to be kept for parse() to work without the pack.
  const Buffer& block() const { return block_; }
  // The same tail in other memory. kCorruption unless that holds the same bytes as block().
  Result<PackTail> moved_to(const Buffer& block) const;

  uint32_t size() const { return count_; }
  PackEntry entry(uint32_t ordinal) const;  // requires ordinal < size(); ordered by digest
  std::optional<PackEntry> find(const Digest& digest) const;
  // The hints of one node, in order; none for most.
  std::vector<PackRun> runs(const Digest& node) const;

 private:
  friend class PackBuilder;
  Status parse_entries();
  Status parse_hints(Bytes hints);
  // The ordinal of the first entry that is not less than `digest`.
  uint32_t lower_bound(const Digest& digest) const;
  PackRun run(uint32_t ordinal) const;

  Digest name_;
  PackKind kind_ = PackKind::kData;
  uint64_t object_size_ = 0;
  uint64_t data_end_ = 0;  // of the last section before the tail's
  uint32_t count_ = 0;
  uint32_t pack_count_ = 0;  // packs named by hints
  uint32_t run_count_ = 0;
  Buffer block_;
  Bytes packs_;  // views into block_
  Bytes runs_;
};

// Everything about a pack but the payloads.
class PackPlan {
 public:
  const Digest& name() const { return tail_.name(); }
  uint64_t size() const { return tail_.object_size(); }
  const PackTail& tail() const { return tail_; }
  size_t block_count() const { return offsets_.size(); }
  // Of the payload of block i, in the order of add().
  uint32_t offset(size_t i) const { return offsets_[i]; }
  // The object is prefix(0), payload 0, prefix(1), payload 1, ..., trailer().
  Buffer prefix(size_t i) const;
  const Buffer& trailer() const { return trailer_; }

 private:
  friend class PackBuilder;
  Buffer prefixes_;                   // one after the other
  std::vector<size_t> prefix_start_;  // in prefixes_, with the end as the last
  std::vector<uint32_t> offsets_;
  Buffer trailer_;
  PackTail tail_;
};

class PackBuilder {
 public:
  // `salt`: any number. Packs with different salts have different names, whatever they hold.
  explicit PackBuilder(PackKind kind, uint64_t salt = 0) : kind_(kind), salt_(salt) {}

  // False when a block of this length would make the pack or its tail too large.
  bool fits(uint64_t length) const;
  bool contains(const Digest& digest) const { return ordinals_.contains(digest); }
  // The next block; gives its payload's offset. kInvalid for inline CIDs, for a digest that is in
  // the pack already, and when the block does not fit.
  Result<uint32_t> add(const Cid& cid, uint64_t length);
  // Hints for a dag-pb node that was added, once a node. False: no room, so it goes without.
  bool add_runs(const Digest& node, std::span<const PackRun> runs);

  size_t block_count() const { return blocks_.size(); }
  // What the object would have if it ended here.
  uint64_t size() const;

  // kInvalid without any block. The builder is used up.
  Result<PackPlan> finish();

 private:
  struct NodeRuns {
    Digest node;
    std::vector<PackRun> runs;
  };
  uint64_t tail_size() const;
  ByteVec encode_tail(uint64_t data_end) const;
  ByteVec encode_hints(const std::vector<PackEntry>& sorted) const;

  PackKind kind_;
  uint64_t salt_;
  std::vector<PackEntry> blocks_;  // in the order of add()
  std::unordered_map<Digest, size_t> ordinals_;
  std::vector<NodeRuns> runs_;
  std::unordered_map<Digest, uint32_t> run_packs_;  // named by hints, in order of appearance
  size_t run_count_ = 0;
  uint64_t data_end_ = 0;  // 0 until the first block
};

// Reads a whole pack: every block, the order and place of everything, and nothing besides.
Result<PackTail> verify_pack(ByteSource& source, const Digest& name);

}  // namespace cairn
