#include "tools/history.h"

#include <fmt/format.h>

#include "cache/format/commit.h"
#include "tools/units.h"

namespace cairn {

namespace {
constexpr Duration kShortestGrace = std::chrono::seconds(1);
}  // namespace

Status check_grace(Duration grace) {
  if (grace >= kShortestGrace) return {};
  const auto text = [](Duration d) { return format_duration(d.count() / 1'000'000); };
  return fail(Errc::kInvalid,
              fmt::format("a grace period of {} is too short: a follower that was away for longer "
                          "would not find its files; the shortest is {}",
                          text(grace), text(kShortestGrace)));
}

Json collect_json(const CollectReport& r) {
  return Json{{"head", r.head},
              {"snapshots", r.snapshots},
              {"stored_bytes", r.stored_bytes},
              {"live_bytes", r.live_bytes},
              {"live_blocks", r.live_blocks},
              {"metadata_bytes", r.metadata_bytes},
              {"condemned_packs", r.condemned_packs},
              {"condemned_bytes", r.condemned_bytes},
              {"moved_bytes", r.moved_bytes},
              {"waiting_packs", r.waiting_packs},
              {"waiting_bytes", r.waiting_bytes},
              {"deleted_packs", r.deleted_packs},
              {"deleted_segments", r.deleted_segments},
              {"deleted_commits", r.deleted_commits},
              {"deleted_bytes", r.deleted_bytes},
              {"lost_blocks", r.lost_blocks},
              {"grace_ms", r.grace.count() / 1'000'000},
              {"kept_from", r.kept_from}};
}

std::string collect_text(const Json& report, bool dry_run) {
  const auto number = [&](const char* name) { return report.value(name, uint64_t{0}); };
  const auto size = [&](const char* name) { return format_size(number(name)); };
  std::string text = fmt::format(
      "found: {} in the store; needed: {} of file content and {} of metadata, by the newest commit "
      "and {} snapshots\n",
      size("stored_bytes"), size("live_bytes"), size("metadata_bytes"), number("snapshots"));
  text += fmt::format("{}: {} packs of {}", dry_run ? "would condemn" : "condemned",
                      number("condemned_packs"), size("condemned_bytes"));
  if (!dry_run) text += fmt::format("; {} of it moved to new packs", size("moved_bytes"));
  text += "\n";
  if (!dry_run)
    text += fmt::format("deleted: {} packs, {} index segments, {} commits, together {}\n",
                        number("deleted_packs"), number("deleted_segments"),
                        number("deleted_commits"), size("deleted_bytes"));
  text += fmt::format("waiting: {} condemned packs of {}, each for {} from when it was condemned\n",
                      number("waiting_packs"), size("waiting_bytes"),
                      format_duration(report.value("grace_ms", int64_t{0})));
  text += fmt::format("commits can be read from number {} on\n", number("kept_from"));
  if (number("lost_blocks") > 0)
    text += fmt::format("{} blocks that are needed are in no pack that counts; see 'cairn check'\n",
                        number("lost_blocks"));
  return text;
}

Json snapshots_json(const std::vector<Snapshot>& snapshots) {
  Json list = Json::array();
  for (const Snapshot& snapshot : snapshots) {
    const CommitRecord& record = *snapshot.commit.record;
    list.push_back({{"name", snapshot.name},
                    {"commit", record.seq},
                    {"time", utc_text(record.time_ns)},
                    {"file_bytes", record.totals.live_bytes},
                    {"inodes", record.totals.inodes},
                    {"root", record.root.text()}});
  }
  return list;
}

std::string snapshots_text(const Json& snapshots) {
  std::string text;
  for (const Json& one : snapshots)
    text += fmt::format("{}  commit {}  {}  {} in {} inodes\n", one.value("name", ""),
                        one.value("commit", uint64_t{0}), one.value("time", ""),
                        format_size(one.value("file_bytes", uint64_t{0})),
                        one.value("inodes", uint64_t{0}));
  return text;
}

}  // namespace cairn
