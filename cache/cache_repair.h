// Repair of a damaged cache directory: what is kept, what is lost, and where the damaged files go.
//
// The log is kept up to the first record that is needed and cannot be read (or whose data cannot):
// an exact prefix of what was acknowledged, as after a power cut. Tables that are damaged, or that
// are ahead of that prefix, are made anew: empty, as of the last commit of this cache in the store;
// the next mount replays the kept records over it. Nothing that was there is overwritten: before
// anything changes, `damaged-N` in the cache directory is made a cache of its own with the
// journal, the tables and the data of what is not kept, for `recover --to`. When that is
// interrupted, a second repair begins again from what is there.
//
// Used by `cairn recover`, under the cache's lock. Errors: those of the disk and of the store,
// without which only what the journal lost is known, not what the store has.
#pragma once

#include <string>
#include <vector>

#include "cache/cache_dir.h"
#include "cache/journal_survey.h"

namespace cairn {

// What of this cache's records is in the store.
struct StoredBase {
  Lsn published = 0;  // records up to it
  Buffer commit;      // that holds them
  // False: another node wrote since and no commit of this cache is found; `published` is what the
  // journal was trimmed to, and the commit is the newest one. `text` says so.
  bool known = false;
  std::string text;
};
// `last_commit` as TreeRemote::Options has it.
Result<StoredBase> find_stored_base(const CacheDir& dir, const MountEnvironment& environment,
                                    const JournalSurvey& survey, Buffer last_commit,
                                    const Context& context);

struct RepairReport {
  std::vector<std::string> damage;  // what is wrong, a sentence each; empty: nothing is
  std::vector<std::string> done;    // what was made anew
  std::vector<std::string> lost;    // which records, files and byte ranges are not in it any more
  std::string aside;                // where the damaged files are; empty: nothing was changed
};
Result<RepairReport> repair_cache(CacheDir& dir, const MountEnvironment& environment,
                                  const MountOptions& options, Context context);

// A sentence about the first data of a record that is not where it was written; empty when all is.
std::string damaged_data(const CacheDir& dir, Segments& segments, const JournalRecord& record);

bool is_damage(const Error& error);
// The error of a mount on a damaged cache. `remote`: when the cache cannot say whose it is.
Error repair_advice(const CacheDir& dir, const Error& error, const std::string& remote);

}  // namespace cairn
