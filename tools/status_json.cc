#include "tools/status_json.h"

#include <unistd.h>

#include "tools/memory_limit.h"

namespace cairn {

Json lsn_json(const LsnStatus& lsn) {
  return Json{{"appended", lsn.appended},
              {"durable", lsn.durable},
              {"checkpointed", lsn.checkpointed},
              {"published", lsn.published}};
}

Json pending_json(const PendingStatus& pending) {
  return Json{
      {"bytes", pending.bytes}, {"files", pending.files}, {"oldest_age_ms", pending.oldest_age_ms}};
}

Json flush_json(const PendingStatus& pending, const RemoteHealth& health) {
  Json json = pending_json(pending);
  if (health.failing && health.last_code == Errc::kPermission) {
    json["refused"] = health.last_error;
    json["pid"] = ::getpid();
  }
  return json;
}

Json held_json(const KeptStatus& held) {
  return Json{{"bytes", held.bytes}, {"files", held.files}};
}

Json file_json(const FileStatus& file) {
  return Json{{"state", name_of(file.state)},
              {"percent", file.percent},
              {"commit", file.commit},
              {"cached_bytes", file.cached_bytes},
              {"pinned", file.pinned}};
}

Json requests_json(const RequestCounts& requests) {
  return Json{{"get", requests.get},       {"put", requests.put},   {"list", requests.list},
              {"remove", requests.remove}, {"head", requests.head}, {"copy", requests.copy}};
}

Json memory_json(uint64_t limit) {
  return Json{{"anonymous", anonymous_bytes()}, {"limit", limit}};
}

Json transferred_json(const RequestCounts& requests) {
  return Json{{"bytes_read", requests.bytes_read}, {"bytes_written", requests.bytes_written}};
}

Json commit_json(const PublishedState& published) {
  return Json{{"seq", published.seq}, {"root", published.root.text()}, {"time", published.time_ns}};
}

Json store_json(const PublishedState& published) {
  return Json{{"file_bytes", published.live_bytes},
              {"stored_bytes", published.stored_bytes},
              {"condemned_bytes", published.condemned_bytes}};
}

}  // namespace cairn
