// Change: everything one operation does to the volume, as one journal record and one atomic step
// of the live state. Recovery and the publisher read the same records, so what is replayed, what
// is published and what was acknowledged cannot differ.
//
// A change carries effects, not intentions: new values of tree keys, data written, content cut.
// Folding records is therefore last-writer-wins by key. Format: FORMAT.md, "Journal changes".
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "cache/base/result.h"
#include "cache/extents.h"
#include "cache/format/cid.h"
#include "cache/journal.h"

namespace cairn {

// Sets (or removes) the value of a tree key.
struct PutKey {
  std::string key;
  std::optional<Cid> value;
};
// Bytes of a file were written. Large ones lie in a segment already; small ones travel inside the
// record, and `ref` points into the journal once it was appended or read back.
struct WriteData {
  uint64_t inode = 0;
  uint64_t offset = 0;
  uint32_t length = 0;
  uint32_t crc = 0;  // CRC32C of the bytes
  DataRef ref;
  Bytes inline_bytes;  // set exactly when ref.kind is kJournal
  // Of data just written: keeps its segment from eviction until the record is there.
  std::shared_ptr<const void> hold;
};
// Bytes of a file are those that an earlier record put into a segment (for this or another file).
// That record vouches for them: they were durable before this one could be.
struct ShareData {
  uint64_t inode = 0;
  uint64_t offset = 0;
  uint32_t length = 0;
  DataRef ref;  // in a segment
};
// Bytes of a file are those of a leaf in the store.
struct ShareLeaf {
  uint64_t inode = 0;
  uint64_t offset = 0;
  uint32_t length = 0;
  SharedLeaf leaf;
};
// Content at and behind `limit` is gone.
struct CutContent {
  uint64_t inode = 0;
  uint64_t limit = 0;
};
// [offset, offset + length) reads as zeroes.
struct ZeroRange {
  uint64_t inode = 0;
  uint64_t offset = 0;
  uint64_t length = 0;
};
// The inode is gone; so is whatever was written to it.
struct ForgetContent {
  uint64_t inode = 0;
};
// A small block that a value refers to.
struct AddBlock {
  Digest digest;
  Bytes bytes;
};
// A row of this cache's own bookkeeping (table kState); an empty value removes it.
struct PutState {
  std::string key;
  std::string value;
};
// This writer began to hand out inode numbers of a group of its slot.
struct OpenGroup {
  uint32_t group = 0;
};

using Effect = std::variant<PutKey, WriteData, CutContent, ZeroRange, ForgetContent, AddBlock,
                            PutState, OpenGroup, ShareData, ShareLeaf>;

// Record types of the journal.
inline constexpr uint8_t kRecordChange = 1;
// A commit is about to be sent: [u64 seq][commit record].
inline constexpr uint8_t kRecordCommitIntent = 2;

struct Change {
  int64_t time_ns = 0;  // wall time of the operation
  std::vector<Effect> effects;
};

ByteVec encode_change(const Change& change);
// What the change takes here: its record, whose payload has so many bytes, and its data in
// segments.
uint64_t local_bytes(const Change& change, uint64_t payload_bytes);
// Reads a record's payload; views point into it, and inline data gets its place in the journal.
// kCorruption when the payload is not exactly one change.
Result<Change> decode_change(const JournalRecord& record);
// The commit record in the payload of a kRecordCommitIntent.
Result<Buffer> decode_commit_intent(Bytes payload);

}  // namespace cairn
