// BucketBody: what an object is made of when it is written, from a file's frozen content and the
// version of an object that shows through it.
//
// The object is looked at in slots. A slot in which nothing changed is a range of the version: the
// store copies it itself, and nothing travels. The others are made of what was written (read from
// the cache's files while they are sent), zeroes, and the bytes of the version that lie between,
// which are taken from the cache or fetched. An object that is smaller than two slots is one.
// When the bytes between are more than may be in memory, the slots that need them are put one
// after the other as objects of their own beside the target, and the object is made of those.
//
// Owner: one put of one object, on its thread; it blocks. Errors: those of the store; kPrecondition
// when the version is not there any more.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cache/chunk_plan.h"
#include "cache/object_store.h"
#include "cache/remote.h"

namespace cairn {

// The version of an object that shows through what was written.
struct BodyBase {
  std::string key;
  std::string etag;
  uint64_t size = 0;
};

class BucketBody {
 public:
  static constexpr uint64_t kSlotBytes = 8ULL << 20;
  static constexpr uint64_t kSlotsMax = 4500;  // a body has 5,000 sections

  struct Parts {
    ObjectStore& store;
    PublishHost& host;
    uint32_t chunk_bytes;
    uint64_t memory_bytes;                           // of the base, at once
    std::string beside;                              // how names of objects beside the target go on
    std::function<Context(uint64_t bytes)> context;  // of a request that moves so many
    // The leaf that a chunk of the base is in the cache under; empty: it is not looked for.
    std::function<std::optional<Leaf>(uint64_t chunk, uint32_t length)> leaf;
  };
  // `file` outlives it.
  BucketBody(Parts parts, const FrozenFile& file, std::optional<BodyBase> base);

  // Bytes of the base that have to be in memory.
  Result<uint64_t> memory_needed();
  // `target` is the key it is for. Objects that were put beside it are noted in `beside`.
  Result<Body> make(const std::string& target, std::vector<std::string>& beside);
  // Of the chunks that are not as they were, and of which some bytes are in `body` here.
  const std::vector<ChunkPlan>& plans() const { return plans_; }

 private:
  struct Slot {
    uint64_t begin = 0, end = 0;
    bool as_it_was = false;
    uint64_t base_bytes = 0;
  };
  Status plan();
  void add_base(uint64_t begin, uint64_t end);
  Status add_slot(const Slot& slot, Body& body);
  Status add_chunk(uint64_t index, const ChunkPlan* plan, Body& body);
  Status add_base_bytes(uint64_t from, uint64_t length, Body& body);
  Status bring(const Slot& slot);
  uint64_t base_bytes_of(const ChunkPlan& plan) const;

  const Parts parts_;
  const FrozenFile& file_;
  const std::optional<BodyBase> base_;
  const uint64_t kept_;  // bytes of the base that still count
  bool planned_ = false;
  std::vector<ChunkPlan> plans_;
  std::vector<Slot> slots_;
  std::map<uint64_t, Buffer> here_;  // bytes of the base by their offset
};

// `count` zeroes; they share their memory.
void add_zeroes(Body& body, uint64_t count);

}  // namespace cairn
