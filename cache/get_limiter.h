// GetLimiter: at most so many GETs of one user under way, and so many bytes that they asked for
// (one may always go); the others wait in order.
//
// Shared: a waiting GET keeps it alive. Thread-safe; no lock is held across a callback. The queue
// is as long as what callers ask for at once; each of them bounds that.
#pragma once

#include <deque>
#include <memory>
#include <string>

#include "cache/base/mutex.h"
#include "cache/object_store.h"

namespace cairn {

class GetLimiter : public std::enable_shared_from_this<GetLimiter> {
 public:
  GetLimiter(ObjectStore& store, uint32_t gets_max, uint64_t bytes_max = UINT64_MAX)
      : store_(store), gets_max_(gets_max), bytes_max_(bytes_max) {}
  // As ObjectStore::get. The context's deadline counts while waiting, too.
  void get(std::string key, GetRange range, Context context, Callback<GetResult> done);
  ObjectStore& store() { return store_; }

 private:
  struct Waiting {
    std::string key;
    GetRange range;
    Context context;
    Callback<GetResult> done;
  };
  bool may_start(const Waiting& get) const;
  void start(Waiting get);
  void finished(uint64_t bytes);

  ObjectStore& store_;
  const uint32_t gets_max_;
  const uint64_t bytes_max_;
  RankedMutex<Rank::kLeaf> mutex_;
  uint32_t under_way_ = 0;
  uint64_t bytes_under_way_ = 0;
  std::deque<Waiting> waiting_;
};

}  // namespace cairn
