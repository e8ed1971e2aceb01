#include "cache/format/index.h"

#include <algorithm>
#include <string>

#include "cache/format/index_layout.h"

namespace cairn {

using namespace index_layout;

namespace {

constexpr size_t kReadSize = 64 << 10;
// Up to so many bytes of entries are read at once and searched in memory.
constexpr size_t kWindowSize = 16 << 10;

tl::unexpected<Error> bad_segment(const std::string& what) {
  return fail(Errc::kCorruption, "index segment: " + what);
}

}  // namespace

Result<IndexSegmentView> IndexSegmentView::open(ByteSource& source) {
  const uint64_t size = source.size();
  if (size < kHeaderSize + kFanOutSize + kFooterSize) return bad_segment("too short");
  std::array<std::byte, kHeaderSize> header{};
  std::array<std::byte, kFooterSize> footer{};
  TRY(read_exact(source, 0, header));
  TRY(read_exact(source, size - kFooterSize, footer));
  if (as_chars(Bytes(header).first(8)) != kHeaderMagic ||
      as_chars(Bytes(footer).first(8)) != kFooterMagic)
    return bad_segment("not an index segment");
  if (crc32c(Bytes(footer).first(kFooterSize - 4), crc32c(header)) !=
      get_le<uint32_t>(&footer[kFooterSize - 4]))
    return bad_segment("the footer's checksum is wrong");
  const auto version = get_le<uint32_t>(&header[8]);
  if (version != kIndexVersion)
    return fail(Errc::kUnsupported, "index segment: version " + std::to_string(version) +
                                        ": written by a newer program");
  IndexSegmentView view(source);
  view.partition_bits_ = get_le<uint32_t>(&header[12]);
  view.entries_ = get_le<uint64_t>(&footer[8]);
  view.fan_out_offset_ = get_le<uint64_t>(&footer[16]);
  view.packs_ = get_le<uint32_t>(&footer[24]);
  if (view.partition_bits_ > kMaxPartitionBits || view.entries_ > kMaxEntries ||
      get_le<uint64_t>(&footer[36]) != 0)
    return bad_segment("impossible numbers in the footer");
  const uint64_t data = view.entries_ * kEntrySize + filter_bytes(view.entries_);
  if (view.fan_out_offset_ != kHeaderSize + data ||
      size !=
          view.fan_out_offset_ + kFanOutSize + uint64_t{view.packs_} * kDigestSize + kFooterSize)
    return bad_segment("the footer's numbers do not fit the size");
  return view;
}

uint32_t IndexSegmentView::partition_of(uint32_t bucket) const {
  return bucket >> (kMaxPartitionBits - partition_bits_);
}

Result<IndexSegmentView::Range> IndexSegmentView::entries_in(uint32_t first, uint32_t last) const {
  Range range{0, entries_};
  std::array<std::byte, 4> word{};
  if (first > 0) {
    TRY(read_exact(*source_, fan_out_offset_ + uint64_t{first - 1} * 4, word));
    range.begin = get_le<uint32_t>(word.data());
  }
  if (last + 1 < kIndexFanOut) {
    TRY(read_exact(*source_, fan_out_offset_ + uint64_t{last} * 4, word));
    range.end = get_le<uint32_t>(word.data());
  }
  if (range.begin > range.end || range.end > entries_)
    return bad_segment("the fan-out table is wrong");
  return range;
}

Result<IndexSegmentView::Range> IndexSegmentView::partition(uint32_t ordinal) const {
  const uint32_t buckets = uint32_t{1} << (kMaxPartitionBits - partition_bits_);
  return entries_in(ordinal * buckets, (ordinal + 1) * buckets - 1);
}

uint64_t IndexSegmentView::entry_offset(uint64_t index, const Range& partition) const {
  return kHeaderSize + index * kEntrySize + filter_bytes(partition.begin);
}

uint64_t IndexSegmentView::filter_offset(const Range& partition) const {
  return entry_offset(partition.end, partition);
}

Result<bool> IndexSegmentView::may_contain(const Digest& digest, const Range& partition) const {
  const uint64_t size = filter_bytes(partition.end) - filter_bytes(partition.begin);
  if (size == 0) return false;
  FilterBits bits(digest, size * 8);
  for (unsigned i = 0; i < kFilterProbes; ++i) {
    const uint64_t bit = bits.next();
    std::byte byte{};
    TRY(read_exact(*source_, filter_offset(partition) + bit / 8, {&byte, 1}));
    if ((byte & static_cast<std::byte>(1U << (bit % 8))) == std::byte{0}) return false;
  }
  return true;
}

Result<IndexEntry> IndexSegmentView::decode(Bytes in) const {
  IndexEntry entry;
  entry.digest = Digest::from_bytes(in.first(kDigestSize));
  entry.pack = get_le<uint32_t>(&in[32]);
  entry.offset = get_le<uint32_t>(&in[36]);
  entry.length = get_le<uint32_t>(&in[40]);
  entry.codec = static_cast<Codec>(in[44]);
  if (in[45] != std::byte{0})
    return fail(Errc::kUnsupported, "index segment: a transform this program does not know");
  if ((entry.codec != Codec::kRaw && entry.codec != Codec::kDagPb &&
       entry.codec != Codec::kDagCbor) ||
      get_le<uint16_t>(&in[46]) != 0)
    return bad_segment("an entry with an unknown codec");
  if (entry.pack >= packs_ || entry.length > kMaxCarBlock)
    return bad_segment("an impossible entry");
  return entry;
}

Result<Digest> IndexSegmentView::pack(uint32_t ordinal) const {
  if (ordinal >= packs_) return fail(Errc::kInvalid, "index segment: no such pack");
  Digest name;
  TRY(read_exact(*source_, fan_out_offset_ + kFanOutSize + uint64_t{ordinal} * kDigestSize,
                 name.bytes));
  return name;
}

Result<std::optional<IndexLocation>> IndexSegmentView::find(const Digest& digest,
                                                            bool use_filter) const {
  const uint32_t bucket = bucket_of(digest);
  TRY_ASSIGN(Range range, entries_in(bucket, bucket));
  if (range.begin == range.end) return std::optional<IndexLocation>{};
  TRY_ASSIGN(const Range within, partition(partition_of(bucket)));
  if (range.begin < within.begin || range.end > within.end)
    return bad_segment("the fan-out table is wrong");
  if (use_filter) {
    TRY_ASSIGN(const bool possible, may_contain(digest, within));
    if (!possible) return std::optional<IndexLocation>{};
  }
  // Single digests until what is left is one window.
  while ((range.end - range.begin) * kEntrySize > kWindowSize) {
    const uint64_t middle = range.begin + (range.end - range.begin) / 2;
    Digest there;
    TRY(read_exact(*source_, entry_offset(middle, within), there.bytes));
    (there <= digest ? range.begin : range.end) = middle;
  }
  ByteVec window(static_cast<size_t>(range.end - range.begin) * kEntrySize);
  TRY(read_exact(*source_, entry_offset(range.begin, within), window));
  for (size_t at = 0; at < window.size(); at += kEntrySize) {
    if (std::memcmp(&window[at], digest.bytes.data(), kDigestSize) != 0) continue;
    TRY_ASSIGN(const IndexEntry entry, decode(Bytes(window).subspan(at, kEntrySize)));
    TRY_ASSIGN(const Digest name, pack(entry.pack));
    return std::optional<IndexLocation>({name, entry.offset, entry.length, entry.codec});
  }
  return std::optional<IndexLocation>{};
}

// All entries of a segment in order.
class IndexSegmentReader final : public IndexSource {
 public:
  explicit IndexSegmentReader(const IndexSegmentView& view) : view_(view) {}
  uint64_t entry_count() const override { return view_.entry_count(); }
  uint32_t pack_count() const override { return view_.pack_count(); }
  Result<Digest> pack(uint32_t ordinal) const override { return view_.pack(ordinal); }

  Result<std::optional<IndexEntry>> next() override {
    while (window_.empty()) {
      if (next_ == range_.end) {
        if (partition_ == view_.partition_count()) return std::optional<IndexEntry>{};
        TRY_ASSIGN(const auto range, view_.partition(partition_++));
        if (range.begin != next_) return bad_segment("the fan-out table is wrong");
        range_ = range;
        continue;
      }
      const uint64_t count = std::min<uint64_t>(range_.end - next_, kReadSize / kEntrySize);
      buffer_.resize(static_cast<size_t>(count) * kEntrySize);
      TRY(read_exact(*view_.source_, view_.entry_offset(next_, range_), buffer_));
      window_ = buffer_;
      next_ += count;
    }
    TRY_ASSIGN(const IndexEntry entry, view_.decode(window_.first(kEntrySize)));
    window_ = window_.subspan(kEntrySize);
    return std::optional<IndexEntry>(entry);
  }

 private:
  IndexSegmentView view_;
  uint32_t partition_ = 0;         // the next one
  IndexSegmentView::Range range_;  // of the current one
  uint64_t next_ = 0;              // entry to be read into the window
  ByteVec buffer_;
  Bytes window_;  // what is left of buffer_
};

namespace {

// Compares what is written with a file that is there.
class ComparingSink final : public ByteSink {
 public:
  explicit ComparingSink(ByteSource& source) : source_(source) {}
  Status append(Bytes bytes) override {
    buffer_.resize(bytes.size());
    TRY(read_exact(source_, at_, buffer_));
    if (!equal(buffer_, bytes)) return bad_segment("its bytes are not what its entries demand");
    at_ += bytes.size();
    return {};
  }

 private:
  ByteSource& source_;
  uint64_t at_ = 0;
  ByteVec buffer_;
};

}  // namespace

// There is one file for the same entries, packs and partitions: it is written once more.
Status verify_index_segment(ByteSource& source, const Digest& name) {
  TRY_ASSIGN(const IndexSegmentView view, IndexSegmentView::open(source));
  IndexSegmentReader reader(view);
  ComparingSink sink(source);
  IndexSegmentBuilder builder(view.entry_count(), view.partition_bits_, sink);
  while (true) {
    TRY_ASSIGN(const auto entry, reader.next());
    if (!entry) break;
    TRY(builder.add(*entry));
  }
  for (uint32_t i = 0; i < view.pack_count(); ++i) {
    TRY_ASSIGN(const Digest pack, view.pack(i));
    TRY(builder.add_pack(pack));
  }
  TRY_ASSIGN(const IndexSegmentInfo info, builder.finish());
  if (info.size != source.size() || info.name != name)
    return bad_segment("it is not segment " + name.hex());
  return {};
}

std::unique_ptr<IndexSource> make_index_source(const IndexSegmentView& view) {
  return std::make_unique<IndexSegmentReader>(view);
}

}  // namespace cairn
