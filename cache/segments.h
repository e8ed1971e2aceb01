// Segments: append-only data files that hold file content, dirty and clean alike.
//
// `<dir>/<number, 8 hex>.seg`, preallocated, each append 4 KiB-aligned; a number is never used
// again, and a byte that was written is never overwritten. A segment is open (the one appends of
// its class go to), then sealed. It disappears whole, by `remove`.
// Owner: the engine. Thread-safe. An append reserves its room under a lock and writes without it.
//
// Who may remove a segment: it is *unpublished* while `last_lsn` is above the published LSN: then
// records in the journal refer to it. Below, everything in it is clean (also in the store) or
// dead, and eviction may take it once a checkpoint no longer names it.
// Durability: `sync` returns when every append that returned before the call survives power loss.
// After a failed write or sync every later append and sync fails with kIo. A full disk is not that:
// the append that met it fails with kNoSpace, and later ones work when there is space again; so it
// is when the ceiling of the cache leaves no room.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cache/base/env.h"
#include "cache/base/result.h"
#include "cache/journal.h"
#include "cache/space.h"

namespace cairn {

// kKept holds clean content that was moved there from a segment that had to go, kPassing what is
// not to stay.
enum class SegmentClass : uint8_t { kWritten, kClean, kKept, kPassing };
inline constexpr size_t kSegmentClasses = 4;

// Where bytes lie: in a data segment, or inside a journal record (small writes).
struct DataRef {
  enum class Kind : uint8_t { kSegment, kJournal };
  Kind kind = Kind::kSegment;
  uint64_t file = 0;  // segment number, or the journal file's first LSN
  uint64_t offset = 0;
  bool operator==(const DataRef&) const = default;
};

struct SegmentInfo {
  uint64_t number = 0;
  uint64_t allocated_bytes = 0;  // of disk: the preallocated size while open, the used one after
  uint64_t used_bytes = 0;
  Lsn last_lsn = 0;  // 0: only clean data
  bool open = false;
  bool held = false;  // a record that refers to it is about to be written
  bool kept = false;  // of class kKept, and made by this process
  bool passing = false;  // likewise of class kPassing
};

class Segments {
 public:
  struct Options {
    std::string dir;
    uint64_t segment_bytes = 16ULL << 20;  // preallocated; a larger append gets its own segment
    Space* space = nullptr;                // when set, disk is taken from it
  };
  // `known_numbers_end`: numbers below it are in use or spent; new ones start behind both it and
  // the files found. Files left by an earlier life are sealed with last_lsn 0: the caller tells
  // with note_lsn which hold unpublished data, and those are synced again by the next sync, because
  // the process before may have died between its write and its sync.
  static Result<std::unique_ptr<Segments>> open(Env& env, Options options,
                                                uint64_t known_numbers_end);
  virtual ~Segments() = default;

  // kKept may use the reserve of the space: it is there so that something can go.
  virtual Result<DataRef> append(SegmentClass kind, Bytes data) = 0;
  // The same for class kWritten, and the segment is held until `release`: between the append and
  // the record that will refer to it (`note_lsn`) nothing else says that it is needed.
  virtual Result<DataRef> append_held(Bytes data) = 0;
  virtual void release(uint64_t number) = 0;
  // A record with this LSN refers to the segment.
  virtual void note_lsn(uint64_t number, Lsn lsn) = 0;
  virtual Result<std::shared_ptr<File>> file(uint64_t number) = 0;  // kNotFound when removed
  virtual Status sync() = 0;
  // The same for appends of class kWritten only: what an fsync waits for, however fast clean
  // content streams in meanwhile.
  virtual Status sync_written() = 0;
  // Ends the open segments, so that they can be removed; later appends begin new ones.
  virtual Status seal() = 0;
  virtual Status remove(uint64_t number) = 0;  // sealed and not held; readers may go on
  // The failure after which nothing more is accepted, if there was one.
  virtual Status health() const = 0;
  virtual std::vector<SegmentInfo> list() const = 0;  // by number
  virtual uint64_t allocated_bytes() const = 0;
  virtual uint64_t numbers_end() const = 0;
};

// Are the bytes of a record at their place, with this checksum (CRC32C)? For those inside the
// record itself its own checksum has spoken.
bool holds_bytes(Segments& segments, const DataRef& ref, uint32_t length, uint32_t crc);

}  // namespace cairn
