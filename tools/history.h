// What mounts and subcommands say of snapshots and collections, as JSON and for people.
#pragma once

#include <string>
#include <vector>

#include "cache/collect.h"
#include "cache/snapshots.h"
#include "tools/control.h"

namespace cairn {

// kInvalid, with a sentence, when a follower that polls every few seconds might come too late.
Status check_grace(Duration grace);

Json collect_json(const CollectReport& report);
// Several lines; `dry_run`: what would be.
std::string collect_text(const Json& report, bool dry_run);

Json snapshots_json(const std::vector<Snapshot>& snapshots);
// A line a snapshot.
std::string snapshots_text(const Json& snapshots);

}  // namespace cairn
