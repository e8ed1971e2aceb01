// DeepPages: listings of keys of any depth, and what they leave to go on from.
//
// A directory whose names are all wanted is first listed with what is below it: up to 1,000
// objects, one request, and every directory that the page shows whole is listed, too. What the page
// ends in is *begun*: its own listing goes on from there while that is fresh enough. Of a directory
// that is mostly small ones the next pages are deep, too; of others one level of it follows, and
// the next time it is not tried (*shallow*). Where a directory that lies among small ones is listed
// (somebody *walks*), the page goes across its neighbours, and they need none of their own. A page
// says nothing of what is before its first key and behind its last one; a directory is finished
// only by pages that follow on each other from its beginning.
//
// Threads: all methods are thread-safe; the tables are asked without the lock. Owner: BucketLister.
// Everything here may be forgotten: that costs requests. Errors: those of the tree, and of
// directories_of.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "cache/base/mutex.h"
#include "cache/bucket_pages.h"
#include "cache/bucket_tree.h"

namespace cairn {

class DeepPages {
 public:
  // `begun_for`: how long a listing may have been begun before it goes on.
  DeepPages(BucketTree& tree, Duration begun_for) : tree_(tree), begun_for_(begun_for) {}

  enum class How : uint8_t {
    kLevel,   // `after` as a list of one level takes it
    kDeep,    // all that is below, from the beginning
    kDeepOn,  // `after` is a key
    kWalk,    // the neighbours, from the directory itself on: `after` is what is before it
  };
  struct Next {
    How how = How::kLevel;
    std::string after;
    int64_t started_ns = 0;
    uint64_t pages = 0;    // before it
    int64_t idle_ns = 0;   // while nobody went on: its names are older than its end by that
    std::string cut = {};  // the key, of any depth, that the page before ended with
  };
  // What to ask for first, of a directory that was left or not. `deep`: not only a level of it.
  Result<Next> first(uint64_t dir, const std::string& prefix, bool deep);
  // A listing that is left is gone on with when somebody wants it.
  void leave(uint64_t dir, const std::string& prefix, Next next);

  struct Taken {
    bool complete = false;
    Next next;  // else
    BucketTree::Keys keys;
  };
  // Notes an answer to `asked` in the tree, all but that the directory itself is finished.
  Result<Taken> take(uint64_t dir, const std::string& prefix, const Next& asked,
                     const ListPage& page, int64_t asked_ns);
  // The directory with that prefix in the one above it, as it was asked for; nullopt: it is not.
  Result<std::optional<uint64_t>> directory_in(uint64_t above, std::string_view prefix,
                                               int64_t asked_ns);
  // What is asked for then.
  static ListScope scope_of(const std::string& prefix, How how);

 private:
  struct Below;

  // What was left, of a directory that is still where it was.
  struct Begun {
    std::string prefix;
    Next next;
    int64_t left_ns = 0;
  };
  std::optional<Next> take_begun(uint64_t dir, const std::string& prefix);
  void forget(uint64_t dir);
  bool walks(uint64_t parent);
  void note_walk(uint64_t parent, bool pays);
  void note_depth(uint64_t dir, bool pays);
  Status take_below(Below& below, const std::vector<DirectoryPage>& pages);

  BucketTree& tree_;
  const Duration begun_for_;
  RankedMutex<Rank::kRemote> mutex_;
  std::map<uint64_t, Begun> begun_;  // protected by mutex_, as are these
  std::set<uint64_t> shallow_;
  std::set<uint64_t> walked_;  // directories of small ones
};

}  // namespace cairn
