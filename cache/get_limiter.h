// GetLimiter: at most so many GETs of one user under way; the others wait in order.
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
  GetLimiter(ObjectStore& store, uint32_t gets_max) : store_(store), gets_max_(gets_max) {}
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
  void start(Waiting get);
  void finished();

  ObjectStore& store_;
  const uint32_t gets_max_;
  RankedMutex<Rank::kLeaf> mutex_;
  uint32_t under_way_ = 0;
  std::deque<Waiting> waiting_;
};

}  // namespace cairn
