#include "cache/journal_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "cache/base/coding.h"

namespace cairn {

namespace {

constexpr std::string_view kMagic = "cairnjnl";
constexpr uint32_t kVersion = 1;
constexpr size_t kCacheIdAt = 12;
constexpr size_t kFirstAt = 28;
constexpr size_t kDurableAt = 36;
constexpr size_t kHeaderCrcAt = 44;

// In a frame: length (of everything behind the checksum), checksum, lsn, durable, type, payload.
constexpr size_t kFrameCrcAt = 4;
constexpr size_t kCheckedAt = 8;
constexpr size_t kFrameDurableAt = 16;
constexpr size_t kTypeAt = 24;
constexpr size_t kLengthMin = kFrameHeaderBytes - kCheckedAt;

constexpr size_t kReadBytes = 256 << 10;

void patch_le32(ByteVec& out, size_t at, uint32_t value) {
  for (size_t i = 0; i < 4; ++i) out[at + i] = static_cast<std::byte>(value >> (8 * i));
}

uint32_t frame_crc(uint32_t seed, Bytes frame) {
  return crc32c(frame.subspan(kCheckedAt), crc32c(frame.first(kFrameCrcAt), seed));
}

struct FrameHead {
  uint32_t length;
  Lsn lsn;
  Lsn durable;
  size_t frame_bytes() const { return kCheckedAt + length; }
};

FrameHead head_of(const std::byte* in) {
  return {get_le<uint32_t>(in), get_le<uint64_t>(in + kCheckedAt),
          get_le<uint64_t>(in + kFrameDurableAt)};
}

bool plausible(const FrameHead& head, uint64_t record_bytes_max) {
  return head.length >= kLengthMin && head.length - kLengthMin <= record_bytes_max &&
         head.durable < head.lsn;
}

}  // namespace

ByteVec encode_journal_header(const JournalHeader& header) {
  ByteVec out;
  append(out, as_bytes(kMagic));
  put_le(out, kVersion);
  append(out, header.cache_id);
  put_le(out, header.first);
  put_le(out, header.durable);
  put_le(out, crc32c(out));
  return out;
}

Result<JournalHeader> decode_journal_header(Bytes in) {
  if (in.size() != kJournalHeaderBytes) return fail(Errc::kCorruption, "its header is cut off");
  if (as_chars(in.first(kMagic.size())) != kMagic)
    return fail(Errc::kCorruption, "it does not begin as a journal file");
  if (get_le<uint32_t>(in.data() + kHeaderCrcAt) != crc32c(in.first(kHeaderCrcAt)))
    return fail(Errc::kCorruption, "the checksum of its header is wrong");
  const auto version = get_le<uint32_t>(in.data() + kMagic.size());
  if (version != kVersion)
    return fail(Errc::kUnsupported, fmt::format("it has version {}, known is {}; use the program "
                                                "that wrote it",
                                                version, kVersion));
  JournalHeader header;
  std::copy_n(in.begin() + kCacheIdAt, header.cache_id.size(), header.cache_id.begin());
  header.first = get_le<uint64_t>(in.data() + kFirstAt);
  header.durable = get_le<uint64_t>(in.data() + kDurableAt);
  if (header.first == 0 || header.durable >= header.first)
    return fail(Errc::kCorruption, "its header contradicts itself");
  return header;
}

uint32_t frame_seed(const JournalHeader& header) {
  return crc32c(encode_journal_header(header));
}

void encode_frame(ByteVec& out, uint32_t seed, Lsn lsn, Lsn durable, uint8_t type,
                  std::span<const Bytes> parts) {
  const size_t start = out.size();
  size_t length = kLengthMin;
  for (const Bytes part : parts) length += part.size();
  out.reserve(start + kCheckedAt + length);
  put_le(out, static_cast<uint32_t>(length));
  put_le(out, uint32_t{0});
  put_le(out, lsn);
  put_le(out, durable);
  out.push_back(static_cast<std::byte>(type));
  for (const Bytes part : parts) append(out, part);
  patch_le32(out, start + kFrameCrcAt, frame_crc(seed, Bytes(out).subspan(start)));
}

std::optional<FrameClaim> frame_claim(Bytes in, uint64_t record_bytes_max) {
  if (in.size() < kFrameHeaderBytes) return std::nullopt;
  const FrameHead head = head_of(in.data());
  if (!plausible(head, record_bytes_max) || head.frame_bytes() > in.size()) return std::nullopt;
  return FrameClaim{head.lsn, head.durable, head.frame_bytes()};
}

std::optional<Frame> frame_at(Bytes in, uint32_t seed, uint64_t record_bytes_max,
                              uint64_t* checked) {
  const auto claim = frame_claim(in, record_bytes_max);
  if (!claim) return std::nullopt;
  const Bytes frame = in.first(claim->bytes);
  if (checked != nullptr) *checked += frame.size();
  if (get_le<uint32_t>(frame.data() + kFrameCrcAt) != frame_crc(seed, frame)) return std::nullopt;
  return Frame{0, claim->lsn, claim->durable, static_cast<uint8_t>(frame[kTypeAt]),
               frame.subspan(kFrameHeaderBytes)};
}

Result<Bytes> FrameReader::peek(size_t count) {
  const uint64_t left = end_ > offset_ ? end_ - offset_ : 0;
  const size_t wanted = static_cast<size_t>(std::min<uint64_t>(count, left));
  const uint64_t skip = offset_ - buffer_offset_;
  if (offset_ < buffer_offset_ || skip + wanted > buffer_.size()) {
    buffer_.resize(static_cast<size_t>(std::min<uint64_t>(std::max(wanted, kReadBytes), left)));
    TRY_ASSIGN(const size_t got, file_.read_at(offset_, buffer_));
    buffer_.resize(got);
    buffer_offset_ = offset_;
  }
  const Bytes here = Bytes(buffer_).subspan(static_cast<size_t>(offset_ - buffer_offset_));
  return here.first(std::min(wanted, here.size()));
}

Result<std::optional<Frame>> FrameReader::next(Lsn expected) {
  std::optional<Frame> none;
  TRY_ASSIGN(const Bytes start, peek(kFrameHeaderBytes));
  if (start.size() < kFrameHeaderBytes) return none;
  const FrameHead head = head_of(start.data());
  if (!plausible(head, record_bytes_max_) || head.lsn != expected) return none;
  TRY_ASSIGN(const Bytes frame, peek(head.frame_bytes()));
  if (frame.size() < head.frame_bytes()) return none;
  if (get_le<uint32_t>(frame.data() + kFrameCrcAt) != frame_crc(seed_, frame)) return none;
  const Frame found{offset_, head.lsn, head.durable, static_cast<uint8_t>(frame[kTypeAt]),
                    frame.subspan(kFrameHeaderBytes)};
  offset_ = found.end();
  return std::optional(found);
}

Result<TailScan> scan_tail(File& file, uint32_t seed, uint64_t offset, Lsn lsn,
                           uint64_t record_bytes_max) {
  // A payload may be full of what looks like the start of a frame: checksums are bounded.
  uint64_t check_budget = 256 << 20;
  const size_t overlap = static_cast<size_t>(record_bytes_max) + kFrameHeaderBytes;
  ByteVec window;
  TailScan scan;
  while (true) {
    window.resize(kReadBytes * 4 + overlap);
    TRY_ASSIGN(const size_t got, file.read_at(offset, window));
    const bool is_last = got < window.size();
    window.resize(got);
    scan.all_zero = scan.all_zero && std::all_of(window.begin(), window.end(),
                                                 [](std::byte b) { return b == std::byte{0}; });
    const size_t stop = is_last ? got : got - overlap;
    size_t at = 0;
    while (at < stop && !scan.all_zero) {
      const Bytes here = Bytes(window).subspan(at);
      ++at;
      if (here.size() < kFrameHeaderBytes) continue;
      const FrameHead head = head_of(here.data());
      if (!plausible(head, record_bytes_max) || head.lsn <= lsn) continue;
      if (head.frame_bytes() > here.size() || head.frame_bytes() > check_budget) continue;
      check_budget -= head.frame_bytes();
      const Bytes frame = here.first(head.frame_bytes());
      if (get_le<uint32_t>(frame.data() + kFrameCrcAt) != frame_crc(seed, frame)) continue;
      scan.durable = std::max(scan.durable, head.durable);
      at += frame.size() - 1;
    }
    if (is_last) return scan;
    offset += scan.all_zero ? stop : at;
  }
}

}  // namespace cairn
