// World: what a life consists of: machines, bucket, the states that were, and the judge of what is
// found. The parts of a Life (life.cc drives, operations.cc works, judge.cc compares) share it.
#pragma once

#include <algorithm>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cache/format/commit.h"
#include "tests/sim/life.h"
#include "tests/sim/mount.h"

namespace cairn::sim {

// The states a writer went through, one an operation, and which of them must survive what.
struct Timeline {
  struct Moment {
    Model model;
    MonotonicTime answered = MonotonicTime::max();
  };
  std::vector<Moment> moments;
  size_t answered = 0;   // survives a kill
  size_t synced = 0;     // survives a power cut
  size_t flushed = 0;    // survives the loss of the machine
  size_t committed = 0;  // is in the newest commit that was looked at

  size_t last() const { return moments.size() - 1; }
  const Model& now() const { return moments.back().model; }
};

struct Machine {
  Machine(Scheduler& scheduler, std::string label) : name(std::move(label)), disk(scheduler) {}
  std::string name;
  Disk disk;
  Timeline timeline;
  std::vector<Uuid> cache_ids;  // of its cache directory; a power cut may make it a new one
  // It was taken over and holds work that it could not publish: perhaps, or for sure.
  bool behind = false;
  uint64_t behind_since = 0;  // so many collections had ended, or died
  bool surely_behind() const {
    return behind && timeline.answered > timeline.committed &&
           !same(timeline.moments[timeline.answered].model,
                 timeline.moments[timeline.committed].model);
  }
  std::unique_ptr<Mount> mount;
};

// A commit as the bucket held it when it was created.
struct Commit {
  CommitRecord record;
  std::shared_ptr<MemoryStore> bucket;
  Machine* writer = nullptr;
  size_t newest = 0;  // the writer had not done more than this
};

class World {
 public:
  explicit World(const Wish& wish);

  Rng& rng() { return scheduler.rng(); }
  uint64_t below(uint64_t bound) { return rng().below(bound); }
  bool chance(uint64_t one_in) { return below(one_in) == 0; }
  void happened(const std::string& what) { ++reached[what]; }

  void choose_settings();
  // One process in so many is planned to die.
  Death some_death(unsigned one_in);

  // ---- judging
  void heard_of_commit(Buffer record, std::shared_ptr<MemoryStore> bucket);
  // Looks at every commit that was not looked at yet.
  void look_at_commits();
  // Which moment of the timeline a listing shows; gives the life up when there is none in
  // [oldest, newest]. Where several look the same, the newest one, or the oldest.
  enum class Which : uint8_t { kNewest, kOldest };
  size_t find_moment(const Timeline& timeline, size_t oldest, size_t newest, const Listing& listing,
                     const std::string& what, Which which = Which::kNewest);
  // What a mount shows, with the store made well until it is known.
  Listing must_list(Mount& mount, const std::string& what);
  // The same by itself: nullopt when it cannot be shown.
  std::optional<Listing> try_list(Mount& mount, std::string& why);
  // What a mount of its own shows of a bucket, now or at a point of its history.
  Listing list_bucket(std::shared_ptr<MemoryStore> at, const std::string& what,
                      std::optional<HistoryPoint> point = std::nullopt);
  // What statfs says of a writer against the sum of what it shows.
  void check_sums(Mount& mount, const Listing& listing);
  void check_bucket(std::shared_ptr<ObjectStore> bucket, const std::string& what);
  std::unique_ptr<Mount> make_mount(Machine& machine, Mount::Plan plan);
  void retire(std::unique_ptr<Mount> mount) { shells.push_back(std::move(mount)); }

  const Wish wish;
  Scheduler scheduler;
  Bucket bucket;
  Machine a{scheduler, "A"};
  Machine b{scheduler, "B"};
  Machine c{scheduler, "C"};  // only follows
  Machine* writer = &a;
  MountOptions options;  // of this life's mounts
  std::map<std::string, uint64_t> reached;
  std::deque<Commit> unseen;
  bool trouble = false;  // disk or store may refuse what is right
  uint64_t last_seq = 0;
  uint64_t last_epoch = 0;
  std::optional<Model> last_model;    // of the newest commit that was looked at
  std::map<uint64_t, Model> commits;  // by number
  uint64_t collections = 0;           // that have begun
  bool collecting = false;            // the last of them has not ended: it may have died
  std::vector<std::unique_ptr<Mount>> shells;
  std::vector<std::unique_ptr<Machine>> lookers;
};

}  // namespace cairn::sim
