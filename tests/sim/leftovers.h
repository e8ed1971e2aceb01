// Leftovers: nothing may stay for ever that nobody needs, in the store or in a cache directory.
//
// `judge_store` is the end of a life: the volume is opened once more, collected until a collection
// finds nothing to do, and closed. Then every object must be named by what is left of the history,
// by a snapshot, or be one of the four that have fixed names; and the data packs are at most a
// fifth larger than the contents that the tree and the snapshots show.
// `judge_cache` is what every clean close leaves of a cache directory.
#pragma once

#include <memory>
#include <set>
#include <string>

#include "cache/snapshots.h"
#include "tests/sim/world.h"

namespace cairn::sim {

class Leftovers {
 public:
  explicit Leftovers(World& world) : w_(world) {}
  // A pack and an index segment that no commit names, as a writer leaves them that died.
  void plant();
  // `mount` is open for writing, and all is well with its disk and the store.
  void collect_all(Mount& mount);
  void judge_store();
  void judge_cache(Machine& machine);

 private:
  struct Named {
    std::set<std::string> keys;
    std::set<std::string> metadata_packs;  // of these
  };
  CollectReport collect(Mount& mount);
  void name_parts(const CommitRecord& record, ObjectStore& store, Named& named);
  void judge_bytes(uint64_t stored, uint64_t packs, const std::vector<Snapshot>& snapshots);
  std::set<uint64_t> segment_files(Machine& machine);
  void judge_rows(Machine& machine, const std::set<uint64_t>& segments);

  World& w_;
};

}  // namespace cairn::sim
