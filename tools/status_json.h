// Parts of what a mount says of itself, as JSON: what `cairn status --json` prints.
//
// But for memory_json pure. Names and units are those of tools/README.md, which programs rely on.
#pragma once

#include "cache/engine.h"
#include "s3/metered_store.h"
#include "tools/control.h"

namespace cairn {

Json lsn_json(const LsnStatus& lsn);
Json pending_json(const PendingStatus& pending);
// The same for who waits for a flush, with what the store refuses: waiting does not help then.
Json flush_json(const PendingStatus& pending, const RemoteHealth& health);
Json held_json(const KeptStatus& held);
Json file_json(const FileStatus& file);
Json requests_json(const RequestCounts& requests);
Json memory_json(uint64_t limit);  // what this process has
Json transferred_json(const RequestCounts& requests);
Json commit_json(const PublishedState& published);
Json store_json(const PublishedState& published);

}  // namespace cairn
