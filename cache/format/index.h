// Block index segments: immutable files that say in which pack a block lies.
//
// A segment is written in one pass from sorted entries and read through a ByteSource without ever
// being loaded: a look-up reads a few words of the fan-out table, a few bytes of a filter, and one
// window of entries. Its name is its sha2-256; verify_index_segment checks a whole file once, when
// it arrives; after that a look-up trusts it but never reads out of bounds.
//
// IndexSegmentView is a value that refers to its source and may be shared by threads if the source
// may. Everything else has one owner and one thread. Memory: 256 KiB while writing, plus one
// filter and 4 bytes a pack; 16 KiB for a look-up.
// Errors: kCorruption, kUnsupported (a future format), kInvalid, and what source and sink give.
// Format: FORMAT.md, "Block index".
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "cache/base/bytes.h"
#include "cache/base/digest.h"
#include "cache/base/result.h"
#include "cache/format/byte_io.h"
#include "cache/format/cid.h"
#include "cache/format/pack.h"

namespace cairn {

constexpr size_t kIndexFanOut = 65536;

struct IndexEntry {
  Digest digest;
  uint32_t pack = 0;    // ordinal among the packs of its segment or source
  uint32_t offset = 0;  // of the payload in the pack
  uint32_t length = 0;
  Codec codec = Codec::kRaw;
  bool operator==(const IndexEntry&) const = default;
};

struct IndexLocation {
  Digest pack;
  uint32_t offset = 0;
  uint32_t length = 0;
  Codec codec = Codec::kRaw;
  bool operator==(const IndexLocation&) const = default;
};

struct IndexSegmentInfo {
  Digest name;
  uint64_t size = 0;
  uint64_t entries = 0;
  uint32_t packs = 0;
};

// Writes one segment: entries, then packs, then finish().
class IndexSegmentBuilder {
 public:
  // `entries_max` is how many entries there may be at most; a close guess makes better filters.
  // `sink` must outlive the builder.
  IndexSegmentBuilder(uint64_t entries_max, ByteSink& sink);
  // The filters cover 2^partition_bits equal ranges of digests; at most 16.
  IndexSegmentBuilder(uint64_t entries_max, uint32_t partition_bits, ByteSink& sink);
  // In strictly ascending order of the digests.
  Status add(const IndexEntry& entry);
  // In the order of their ordinals.
  Status add_pack(const Digest& pack);
  Result<IndexSegmentInfo> finish();

 private:
  Status write(Bytes bytes);
  Status flush();
  Status close_partitions(uint32_t until);
  Status close_entries();

  ByteSink& sink_;
  const uint64_t entries_max_;
  const uint32_t partition_bits_;
  uint32_t partition_ = 0;         // the one being written
  std::vector<Digest> keys_;       // of its entries
  std::vector<uint32_t> fan_out_;  // so far: entries of each bucket
  std::optional<Digest> last_;
  uint64_t entries_ = 0;
  uint32_t pack_ordinal_end_ = 0;  // one more than the highest that an entry names
  uint32_t packs_ = 0;
  bool entries_closed_ = false;
  uint32_t fan_out_crc_ = 0;
  uint32_t packs_crc_ = 0;
  uint64_t fan_out_offset_ = 0;
  uint64_t size_ = 0;
  ByteVec pending_;
  Sha256 hash_;
};

class IndexSegmentView {
 public:
  // Reads header and footer. `source` must outlive the view.
  static Result<IndexSegmentView> open(ByteSource& source);

  uint64_t entry_count() const { return entries_; }
  uint32_t pack_count() const { return packs_; }
  Result<Digest> pack(uint32_t ordinal) const;
  // With `use_filter` most digests that are not there cost two or three reads of a few bytes. Do
  // without it where a read is dear (a remote object) or the digest is known to be there.
  Result<std::optional<IndexLocation>> find(const Digest& digest, bool use_filter = true) const;

 private:
  friend class IndexSegmentReader;
  friend Status verify_index_segment(ByteSource& source, const Digest& name);
  struct Range {
    uint64_t begin = 0;
    uint64_t end = 0;
  };
  explicit IndexSegmentView(ByteSource& source) : source_(&source) {}
  uint32_t partition_count() const { return uint32_t{1} << partition_bits_; }
  uint32_t partition_of(uint32_t bucket) const;
  // Entries with one of the buckets [first, last].
  Result<Range> entries_in(uint32_t first, uint32_t last) const;
  Result<Range> partition(uint32_t ordinal) const;
  uint64_t entry_offset(uint64_t index, const Range& partition) const;
  uint64_t filter_offset(const Range& partition) const;
  Result<bool> may_contain(const Digest& digest, const Range& partition) const;
  Result<IndexEntry> decode(Bytes entry) const;

  ByteSource* source_;
  uint64_t entries_ = 0;
  uint32_t packs_ = 0;
  uint32_t partition_bits_ = 0;
  uint64_t fan_out_offset_ = 0;
};

// Hashes and checks every byte of a segment.
Status verify_index_segment(ByteSource& source, const Digest& name);

// Sorted entries to merge: the blocks of a pack, or of a segment.
class IndexSource {
 public:
  virtual ~IndexSource() = default;
  virtual uint64_t entry_count() const = 0;
  virtual uint32_t pack_count() const = 0;
  virtual Result<Digest> pack(uint32_t ordinal) const = 0;
  // The next entry in ascending order of the digests; nothing at the end.
  virtual Result<std::optional<IndexEntry>> next() = 0;
};
std::unique_ptr<IndexSource> make_index_source(PackTail tail);
std::unique_ptr<IndexSource> make_index_source(const IndexSegmentView& view);

// Merges sources, the newest first, into one segment: where several have a digest, the first one
// wins. Packs for which `keep` says no are left out with all their entries.
Result<IndexSegmentInfo> merge_index(std::span<const std::unique_ptr<IndexSource>> newest_first,
                                     const std::function<bool(const Digest& pack)>& keep,
                                     ByteSink& sink);

}  // namespace cairn
