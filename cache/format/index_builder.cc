#include <algorithm>
#include <bit>
#include <limits>
#include <string>

#include "cache/format/index.h"
#include "cache/format/index_layout.h"

namespace cairn {

using namespace index_layout;

namespace {

constexpr size_t kWriteSize = 64 << 10;
// A filter covers some 4,096 to 8,191 entries, so that it is a page or two of the file.
constexpr uint64_t kPartitionEntries = 4096;
// Sums of sha2-256 are spread evenly. A partition this full holds digests somebody made up, and
// they may not take our memory.
constexpr size_t kMaxPartitionEntries = 1 << 20;

uint32_t choose_partition_bits(uint64_t entries_max) {
  const uint64_t partitions = std::max<uint64_t>(1, entries_max / kPartitionEntries);
  return std::min<uint32_t>(kMaxPartitionBits,
                            static_cast<uint32_t>(std::bit_width(partitions) - 1));
}

ByteVec encode_filter(const std::vector<Digest>& keys, uint64_t size) {
  ByteVec filter(static_cast<size_t>(size));
  for (const Digest& key : keys) {
    FilterBits bits(key, size * 8);
    for (unsigned i = 0; i < kFilterProbes; ++i) {
      const uint64_t bit = bits.next();
      filter[static_cast<size_t>(bit / 8)] |= static_cast<std::byte>(1U << (bit % 8));
    }
  }
  return filter;
}

}  // namespace

IndexSegmentBuilder::IndexSegmentBuilder(uint64_t entries_max, ByteSink& sink)
    : IndexSegmentBuilder(entries_max, choose_partition_bits(entries_max), sink) {}

IndexSegmentBuilder::IndexSegmentBuilder(uint64_t entries_max, uint32_t partition_bits,
                                         ByteSink& sink)
    : sink_(sink),
      entries_max_(std::min(entries_max, kMaxEntries)),
      partition_bits_(std::min(partition_bits, kMaxPartitionBits)),
      fan_out_(kIndexFanOut),
      size_(kHeaderSize),
      pending_(encode_header(partition_bits_)) {}

Status IndexSegmentBuilder::write(Bytes bytes) {
  append(pending_, bytes);
  size_ += bytes.size();
  return pending_.size() < kWriteSize ? Status{} : flush();
}

Status IndexSegmentBuilder::flush() {
  hash_.update(pending_);
  TRY(sink_.append(pending_));
  pending_.clear();
  return {};
}

Status IndexSegmentBuilder::add(const IndexEntry& entry) {
  if (entries_closed_ || entries_ == entries_max_ || (last_ && !(*last_ < entry.digest)) ||
      entry.pack == std::numeric_limits<uint32_t>::max())
    return fail(Errc::kInvalid, "index: an entry out of order, or one too many");
  const uint32_t bucket = bucket_of(entry.digest);
  TRY(close_partitions(bucket >> (kMaxPartitionBits - partition_bits_)));
  if (keys_.size() == kMaxPartitionEntries)
    return fail(Errc::kCorruption, "index: these digests are not spread like sha2-256 sums");
  keys_.push_back(entry.digest);
  last_ = entry.digest;
  ++fan_out_[bucket];
  ++entries_;
  pack_ordinal_end_ = std::max(pack_ordinal_end_, entry.pack + 1);
  ByteVec encoded;
  encoded.reserve(kEntrySize);
  put_entry(encoded, entry);
  return write(encoded);
}

// Writes the filters of the partitions before `until`; all but the current one are empty.
Status IndexSegmentBuilder::close_partitions(uint32_t until) {
  if (partition_ == until) return {};
  if (!keys_.empty()) {
    const uint64_t size = filter_bytes(entries_) - filter_bytes(entries_ - keys_.size());
    TRY(write(encode_filter(keys_, size)));
    keys_.clear();
  }
  partition_ = until;
  return {};
}

Status IndexSegmentBuilder::close_entries() {
  if (entries_closed_) return {};
  TRY(close_partitions(uint32_t{1} << partition_bits_));
  entries_closed_ = true;
  fan_out_offset_ = size_;
  ByteVec table(kFanOutSize);
  uint32_t sum = 0;
  for (size_t i = 0; i < fan_out_.size(); ++i) {
    sum += fan_out_[i];
    for (size_t byte = 0; byte < 4; ++byte)
      table[i * 4 + byte] = static_cast<std::byte>(sum >> (8 * byte));
  }
  fan_out_crc_ = crc32c(table);
  return write(table);
}

Status IndexSegmentBuilder::add_pack(const Digest& pack) {
  TRY(close_entries());
  ++packs_;
  packs_crc_ = crc32c(pack.view(), packs_crc_);
  return write(pack.view());
}

Result<IndexSegmentInfo> IndexSegmentBuilder::finish() {
  TRY(close_entries());
  if (pack_ordinal_end_ > packs_)
    return fail(Errc::kInvalid, "index: an entry names a pack that was not added");
  ByteVec footer = to_vec(as_bytes(kFooterMagic));
  put_le(footer, entries_);
  put_le(footer, fan_out_offset_);
  put_le(footer, packs_);
  put_le(footer, fan_out_crc_);
  put_le(footer, packs_crc_);
  put_le(footer, uint64_t{0});
  put_le(footer, crc32c(footer, crc32c(encode_header(partition_bits_))));
  TRY(write(footer));
  TRY(flush());
  return IndexSegmentInfo{hash_.finish(), size_, entries_, packs_};
}

}  // namespace cairn
