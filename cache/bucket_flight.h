// What BucketLister has under way: for its own sources only (bucket_lister.cc, who asks and who is
// told; bucket_lister_pages.cc, requests and what their answers say).
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cache/bucket_lister.h"
#include "cache/bucket_split.h"

namespace cairn {

struct BucketLister::Waiter {
  Context context;
  Callback<void> done;
  std::atomic<bool> answered{false};
  CancelToken::Listener listener;
  uint64_t pages_seen = 0;
};

// Pages of one level that follow on each other: what the next one must come behind.
struct BucketLister::Run {
  std::string after;  // as a list of one level takes it
  std::string until;  // it ends with this key, or behind it; empty: with the listing
  int64_t asked_ns = 0;
  uint64_t pages_seen = 0;  // of all runs, when it asked
  unsigned empty_pages = 0;
  std::string last_object, last_prefix;
};

// One listing, or one look at a name. Its requests come one after the other, so only one thread at
// a time touches what is not marked. A large listing ends in several runs at once: of these each
// has its own.
struct BucketLister::Flight {
  Key key;
  bool all = false;                              // protected by mutex_: somebody wants every name
  std::vector<std::shared_ptr<Waiter>> waiters;  // protected by mutex_
  std::atomic<uint64_t> pages{0};

  std::string prefix;
  uint64_t first_ino = 0;  // what is found from now on has numbers from here
  DeepPages::Next next;
  int64_t asked_ns = 0;  // the page under way
  Run run;
  NamesSeen names;
  size_t runs_left = 0;  // protected by mutex_
  Status failed;         // of a run; protected by mutex_
  bool moved = false;    // the directory, meanwhile; protected by mutex_

  std::string walk_after;  // not empty: the name is asked for with those behind it
  std::string part;
  std::optional<ObjectInfo> object;  // of this part
  ListPage below;                    // what is in the directory of this part
};

}  // namespace cairn
