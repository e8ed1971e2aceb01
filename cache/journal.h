// Journal: the append-only log every acknowledged change is in before its caller is answered.
//
// Files `<dir>/<first lsn, 16 hex>.log`, each a header and CRC32C-framed records (FORMAT.md).
// LSNs count records: 1, 2, 3, ... without gaps. Nothing written is ever overwritten.
// Owner: the engine, for the life of a mount. Thread-safe; appends are ordered by the LSN they get.
//
// Durability: what `append` returned for survives the death of the process (it was written to the
// file). `sync(lsn)` returns when everything up to `lsn` survives power loss; concurrent callers
// share one round (group commit): first `sync_data` of Options (the data segments), then
// fdatasync of the journal, so no record outlives its data. New files are made with their
// directory synced. After any failed write or sync the journal is poisoned: every later append
// and sync fails with kIo, because the kernel may have dropped what it could not write. A full
// disk is not that: the append that met it fails with kNoSpace and takes no LSN, and later ones
// work when there is space again.
// Invariant: trimmed <= durable <= appended.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "cache/base/bytes.h"
#include "cache/base/env.h"
#include "cache/base/random.h"
#include "cache/base/result.h"
#include "cache/space.h"

namespace cairn {

using Lsn = uint64_t;

struct JournalRecord {
  Lsn lsn = 0;
  uint8_t type = 0;
  Bytes payload;  // valid during the call only
  // Where the payload lies, for extents that refer to data inside it.
  uint64_t file = 0;            // the first LSN of the journal file
  uint64_t payload_offset = 0;  // in that file
};

class Journal {
 public:
  struct Options {
    std::string dir;
    Uuid cache_id{};                         // files of another cache are refused
    uint64_t file_bytes_max = 8ULL << 20;    // a new file is begun behind this size
    uint64_t record_bytes_max = 2ULL << 20;  // larger appends are refused, larger frames are damage
    std::function<Status()> sync_data;       // makes the data that records refer to durable
    Space* space = nullptr;                  // when set, disk is taken from it
  };
  struct Appended {
    Lsn lsn = 0;
    uint64_t file = 0;
    uint64_t payload_offset = 0;
  };

  // Decides for one replayed record: true keeps it; false ends the log just before it (the data it
  // refers to did not survive); an error fails the opening.
  using Replay = std::function<Result<bool>(const JournalRecord&)>;

  // Opens or makes the journal, gives every record behind `replay_after` to `replay` in order, and
  // cuts the log off at the first record that is torn or that `replay` refused. Damage at or
  // below `durable_at_least`, or below a point that a later intact record says was durable, is
  // not a torn tail: it is kCorruption and nothing is cut off. When it returns, everything that was
  // replayed is durable (`sync_data` was called for what it refers to).
  // Records up to `replay_after` may be missing as after a trim; `trimmed` then says so.
  static Result<std::unique_ptr<Journal>> open(Env& env, Options options, Lsn replay_after,
                                               Lsn durable_at_least, const Replay& replay);
  virtual ~Journal() = default;

  // Adds a record made of `parts` laid end to end. kNoSpace, and no LSN is taken, when the disk or
  // the ceiling leaves no room; with `use` kPublish the reserve counts as room.
  virtual Result<Appended> append(uint8_t type, std::span<const Bytes> parts,
                                  Space::Use use = Space::Use::kOrdinary) = 0;
  virtual Status sync(Lsn upto) = 0;
  // Forgets files in which every record is <= `through`.
  virtual Status trim(Lsn through) = 0;
  // Gives the records in (after, upto] to `visit` in order; they must not have been trimmed.
  virtual Status read(Lsn after, Lsn upto,
                      const std::function<Status(const JournalRecord&)>& visit) = 0;
  // The open file that begins with `file`, for reading data inside records; kNotFound when trimmed.
  virtual Result<std::shared_ptr<File>> file(uint64_t file) = 0;

  // The failure after which nothing more is acknowledged, if there was one.
  virtual Status health() const = 0;
  virtual Lsn appended() const = 0;
  virtual Lsn durable() const = 0;
  virtual Lsn trimmed() const = 0;     // records <= this may be gone
  virtual uint64_t bytes() const = 0;  // of all files
};

}  // namespace cairn
