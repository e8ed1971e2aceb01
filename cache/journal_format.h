// The journal's bytes: file header and frames (FORMAT.md, "Journal"), and a reader that trusts
// none of them. Pure functions on bytes and reads of one file; errors are those of the file, what
// does not verify is told as a value, because the caller decides between a torn tail and damage.
#pragma once

#include <optional>
#include <span>

#include "cache/base/bytes.h"
#include "cache/base/env.h"
#include "cache/base/random.h"
#include "cache/base/result.h"
#include "cache/journal.h"

namespace cairn {

inline constexpr size_t kJournalHeaderBytes = 48;
inline constexpr size_t kFrameHeaderBytes = 25;

struct JournalHeader {
  Uuid cache_id{};
  Lsn first = 0;    // LSN of the file's first record
  Lsn durable = 0;  // known to be durable when the file was begun
};

ByteVec encode_journal_header(const JournalHeader& header);
// kCorruption, or kUnsupported for a later version.
Result<JournalHeader> decode_journal_header(Bytes in);
// What the checksums of a file's frames continue from, so that a frame of another file, or one
// made up inside a payload, is not taken for one of this file.
uint32_t frame_seed(const JournalHeader& header);

// Appends one frame to `out`.
void encode_frame(ByteVec& out, uint32_t seed, Lsn lsn, Lsn durable, uint8_t type,
                  std::span<const Bytes> parts);

struct Frame {
  uint64_t offset = 0;  // in the file
  Lsn lsn = 0;
  Lsn durable = 0;
  uint8_t type = 0;
  Bytes payload;  // valid until the reader's next call
  uint64_t payload_offset() const { return offset + kFrameHeaderBytes; }
  uint64_t end() const { return payload_offset() + payload.size(); }
};

// The frame that `in` begins with, whatever its LSN; nullopt when there is none that verifies.
// Offsets count from the start of `in`. `checked`, when given, grows by the bytes it cost.
std::optional<Frame> frame_at(Bytes in, uint32_t seed, uint64_t record_bytes_max,
                              uint64_t* checked = nullptr);
// The LSNs that what looks like the start of a frame claims to have; it may be anything.
struct FrameClaim {
  Lsn lsn = 0;
  Lsn durable = 0;
  size_t bytes = 0;
};
std::optional<FrameClaim> frame_claim(Bytes in, uint64_t record_bytes_max);

// Reads the frames of one file one behind the other.
class FrameReader {
 public:
  // `end`: reads nothing from there on.
  FrameReader(File& file, uint32_t seed, uint64_t offset, uint64_t end, uint64_t record_bytes_max)
      : file_(file), seed_(seed), offset_(offset), end_(end), record_bytes_max_(record_bytes_max) {}

  // The next frame; nullopt when what lies there is none, or not the record `expected`.
  Result<std::optional<Frame>> next(Lsn expected);
  uint64_t offset() const { return offset_; }  // of what `next` reads

 private:
  // Makes `count` bytes at offset_ available, or fewer at the end.
  Result<Bytes> peek(size_t count);

  File& file_;
  const uint32_t seed_;
  uint64_t offset_;
  const uint64_t end_;
  const uint64_t record_bytes_max_;
  ByteVec buffer_;
  uint64_t buffer_offset_ = 0;  // in the file
};

// What lies behind the last good frame of a file.
struct TailScan {
  bool all_zero = true;
  Lsn durable = 0;  // the highest durable LSN that an intact frame found there tells
};
// Looks at every byte from `offset` on for frames with an LSN above `lsn`.
Result<TailScan> scan_tail(File& file, uint32_t seed, uint64_t offset, Lsn lsn,
                           uint64_t record_bytes_max);

}  // namespace cairn
