// Snapshots: commits that have a name, and finding a commit by name, number or time.
//
// A snapshot is an object r/<name> that holds a copy of the commit record it names; it is created
// once and only deleted. The collector keeps what its tree needs. Snapshots may be made and deleted
// by anybody, whoever writes to the volume.
// Functions block on the store; never on a task of its executor.
// Errors: kInvalid (a name or a point in time nobody could mean), kExists, kNotFound (no such
// snapshot; a commit that is not kept any more), kCorruption, and the store's.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "cache/commit_log.h"

namespace cairn {

// 1 to 128 letters, digits, '.', '_' and '-', beginning with a letter or '_': so a name is never
// taken for a number or a time.
Status check_snapshot_name(std::string_view name);

struct Snapshot {
  std::string name;
  StoredCommit commit;
};

// Names `commit`. It must not have been removed from the history meanwhile: then nothing is made.
Status create_snapshot(ObjectStore& store, CommitLog& log, std::string_view name,
                       const StoredCommit& commit, Context context);
Status delete_snapshot(ObjectStore& store, std::string_view name, Context context);
Result<Snapshot> read_snapshot(ObjectStore& store, std::string_view name, Context context);
// By name.
Result<std::vector<Snapshot>> list_snapshots(ObjectStore& store, Context context);

// A point in a volume's history as people write it: a snapshot's name, a commit's number, a time
// (2026-11-26, 2026-11-26T13:05, 2026-11-26T13:05:30Z; UTC).
struct HistoryTime {
  int64_t wall_ns = 0;
};
using HistoryPoint = std::variant<std::string, uint64_t, HistoryTime>;
Result<HistoryPoint> parse_history_point(std::string_view text);
// The commit meant: of a time, the newest that is not younger.
Result<StoredCommit> find_commit(ObjectStore& store, CommitLog& log, const HistoryPoint& point,
                                 const StoredCommit& head, Context context);

// 2026-11-26T13:05:30Z
std::string utc_text(int64_t wall_ns);

}  // namespace cairn
