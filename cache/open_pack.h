// OpenPack: a pack that is being filled. It holds blocks or says in which file they lie; sealing it
// fixes its layout and name, and gives the body that streams to the store.
//
// Owner: one stager, on its thread. Blocks keep the order in which they came.
// Errors: kInvalid for what a pack cannot hold. Format: FORMAT.md, "Packs".
#pragma once

#include <memory>
#include <vector>

#include "cache/format/pack.h"
#include "cache/object_store.h"
#include "cache/pack_store.h"

namespace cairn {

struct SealedPack {
  PackTail tail;
  Body body;
  uint64_t memory_bytes = 0;  // of the body
};

class OpenPack {
 public:
  // Packs with different salts have different names.
  explicit OpenPack(PackKind kind, uint64_t salt = 0)
      : kind_(kind), salt_(salt), builder_(kind, salt) {}
  // False when the pack must be sealed before a block of this length.
  bool fits(uint64_t length) const { return builder_.fits(length); }
  bool contains(const Digest& digest) const { return builder_.contains(digest); }
  // Adds the block of `cid`, which fits and is not in the pack yet.
  Status add(const Cid& cid, Buffer bytes);
  Status add(const Cid& cid, std::shared_ptr<File> file, ByteRange range);

  bool empty() const { return payloads_.empty(); }
  uint64_t bytes() const { return builder_.size(); }       // of the object, were it sealed now
  uint64_t memory_bytes() const { return memory_bytes_; }  // held
  // Requires !empty(). The pack is empty afterwards, ready for the next one.
  Result<SealedPack> seal();

 private:
  struct Payload {
    Buffer bytes;
    std::shared_ptr<File> file;  // when set, `range` of it instead of `bytes`
    ByteRange range;
  };

  PackKind kind_;
  uint64_t salt_;
  PackBuilder builder_;
  std::vector<Payload> payloads_;
  uint64_t memory_bytes_ = 0;
};

}  // namespace cairn
