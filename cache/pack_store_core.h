// PackStoreCore: the state that PackStore and its operations share. Only pack_store*.cc include it.
//
// An operation (a look-up, a read) is an object of its own that lives as long as its callbacks; it
// keeps the core alive, so the PackStore may go while requests are under way.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <vector>

#include "cache/flights.h"
#include "cache/get_limiter.h"
#include "cache/pack_store.h"
#include "cache/pack_tails.h"
#include "cache/pack_windows.h"
#include "cache/segment_index.h"
#include "cache/tail_probes.h"

namespace cairn {

class PackStoreCore : public std::enable_shared_from_this<PackStoreCore> {
 public:
  PackStoreCore(ObjectStore& object_store, Executor& run_on, Clock& time, PackStore::Options opts)
      : store(object_store),
        executor(run_on),
        clock(time),
        options(opts),
        gets(std::make_shared<GetLimiter>(object_store, opts.requests_max,
                                          opts.under_way_bytes_max)),
        tails(std::make_shared<PackTails>(gets, opts.tail_bytes, opts.tail_files)),
        probes(std::make_shared<TailProbes>(gets, tails)),
        segments(SegmentIndex::make(gets, opts.page_bytes)),
        windows(opts.around_bytes) {}

  // Places of all `digests`; may complete on the calling stack.
  void locate(std::vector<Digest> digests, PackKind kind, Context context,
              Callback<std::vector<BlockPlace>> done);
  void read(std::vector<BlockWant> wants, PackKind kind, Context context, EachBlock each,
            Callback<std::vector<Buffer>> done);

  // Packs that are on their way out: read only where nothing else has the block.
  struct Outgoing {
    std::map<Digest, bool> condemned;  // false: deleted
    std::set<Digest> suspects;
    bool leaves(const Digest& pack) const {
      return condemned.contains(pack) || suspects.contains(pack);
    }
    bool deleted(const Digest& pack) const {
      const auto it = condemned.find(pack);
      return it != condemned.end() && !it->second;
    }
  };
  std::shared_ptr<const Outgoing> going() const {
    const std::lock_guard lock(mutex);
    return outgoing;
  }
  void ask_again(unsigned looks, Callback<void> done);
  // Waits before one looks again after so many looks.
  void pause(unsigned looks, Task then);

  // Condemned packs and suspects that are there and whose tails are not here.
  std::vector<PackName> condemned_without_tail() const;
  // Named and own packs, the newest first, then the others. Also those whose tails are here: by the
  // time one is looked into it may be gone again.
  std::vector<PackName> packs_of(PackKind kind) const;
  // Metadata packs but those of which the caller of `locate` has all blocks.
  std::vector<PackName> metadata_packs_away() const;

  ObjectStore& store;
  Executor& executor;
  Clock& clock;
  const PackStore::Options options;
  const std::shared_ptr<GetLimiter> gets;
  const std::shared_ptr<PackTails> tails;
  const std::shared_ptr<TailProbes> probes;
  const std::shared_ptr<SegmentIndex> segments;
  PackWindows windows;  // of data packs
  Flights flights;

  mutable RankedMutex<Rank::kBlockCache> mutex;
  std::vector<PackName> named;  // by the head, oldest first
  std::vector<PackName> own;    // put since and not named yet, oldest first
  std::vector<PackName> others;  // of also_look_in
  // Data packs of these that no segment can have taken in: named, or put since that was said.
  std::shared_ptr<const std::set<Digest>> listed = std::make_shared<std::set<Digest>>();
  // Packs that a segment may have taken in since something was last condemned. Of a block that is
  // in several packs a segment lists one; when that one is condemned, the index leads to none,
  // although the tails of the others name it.
  std::shared_ptr<const std::set<Digest>> covered = std::make_shared<std::set<Digest>>();
  std::shared_ptr<const Outgoing> outgoing = std::make_shared<Outgoing>();
  std::function<void(Callback<void>)> ask;
  std::function<bool(const Digest& pack)> all_here;  // of on_all_here
};

}  // namespace cairn
