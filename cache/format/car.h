// CARv1: the framing of a file of blocks, and a strict reader of whole files.
//
// Framing is pure functions. CarReader walks a ByteSource from start to end on one thread; a
// source that is not a regular file should be buffered by its owner. It keeps one block in memory
// (at most kMaxCarSection) and never allocates from a length before the source has that many bytes.
// Errors: kCorruption for everything that is not exactly a CAR of valid blocks, kUnsupported for
// other versions and for CIDs this program does not know, the source's own errors otherwise.
// Format: FORMAT.md, "Packs" (CARv1).
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "cache/base/bytes.h"
#include "cache/base/result.h"
#include "cache/format/byte_io.h"
#include "cache/format/cid.h"

namespace cairn {

// The largest section other CAR readers take by default, without its length varint.
constexpr uint64_t kMaxCarSection = 8 << 20;
constexpr uint64_t kMaxCarBlock = kMaxCarSection - Cid::kDigestCidSize;
constexpr uint64_t kMaxCarHeader = 64 << 10;
constexpr size_t kMaxCarRoots = 1024;

// The header of a file with one root.
ByteVec encode_car_header(const Cid& root);
// What stands before a block of `length` bytes: the section's length and the block's CID.
void append_car_frame(ByteVec& out, const Cid& cid, uint64_t length);
// The bytes of that for a sha2-256 CID.
size_t car_frame_size(uint64_t length);

// A block must be what its CID says, and well-formed where its codec has a form.
Status verify_block(const Cid& cid, Bytes data);

struct CarSection {
  Cid cid;
  uint64_t offset = 0;  // of the payload in the file
  Buffer data;
};

class CarReader {
 public:
  // Reads and checks the header. `source` must outlive the reader.
  static Result<CarReader> open(ByteSource& source);

  const std::vector<Cid>& roots() const { return roots_; }
  // Where the next section begins.
  uint64_t position() const { return at_; }
  // The next block, verified; nothing at the end of the file, when every root has been seen.
  Result<std::optional<CarSection>> next();

 private:
  explicit CarReader(ByteSource& source) : source_(&source) {}
  // The varint at at_, which moves behind it.
  Result<uint64_t> length();

  ByteSource* source_;
  uint64_t at_ = 0;
  std::vector<Cid> roots_;
  std::vector<bool> seen_;  // by root
};

struct CarSummary {
  uint64_t blocks = 0;
  uint64_t bytes = 0;  // of all payloads
};
// Reads a whole file; fails at the first thing that is wrong with it.
Result<CarSummary> verify_car(ByteSource& source);

}  // namespace cairn
