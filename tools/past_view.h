// past_view: the store that a mount of a bucket's objects looks at.
//
// As it is; where the bucket keeps versions with what is past beside it (s3/history_store.h); or,
// with --at, as it was then (s3/versions_at_store.h), which is read only.
// One request at most. Blocks. Errors: one sentence that says what to do.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "cache/base/executor.h"
#include "cache/object_store.h"
#include "cache/snapshots.h"

namespace cairn {

struct PastView {
  std::shared_ptr<ObjectStore> store;
  bool past = false;  // ObjectView::past
};

struct PastQuestion {
  std::string url;                     // for messages
  std::optional<HistoryPoint> at;      // of --at
  bool reached = true;                 // otherwise the store is out of reach, and nothing is asked
  std::optional<bool> keeps_versions;  // of the store, when it was asked
};
Result<PastView> past_view(std::shared_ptr<ObjectStore> store, const PastQuestion& question,
                           Executor& io, const Context& context);

// Of a place where nothing lies: does it keep versions, so that there is something to show as of a
// time? Not asked when `at` is none.
std::optional<bool> has_past(ObjectStore& store, const std::optional<HistoryPoint>& at,
                             const Context& context);

}  // namespace cairn
