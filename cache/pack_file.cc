#include "cache/pack_file.h"

#include <algorithm>

#include "cache/format/car.h"

namespace cairn {
namespace {
constexpr size_t kCopyBytes = 64 << 10;
constexpr size_t kFrameBytesMax = 9 + Cid::kDigestCidSize;
}  // namespace

uint64_t section_start(uint64_t offset, uint64_t length) {
  return offset - std::min<uint64_t>(offset, car_frame_size(length));
}

Result<Digest> section_digest(File& file, uint64_t offset) {
  std::array<std::byte, Cid::kDigestCidSize> bytes{};
  if (offset < bytes.size()) return fail(Errc::kCorruption, "no block can begin here");
  TRY_ASSIGN(const size_t count, file.read_at(offset - bytes.size(), bytes));
  if (count != bytes.size()) return fail(Errc::kCorruption, "the file is too short");
  TRY_ASSIGN(const Cid cid, Cid::from_bytes(bytes));
  if (cid.is_identity()) return fail(Errc::kCorruption, "no digest before the block");
  return cid.digest();
}

Result<PackTail> read_pack_tail(ByteSource& source, const Digest& pack) {
  uint64_t need = std::min<uint64_t>(source.size(), kCopyBytes);
  while (true) {
    ByteVec suffix(static_cast<size_t>(need));
    TRY(read_exact(source, source.size() - need, suffix));
    TRY_ASSIGN(const uint64_t more, PackTail::need(suffix, source.size()));
    if (more <= need) return PackTail::parse(Buffer(std::move(suffix)), source.size(), pack);
    need = more;
  }
}

std::vector<PackEntry> entries_of(const PackTail& tail) {
  std::vector<PackEntry> entries;
  entries.reserve(tail.size());
  for (uint32_t i = 0; i < tail.size(); ++i) entries.push_back(tail.entry(i));
  return entries;
}

Result<std::vector<PackEntry>> scan_sections(ByteSource& source) {
  std::vector<PackEntry> blocks;
  ByteVec window(kCopyBytes);
  uint64_t window_start = 0;
  size_t window_size = 0;
  if (source.size() > kMaxPackSize) return fail(Errc::kCorruption, "larger than any pack");
  for (uint64_t at = 0; at < source.size();) {
    // Frames are read through a window, the blocks themselves are passed over.
    const uint64_t frame_end = std::min<uint64_t>(source.size(), at + kFrameBytesMax);
    if (at < window_start || frame_end > window_start + window_size) {
      TRY_ASSIGN(window_size, source.read_at(at, window));
      window_start = at;
    }
    const size_t inside = static_cast<size_t>(at - window_start);
    if (inside >= window_size) return fail(Errc::kCorruption, "the file is too short");
    Bytes in = Bytes(window).subspan(inside, window_size - inside);
    const size_t before = in.size();
    TRY_ASSIGN(const uint64_t section, take_varint(in));
    const uint64_t cid_at = at + (before - in.size());
    TRY_ASSIGN(const Cid cid, Cid::take(in));
    const uint64_t cid_size = cid.byte_size();
    if (cid.is_identity() || section < cid_size || section > kMaxCarSection ||
        section > source.size() - cid_at)
      return fail(Errc::kCorruption, "no section at byte " + std::to_string(at));
    blocks.push_back({cid.digest(), static_cast<uint32_t>(cid_at + cid_size),
                      static_cast<uint32_t>(section - cid_size), cid.codec()});
    at = cid_at + section;
  }
  return blocks;
}

}  // namespace cairn
