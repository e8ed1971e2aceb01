#include "cache/format/pack.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

namespace cairn {
namespace {

constexpr std::string_view kMagic = "cairnpk1";
constexpr uint32_t kPackVersion = 1;
constexpr uint32_t kFlagMeta = 1;
constexpr size_t kRunSize = 16;
constexpr size_t kHintsHead = 8;  // the two counts
// Pack ordinals of runs that name no pack of the table.
constexpr uint32_t kRunHere = 0xfffffffe;
constexpr uint32_t kRunUnknown = 0xffffffff;

// Fields of the footer.
constexpr size_t kAtVersion = 8;
constexpr size_t kAtFlags = 12;
constexpr size_t kAtIndexOffset = 16;
constexpr size_t kAtCount = 24;
constexpr size_t kAtHintsLength = 28;
constexpr size_t kAtDataEnd = 32;
constexpr size_t kAtIndexCrc = 40;
constexpr size_t kAtHintsCrc = 44;
constexpr size_t kAtSalt = 48;
constexpr size_t kAtReserved = 56;
constexpr size_t kAtFooterCrc = 60;

size_t header_size() {
  static const size_t size = encode_car_header(Cid::from_digest(Codec::kRaw, {})).size();
  return size;
}

tl::unexpected<Error> bad_tail(const std::string& what) {
  return fail(Errc::kCorruption, "pack tail: " + what);
}

struct Footer {
  uint32_t flags = 0;
  uint64_t index_offset = 0;
  uint32_t count = 0;
  uint32_t hints_length = 0;
  uint64_t data_end = 0;
  uint32_t index_crc = 0;
  uint32_t hints_crc = 0;
  uint64_t salt = 0;

  uint64_t tail_size() const {
    return uint64_t{count} * kPackEntrySize + hints_length + kPackFooterSize;
  }
};

void encode_footer(ByteVec& out, const Footer& footer) {
  const size_t start = out.size();
  append(out, as_bytes(kMagic));
  put_le(out, kPackVersion);
  put_le(out, footer.flags);
  put_le(out, footer.index_offset);
  put_le(out, footer.count);
  put_le(out, footer.hints_length);
  put_le(out, footer.data_end);
  put_le(out, footer.index_crc);
  put_le(out, footer.hints_crc);
  put_le(out, footer.salt);
  out.resize(start + kAtFooterCrc);
  put_le(out, crc32c(Bytes(out).subspan(start)));
}

Result<Footer> decode_footer(Bytes suffix, uint64_t object_size) {
  const Bytes in = suffix.last(kPackFooterSize);
  if (as_chars(in.first(kMagic.size())) != kMagic) return bad_tail("not a cairn pack");
  if (get_le<uint32_t>(&in[kAtFooterCrc]) != crc32c(in.first(kAtFooterCrc)))
    return bad_tail("the footer's checksum is wrong");
  const auto version = get_le<uint32_t>(&in[kAtVersion]);
  Footer footer;
  footer.flags = get_le<uint32_t>(&in[kAtFlags]);
  if (version != kPackVersion || footer.flags > kFlagMeta)
    return fail(Errc::kUnsupported, "pack tail: version " + std::to_string(version) + ", flags " +
                                        std::to_string(footer.flags) +
                                        ": written by a newer program");
  footer.index_offset = get_le<uint64_t>(&in[kAtIndexOffset]);
  footer.count = get_le<uint32_t>(&in[kAtCount]);
  footer.hints_length = get_le<uint32_t>(&in[kAtHintsLength]);
  footer.data_end = get_le<uint64_t>(&in[kAtDataEnd]);
  footer.index_crc = get_le<uint32_t>(&in[kAtIndexCrc]);
  footer.hints_crc = get_le<uint32_t>(&in[kAtHintsCrc]);
  footer.salt = get_le<uint64_t>(&in[kAtSalt]);
  for (const std::byte byte : in.subspan(kAtReserved, kAtFooterCrc - kAtReserved))
    if (byte != std::byte{0}) return bad_tail("reserved bytes are not zero");
  const uint64_t size = footer.tail_size();
  if (object_size > kMaxPackSize || size > kMaxCarBlock || size > object_size ||
      footer.count == 0 || footer.index_offset != object_size - size ||
      footer.data_end > footer.index_offset ||
      footer.data_end + car_frame_size(size) != footer.index_offset)
    return bad_tail("the footer's sizes do not fit the object");
  return footer;
}

void encode_entry(ByteVec& out, const PackEntry& entry) {
  append(out, entry.digest.view());
  put_le(out, entry.offset);
  put_le(out, entry.length);
  out.push_back(static_cast<std::byte>(entry.codec));
  out.push_back(std::byte{0});  // transform: the payload is the block itself
  put_le(out, uint16_t{0});
}

PackEntry decode_entry(const std::byte* in) {
  PackEntry entry;
  entry.digest = Digest::from_bytes({in, kDigestSize});
  entry.offset = get_le<uint32_t>(in + 32);
  entry.length = get_le<uint32_t>(in + 36);
  entry.codec = static_cast<Codec>(in[40]);
  return entry;
}

bool known(Codec codec) {
  return codec == Codec::kRaw || codec == Codec::kDagPb || codec == Codec::kDagCbor;
}

}  // namespace

PackEntrySpan likely_entries(const Digest& digest, uint32_t count) {
  // In a tail of n entries the place of a digest is binomial: its deviation is at most sqrt(n) / 2.
  const double place =
      static_cast<double>(get_be64(digest.bytes.data())) / 18446744073709551616.0 * count;
  const double most = 2 * std::sqrt(static_cast<double>(count)) + 8;
  const double end = std::min<double>(count, place + most + 1);
  PackEntrySpan span;
  span.first = static_cast<uint32_t>(std::max(0.0, place - most));
  span.count = static_cast<uint32_t>(end) - span.first;
  return span;
}

Result<std::optional<PackEntry>> find_pack_entry(Bytes entries, const PackEntrySpan& span,
                                                 uint32_t count, const Digest& digest) {
  if (span.count == 0 || entries.size() != size_t{span.count} * kPackEntrySize)
    return bad_tail("entries are missing");
  for (uint32_t i = 0; i < span.count; ++i) {
    const PackEntry entry = decode_entry(&entries[size_t{i} * kPackEntrySize]);
    if (entry.digest == digest) {
      if (!known(entry.codec)) return bad_tail("an unknown codec");
      return entry;
    }
    if (entry.digest < digest) continue;
    if (i == 0 && span.first > 0) return fail(Errc::kNotFound, "pack tail: it stands before these");
    return std::optional<PackEntry>();
  }
  if (span.first + span.count < count)
    return fail(Errc::kNotFound, "pack tail: it stands behind these");
  return std::optional<PackEntry>();
}

Result<uint64_t> PackTail::need(Bytes suffix, uint64_t object_size) {
  if (object_size < header_size() + kPackFooterSize) return bad_tail("the object is too small");
  if (suffix.size() < kPackFooterSize) return uint64_t{kPackFooterSize};
  TRY_ASSIGN(const Footer footer, decode_footer(suffix, object_size));
  return footer.tail_size();
}

Result<PackTail> PackTail::parse(const Buffer& suffix, uint64_t object_size, const Digest& name) {
  TRY_ASSIGN(const uint64_t size, need(suffix, object_size));
  if (suffix.size() > object_size || suffix.size() < size)
    return fail(Errc::kInvalid, "pack tail: " + std::to_string(suffix.size()) + " bytes given, " +
                                    std::to_string(size) + " needed");
  const Bytes tail = suffix.view().last(static_cast<size_t>(size));
  if (sha256(tail) != name) return bad_tail("it is not the tail of pack " + name.hex());
  TRY_ASSIGN(const Footer footer, decode_footer(tail, object_size));
  PackTail parsed;
  parsed.name_ = name;
  parsed.kind_ = (footer.flags & kFlagMeta) != 0 ? PackKind::kMeta : PackKind::kData;
  parsed.object_size_ = object_size;
  parsed.data_end_ = footer.data_end;
  parsed.count_ = footer.count;
  // A short tail must not keep a long suffix in memory.
  parsed.block_ = tail.size() < suffix.size() / 2
                      ? Buffer::copy(tail)
                      : suffix.slice(suffix.size() - tail.size(), tail.size());
  const Bytes index = parsed.block_.view().first(size_t{footer.count} * kPackEntrySize);
  const Bytes hints = parsed.block_.view().subspan(index.size(), footer.hints_length);
  if (crc32c(index) != footer.index_crc || crc32c(hints) != footer.hints_crc)
    return bad_tail("a checksum is wrong");
  TRY(parsed.parse_entries());
  TRY(parsed.parse_hints(hints));
  return parsed;
}

Status PackTail::parse_entries() {
  const uint64_t first = header_size() + car_frame_size(0);
  for (uint32_t i = 0; i < count_; ++i) {
    const std::byte* at = block_.data() + size_t{i} * kPackEntrySize;
    if (at[41] != std::byte{0})
      return fail(Errc::kUnsupported, "pack tail: a transform this program does not know");
    const PackEntry found = decode_entry(at);
    if (!known(found.codec) || get_le<uint16_t>(at + 42) != 0) return bad_tail("an unknown codec");
    if (found.offset < first || found.length > kMaxCarBlock || found.offset > data_end_ ||
        found.length > data_end_ - found.offset)
      return bad_tail("a block outside of the pack");
    if (i > 0 && std::memcmp(at - kPackEntrySize, at, kDigestSize) >= 0)
      return bad_tail("the index is not sorted");
  }
  return {};
}

Status PackTail::parse_hints(Bytes hints) {
  if (hints.empty()) return {};
  if (hints.size() < kHintsHead) return bad_tail("the hints are too short");
  pack_count_ = get_le<uint32_t>(hints.data());
  run_count_ = get_le<uint32_t>(hints.data() + 4);
  if (kHintsHead + uint64_t{pack_count_} * kDigestSize + uint64_t{run_count_} * kRunSize !=
      hints.size())
    return bad_tail("the hints have another size than they say");
  packs_ = hints.subspan(kHintsHead, size_t{pack_count_} * kDigestSize);
  runs_ = hints.subspan(kHintsHead + packs_.size());
  uint32_t last = 0;
  for (uint32_t i = 0; i < run_count_; ++i) {
    const std::byte* at = runs_.data() + size_t{i} * kRunSize;
    const auto node = get_le<uint32_t>(at);
    const auto pack = get_le<uint32_t>(at + 4);
    if (node < last || node >= count_ || entry(node).codec != Codec::kDagPb)
      return bad_tail("a hint for no node");
    if (pack >= pack_count_ && pack != kRunHere && pack != kRunUnknown)
      return bad_tail("a hint that names no pack");
    if (get_le<uint32_t>(at + 12) == 0) return bad_tail("an empty hint");
    last = node;
  }
  return {};
}

Result<PackTail> PackTail::moved_to(const Buffer& block) const {
  if (!equal(block, block_)) return bad_tail("the copy differs");
  PackTail moved = *this;
  moved.block_ = block;
  const auto follow = [&](Bytes part) {
    return part.empty() ? Bytes()
                        : block.view().subspan(static_cast<size_t>(part.data() - block_.data()),
                                               part.size());
  };
  moved.packs_ = follow(packs_);
  moved.runs_ = follow(runs_);
  return moved;
}

PackEntry PackTail::entry(uint32_t ordinal) const {
  return decode_entry(block_.data() + size_t{ordinal} * kPackEntrySize);
}

uint32_t PackTail::lower_bound(const Digest& digest) const {
  const auto less = [&](uint32_t ordinal) {
    const std::byte* at = block_.data() + size_t{ordinal} * kPackEntrySize;
    return std::memcmp(at, digest.bytes.data(), kDigestSize) < 0;
  };
  // Where chance puts it, few pages are touched.
  const PackEntrySpan likely = likely_entries(digest, count_);
  const uint32_t end = likely.first + likely.count;
  uint32_t from = likely.first == 0 || less(likely.first - 1) ? likely.first : 0;
  uint32_t to = end == count_ || !less(end) ? end : count_;
  while (from < to) {
    const uint32_t middle = from + (to - from) / 2;
    if (less(middle))
      from = middle + 1;
    else
      to = middle;
  }
  return from;
}

std::optional<PackEntry> PackTail::find(const Digest& digest) const {
  const uint32_t ordinal = lower_bound(digest);
  if (ordinal == count_) return std::nullopt;
  PackEntry found = entry(ordinal);
  if (found.digest != digest) return std::nullopt;
  return found;
}

PackRun PackTail::run(uint32_t ordinal) const {
  const std::byte* at = runs_.data() + size_t{ordinal} * kRunSize;
  const auto pack = get_le<uint32_t>(at + 4);
  PackRun run;
  run.place = pack == kRunHere      ? PackRun::Place::kHere
              : pack >= pack_count_ ? PackRun::Place::kUnknown
                                    : PackRun::Place::kPack;
  if (run.place == PackRun::Place::kPack)
    run.pack = Digest::from_bytes(packs_.subspan(size_t{pack} * kDigestSize, kDigestSize));
  run.offset = get_le<uint32_t>(at + 8);
  run.count = get_le<uint32_t>(at + 12);
  return run;
}

std::vector<PackRun> PackTail::runs(const Digest& node) const {
  std::vector<PackRun> found;
  const uint32_t ordinal = lower_bound(node);
  if (ordinal == count_ || entry(ordinal).digest != node) return found;
  uint32_t from = 0;
  uint32_t to = run_count_;
  const auto node_of = [this](uint32_t at) {
    return get_le<uint32_t>(runs_.data() + size_t{at} * kRunSize);
  };
  while (from < to) {
    const uint32_t middle = from + (to - from) / 2;
    if (node_of(middle) < ordinal)
      from = middle + 1;
    else
      to = middle;
  }
  for (; from < run_count_ && node_of(from) == ordinal; ++from) found.push_back(run(from));
  return found;
}

Buffer PackPlan::prefix(size_t i) const {
  return prefixes_.slice(prefix_start_[i], prefix_start_[i + 1] - prefix_start_[i]);
}

uint64_t PackBuilder::tail_size() const {
  uint64_t size = blocks_.size() * kPackEntrySize + kPackFooterSize;
  if (run_count_ > 0) size += kHintsHead + run_packs_.size() * kDigestSize + run_count_ * kRunSize;
  return size;
}

uint64_t PackBuilder::size() const {
  const uint64_t tail = tail_size();
  return std::max<uint64_t>(data_end_, header_size()) + car_frame_size(tail) + tail;
}

bool PackBuilder::fits(uint64_t length) const {
  constexpr uint64_t kSlack = 16;  // the tail's own length varint may grow
  return length <= kMaxCarBlock && tail_size() + kPackEntrySize <= kMaxCarBlock &&
         size() + car_frame_size(length) + length + kPackEntrySize + kSlack <= kMaxPackSize;
}

Result<uint32_t> PackBuilder::add(const Cid& cid, uint64_t length) {
  if (cid.is_identity()) return fail(Errc::kInvalid, "pack: an inline value is not a block");
  if (!fits(length)) return fail(Errc::kInvalid, "pack: a block too many");
  if (!ordinals_.emplace(cid.digest(), blocks_.size()).second)
    return fail(Errc::kInvalid, "pack: the same block twice: " + cid.text());
  if (data_end_ == 0) data_end_ = header_size();
  const auto offset = static_cast<uint32_t>(data_end_ + car_frame_size(length));
  blocks_.push_back({cid.digest(), offset, static_cast<uint32_t>(length), cid.codec()});
  data_end_ = offset + length;
  return offset;
}

bool PackBuilder::add_runs(const Digest& node, std::span<const PackRun> runs) {
  const auto found = ordinals_.find(node);
  if (found == ordinals_.end() || blocks_[found->second].codec != Codec::kDagPb) return false;
  // At most one new pack a run.
  const uint64_t most = kHintsHead + runs.size() * (kRunSize + kDigestSize);
  if (runs.empty() || tail_size() + most > kMaxCarBlock || size() + most > kMaxPackSize)
    return false;
  for (const PackRun& run : runs) {
    if (run.count == 0) return false;
  }
  for (const PackRun& run : runs)
    if (run.place == PackRun::Place::kPack)
      run_packs_.emplace(run.pack, static_cast<uint32_t>(run_packs_.size()));
  runs_.push_back({node, {runs.begin(), runs.end()}});
  run_count_ += runs.size();
  return true;
}

ByteVec PackBuilder::encode_hints(const std::vector<PackEntry>& sorted) const {
  ByteVec out;
  if (run_count_ == 0) return out;
  put_le(out, static_cast<uint32_t>(run_packs_.size()));
  put_le(out, static_cast<uint32_t>(run_count_));
  std::vector<const Digest*> packs(run_packs_.size());
  for (const auto& [pack, ordinal] : run_packs_) packs[ordinal] = &pack;
  for (const Digest* pack : packs) append(out, pack->view());
  std::vector<const NodeRuns*> nodes;
  for (const NodeRuns& node : runs_) nodes.push_back(&node);
  // By node, then as they were given: a lower address in runs_.
  std::sort(nodes.begin(), nodes.end(), [](const NodeRuns* a, const NodeRuns* b) {
    return a->node != b->node ? a->node < b->node : a < b;
  });
  for (const NodeRuns* node : nodes) {
    const auto entry = std::lower_bound(
        sorted.begin(), sorted.end(), node->node,
        [](const PackEntry& a, const Digest& digest) { return a.digest < digest; });
    for (const PackRun& run : node->runs) {
      put_le(out, static_cast<uint32_t>(entry - sorted.begin()));
      put_le(out, run.place == PackRun::Place::kPack   ? run_packs_.at(run.pack)
                  : run.place == PackRun::Place::kHere ? kRunHere
                                                       : kRunUnknown);
      put_le(out, run.offset);
      put_le(out, run.count);
    }
  }
  return out;
}

ByteVec PackBuilder::encode_tail(uint64_t data_end) const {
  std::vector<PackEntry> sorted = blocks_;
  std::sort(sorted.begin(), sorted.end(),
            [](const PackEntry& a, const PackEntry& b) { return a.digest < b.digest; });
  ByteVec out;
  out.reserve(static_cast<size_t>(tail_size()));
  for (const PackEntry& entry : sorted) encode_entry(out, entry);
  Footer footer;
  footer.index_crc = crc32c(out);
  const ByteVec hints = encode_hints(sorted);
  append(out, hints);
  footer.flags = kind_ == PackKind::kMeta ? kFlagMeta : 0;
  footer.count = static_cast<uint32_t>(sorted.size());
  footer.hints_length = static_cast<uint32_t>(hints.size());
  footer.hints_crc = crc32c(hints);
  footer.salt = salt_;
  footer.data_end = data_end;
  footer.index_offset = data_end + car_frame_size(footer.tail_size());
  encode_footer(out, footer);
  return out;
}

Result<PackPlan> PackBuilder::finish() {
  if (blocks_.empty()) return fail(Errc::kInvalid, "pack: no blocks");
  PackPlan plan;
  const Buffer tail(encode_tail(data_end_));
  const Cid root = Cid::make(Codec::kRaw, tail);
  ByteVec prefixes = encode_car_header(root);
  plan.prefix_start_.push_back(0);
  for (const PackEntry& block : blocks_) {
    append_car_frame(prefixes, Cid::from_digest(block.codec, block.digest), block.length);
    plan.prefix_start_.push_back(prefixes.size());
    plan.offsets_.push_back(block.offset);
  }
  plan.prefixes_ = Buffer(std::move(prefixes));
  ByteVec trailer;
  append_car_frame(trailer, root, tail.size());
  const size_t frame = trailer.size();
  append(trailer, tail);
  plan.trailer_ = Buffer(std::move(trailer));
  TRY_ASSIGN(plan.tail_, PackTail::parse(plan.trailer_.slice(frame, tail.size()),
                                         data_end_ + plan.trailer_.size(), root.digest()));
  return plan;
}

namespace {
Result<PackTail> read_tail(ByteSource& source, const Digest& name) {
  const uint64_t size = source.size();
  ByteVec suffix;
  TRY_ASSIGN(uint64_t needed, PackTail::need({}, size));
  // Twice: the footer first, then all of the tail.
  for (int round = 0; round < 2; ++round) {
    suffix.resize(static_cast<size_t>(needed));
    TRY(read_exact(source, size - needed, suffix));
    TRY_ASSIGN(needed, PackTail::need(suffix, size));
  }
  return PackTail::parse(Buffer(std::move(suffix)), size, name);
}
}  // namespace

Result<PackTail> verify_pack(ByteSource& source, const Digest& name) {
  TRY_ASSIGN(PackTail tail, read_tail(source, name));
  const Cid root = Cid::from_digest(Codec::kRaw, name);
  TRY_ASSIGN(CarReader reader, CarReader::open(source));
  if (reader.roots().size() != 1 || reader.roots().front() != root ||
      reader.position() != header_size())
    return fail(Errc::kCorruption, "pack: its header does not name its tail");
  for (uint32_t blocks = 0;; ++blocks) {
    TRY_ASSIGN(const auto section, reader.next());
    if (!section) return fail(Errc::kCorruption, "pack: it ends before its tail");
    if (blocks == tail.size()) {
      if (section->cid != root || reader.position() != source.size())
        return fail(Errc::kCorruption, "pack: the tail is not its last block");
      return tail;
    }
    const PackEntry found{section->cid.digest(), static_cast<uint32_t>(section->offset),
                          static_cast<uint32_t>(section->data.size()), section->cid.codec()};
    if (tail.find(found.digest) != found)
      return fail(Errc::kCorruption, "pack: the index does not say what is at byte " +
                                         std::to_string(section->offset));
  }
}

}  // namespace cairn
