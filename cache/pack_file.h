// Packs and parts of packs that lie in a local file or in memory: what blocks they hold, where.
//
// Functions of their arguments. Nothing here hashes the blocks: whoever reads one verifies it.
// Errors: kCorruption, and the source's own.
#pragma once

#include <vector>

#include "cache/base/env.h"
#include "cache/format/byte_io.h"
#include "cache/format/pack.h"

namespace cairn {

// A local file as a source. `file` must outlive it.
class FileSource final : public ByteSource {
 public:
  FileSource(File& file, uint64_t size) : file_(file), size_(size) {}
  uint64_t size() const override { return size_; }
  Result<size_t> read_at(uint64_t offset, MutableBytes out) override {
    return file_.read_at(offset, out);
  }

 private:
  File& file_;
  uint64_t size_;
};

// Where the section begins whose block has this place in the file.
uint64_t section_start(uint64_t offset, uint64_t length);

// The digest that the section of the block at `offset` carries.
Result<Digest> section_digest(File& file, uint64_t offset);

// The tail of a whole pack. kCorruption when it is not the one that gives the pack its name.
Result<PackTail> read_pack_tail(ByteSource& source, const Digest& pack);
std::vector<PackEntry> entries_of(const PackTail& tail);

// The blocks of a run of whole sections without header or tail, in file order.
Result<std::vector<PackEntry>> scan_sections(ByteSource& source);

}  // namespace cairn
