// HeadLook: the first question of a search for the newest commit, HEAD and gc.boundary together.
// A mount asks it beside cairn.json, before it knows whether there is a volume.
//
// Owner: who begins it, until the answers were taken; destroying it before gives up what is on its
// way and waits until nothing is: not on a task of the store's executor. One thread at a time.
// Errors: those of the store, kCorruption for a boundary that is no number.
#pragma once

#include <memory>
#include <optional>

#include "cache/await.h"
#include "cache/object_store.h"

namespace cairn {

// Of HEAD and gc.boundary, which hold one number.
constexpr uint64_t kNumberBytesMax = 64;

class HeadLook {
 public:
  // Asks, and returns at once. The store must outlive it.
  HeadLook(ObjectStore& store, const Context& context);
  ~HeadLook();
  HeadLook(const HeadLook&) = delete;
  HeadLook& operator=(const HeadLook&) = delete;

  struct Found {
    std::optional<uint64_t> hint;  // HEAD, which may be missing, old or damaged
    Result<uint64_t> boundary;
  };
  // Waits for the answers. At most once.
  Found take();

 private:
  ObjectStore& store_;
  CancelToken over_;
  Awaited<GetResult> hint_;
  Awaited<GetResult> boundary_;
  bool taken_ = false;
};

// gc.boundary as it was read: commits below this number may be gone. 1 when it is not there.
Result<uint64_t> boundary_of(const ObjectStore& store, const Result<GetResult>& got);

}  // namespace cairn
