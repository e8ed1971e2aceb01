#include "tests/sim/leftovers.h"

#include <fmt/format.h>

#include <array>
#include <charconv>

#include "cache/base/coding.h"
#include "cache/commit_parts.h"
#include "cache/extents.h"
#include "cache/format/index.h"
#include "cache/journal_recovery.h"
#include "cache/meta_files.h"
#include "cache/store_keys.h"
#include "cache/store_scan.h"
#include "cache/store_source.h"
#include "tests/sim/operations.h"

namespace cairn::sim {

namespace {

constexpr Duration kGrace = std::chrono::seconds(1);
constexpr Duration kCommitsStay = std::chrono::minutes(10);  // however short the grace period is
constexpr int kRoundsMax = 24;
// What a block and a pack cost besides the contents, about.
constexpr uint64_t kBlockOverhead = 90;
constexpr uint64_t kPackOverhead = 250;

// Rows of Table::kState that a cache may keep, by name or prefix.
constexpr std::array<std::string_view, 5> kStateRows{"bookmark", "checkpoint", "next-group",
                                                     "usage", "numbers/"};

std::string leaf_of(const std::string& bytes, uint64_t at) {
  return bytes.substr(at, kChunk);
}

}  // namespace

void Leftovers::plant() {
  const std::string text = "planted " + std::to_string(w_.rng().next());
  const Digest name = sha256(as_bytes(text));
  w_.bucket.objects().put_foreign(pack_key(name), Buffer::copy(text));
  w_.bucket.objects().put_foreign(index_key(name), Buffer::copy(text));
  w_.happened("orphans planted");
}

// ---- the store

CollectReport Leftovers::collect(Mount& mount) {
  CollectOptions how;
  how.grace = kGrace;
  std::optional<Result<CollectReport>> answer;
  mount.collect(std::move(how), [&](const Result<CollectReport>& report) { answer = report; });
  while (!answer && mount.alive()) w_.scheduler.sleep(std::chrono::milliseconds(1));
  if (!answer) w_.scheduler.give_up("the last collection died");
  if (!*answer) w_.scheduler.give_up("the last collection: " + answer->error().message());
  return **answer;
}

void Leftovers::collect_all(Mount& mount) {
  ++w_.collections;
  bool commits_are_old = false;
  std::string found;
  uint64_t head = 0;
  for (int round = 0; round < kRoundsMax; ++round) {
    w_.scheduler.sleep(2 * kGrace);
    const CollectReport report = collect(mount);
    const bool committed = std::exchange(head, report.head) != report.head;
    if (committed || report.deleted_packs + report.deleted_segments + report.deleted_commits +
                             report.waiting_packs >
                         0) {
      found += fmt::format(
          "\n  condemned {} packs, moved {} bytes; {} wait; deleted {} packs, {} segments, {} "
          "commits",
          report.condemned_packs, report.moved_bytes, report.waiting_packs, report.deleted_packs,
          report.deleted_segments, report.deleted_commits);
      commits_are_old = commits_are_old && !committed;
      continue;
    }
    if (commits_are_old) return;
    w_.scheduler.sleep(kCommitsStay);
    commits_are_old = true;
  }
  w_.scheduler.give_up("every collection finds more to do" + found);
}

void Leftovers::name_parts(const CommitRecord& record, ObjectStore& store, Named& named) {
  for (const PackName& pack : metadata_packs(record)) {
    named.keys.insert(pack_key(pack.digest));
    named.metadata_packs.insert(pack_key(pack.digest));
  }
  for (const PackName& pack : young_packs(record)) named.keys.insert(pack_key(pack.digest));
  for (const SegmentName& segment : index_segments(record)) {
    const std::string key = index_key(segment.digest);
    if (!named.keys.insert(key).second) continue;
    auto source = StoreSource::open(store, key, Context());
    const auto view = source ? IndexSegmentView::open(*source)
                             : Result<IndexSegmentView>(tl::unexpected<Error>(source.error()));
    if (!view) w_.scheduler.give_up("leftovers: " + view.error().message());
    for (uint32_t i = 0; i < view->pack_count(); ++i)
      if (const auto pack = view->pack(i)) named.keys.insert(pack_key(*pack));
  }
}

void Leftovers::judge_store() {
  const std::shared_ptr<MemoryStore> store = w_.bucket.copy();
  std::map<std::string, uint64_t> objects;
  const Status listed = list_all(
      *store, "", Context(), [&](const ObjectInfo& object) { objects[object.key] = object.size; });
  if (!listed) w_.scheduler.give_up("leftovers: " + listed.error().message());

  Named named;
  for (const auto key : {kVolumeKey, kHeadKey, kBoundaryKey, kClockKey})
    named.keys.insert(std::string(key));
  const auto boundary = get_sync(*store, std::string(kBoundaryKey), GetRange::from(0, 100), {});
  const auto oldest = boundary ? parse_number_text(as_chars(boundary->bytes)) : std::nullopt;
  if (!oldest) w_.scheduler.give_up("leftovers: no gc.boundary after a collection");
  // The commit that made the last collection useless, and what closed the volume.
  constexpr uint64_t kHistoryMax = 3;
  if (*oldest + kHistoryMax < w_.last_seq)
    w_.scheduler.give_up(
        fmt::format("after collections the history is kept from {} to {}", *oldest, w_.last_seq));
  for (uint64_t seq = *oldest; seq <= w_.last_seq; ++seq) {
    const auto bytes = get_sync(*store, commit_key(seq), GetRange::from(0, 1 << 20), {});
    const auto record = bytes ? CommitRecord::decode(bytes->bytes)
                              : Result<CommitRecord>(tl::unexpected<Error>(bytes.error()));
    if (!record) w_.scheduler.give_up("leftovers: " + record.error().message());
    named.keys.insert(commit_key(seq));
    name_parts(*record, *store, named);
  }
  const auto snapshots = list_snapshots(*store, Context());
  if (!snapshots) w_.scheduler.give_up("leftovers: " + snapshots.error().message());
  for (const Snapshot& snapshot : *snapshots) {
    named.keys.insert(ref_key(snapshot.name));
    // Its contents are found by the newest index.
    for (const PackName& pack : metadata_packs(*snapshot.commit.record)) {
      named.keys.insert(pack_key(pack.digest));
      named.metadata_packs.insert(pack_key(pack.digest));
    }
  }
  uint64_t stored = 0;
  uint64_t packs = 0;
  for (const auto& [key, size] : objects) {
    if (!named.keys.contains(key))
      w_.scheduler.give_up(key + " is left in the store, and nothing names it");
    if (!parse_pack_key(key) || named.metadata_packs.contains(key)) continue;
    stored += size;
    ++packs;
  }
  judge_bytes(stored, packs, *snapshots);
  w_.happened("stores without leftovers");
}

void Leftovers::judge_bytes(uint64_t stored, uint64_t packs,
                            const std::vector<Snapshot>& snapshots) {
  std::set<std::string> leaves;
  const auto add = [&](const Model& model) {
    for (const auto& [id, node] : model.nodes()) {
      if (node->type != FileType::kRegular) continue;
      for (uint64_t at = 0; at < node->bytes->size(); at += kChunk)
        leaves.insert(leaf_of(*node->bytes, at));
    }
  };
  add(w_.commits.at(w_.last_seq));
  for (const Snapshot& snapshot : snapshots) add(w_.commits.at(snapshot.commit.record->seq));
  uint64_t needed = leaves.size() * kBlockOverhead + packs * kPackOverhead;
  for (const std::string& leaf : leaves) needed += leaf.size();
  if (stored > needed + needed / 5)
    w_.scheduler.give_up(fmt::format("{} data packs hold {} bytes; what is in them needs {}", packs,
                                     stored, needed));
}

// ---- a cache directory

std::set<uint64_t> Leftovers::segment_files(Machine& machine) {
  test::MemoryEnv& env = machine.disk.env();
  const auto stray = [&](const std::string& name) {
    w_.scheduler.give_up("a clean close of " + machine.name + " left " + name);
  };
  const auto names_in = [&](const std::string& dir) {
    const auto names = env.list_dir(dir);
    return names ? *names : std::vector<std::string>();
  };
  static const std::set<std::string> kKnown{"lock",     "identity", "journal",
                                            "segments", "meta",     "packs"};
  for (const std::string& name : names_in("/cache"))
    if (!kKnown.contains(name)) stray(name);
  const auto journal = find_journal_files(env, "/cache/journal");
  const size_t in_journal = names_in("/cache/journal").size();
  if (!journal || journal->size() != 1 || in_journal != 1)
    w_.scheduler.give_up(fmt::format("a clean close of {} left {} journal files in {} entries",
                                     machine.name, journal ? journal->size() : 0, in_journal));
  for (const std::string& name : names_in("/cache/packs"))
    if (name != "tails" && !MetaFiles::parse_name(name)) stray("packs/" + name);
  for (const std::string& name : names_in("/cache/packs/tails"))
    if (!name.ends_with(".tail")) stray("packs/tails/" + name);
  std::set<uint64_t> segments;
  for (const std::string& name : names_in("/cache/segments")) {
    uint64_t number = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number, 16);
    if (error != std::errc() || std::string(end) != ".seg") stray("segments/" + name);
    segments.insert(number);
  }
  return segments;
}

// Every segment is named by a row and every row names something that is there. A row of
// kInSegment may be older than what its chunk says by now; it goes with its segment.
void Leftovers::judge_rows(Machine& machine, const std::set<uint64_t>& segments) {
  LiveTables tables(machine.disk.meta());
  const LiveState state(tables, kChunk);
  const auto wrong = [&](const std::string& what) {
    w_.scheduler.give_up("a clean close of " + machine.name + " left " + what);
  };
  const auto rows_of = [&](Table table) {
    auto rows = tables.scan(table, "", "", SIZE_MAX);
    if (!rows) wrong("rows that cannot be read: " + rows.error().message());
    return *std::move(rows);
  };
  for (const Table table : {Table::kTree, Table::kBlocks, Table::kFiles, Table::kDirty})
    if (const auto rows = rows_of(table); !rows.empty())
      wrong(fmt::format("{} rows in table {}", rows.size(), static_cast<int>(table)));
  std::set<uint64_t> used;
  for (const auto& row : rows_of(Table::kResident)) {
    const auto key = parse_chunk_key(row.key);
    const auto resident = key ? state.resident(key->first, key->second)
                              : Result<std::optional<ResidentRow>>(std::nullopt);
    if (!resident || !*resident) {
      wrong("a row of a cached chunk that cannot be read");
    } else if (!segments.contains((*resident)->ref.file)) {
      wrong(fmt::format("a row of segment {:08x}, which is gone", (*resident)->ref.file));
    } else {
      used.insert((*resident)->ref.file);
    }
  }
  for (const uint64_t segment : segments)
    if (!used.contains(segment)) wrong(fmt::format("segment {:08x}, which no row names", segment));
  for (const auto& row : rows_of(Table::kInSegment)) {
    const uint64_t segment = get_be64(as_bytes(row.key).data());
    if (!segments.contains(segment))
      wrong(fmt::format("a row of what lies in segment {:08x}, which is gone", segment));
  }
  std::set<std::string> dirs;
  bool all_known = true;
  for (const auto& [id, node] : machine.timeline.now().nodes()) {
    if (node->type != FileType::kDirectory) continue;
    all_known = all_known && node->ino != 0;
    dirs.insert("numbers/" + file_key(node->ino));
  }
  for (const auto& row : rows_of(Table::kState)) {
    const auto known = std::find_if(kStateRows.begin(), kStateRows.end(), [&](auto name) {
      return name.ends_with('/') ? row.key.starts_with(name) : row.key == name;
    });
    if (known == kStateRows.end()) wrong("a row '" + row.key + "'");
    if (known->ends_with('/') && all_known && !dirs.contains(row.key))
      wrong("where to go on numbering in a directory that is gone");
  }
}

void Leftovers::judge_cache(Machine& machine) {
  judge_rows(machine, segment_files(machine));
  w_.happened("caches without leftovers");
}

}  // namespace cairn::sim
