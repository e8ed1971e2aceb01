// The settings of a life's mounts: small limits, so that what is behind them happens often; and
// when and where their processes die.
#include "tests/sim/world.h"

namespace cairn::sim {

void World::choose_settings() {
  EngineSettings& engine = options.engine;
  static constexpr uint32_t kInline[] = {100, 1000, 8192};
  engine.inline_bytes_max = kInline[below(3)];
  engine.publish_interval = std::chrono::milliseconds(20 + below(chance(2) ? 500 : 8000));
  engine.sync_interval = std::chrono::seconds(1);
  engine.checkpoint_interval = std::chrono::milliseconds(200 + below(chance(2) ? 1000 : 30'000));
  engine.memtable_bytes = chance(3) ? 2'000 : 8 << 20;
  engine.publish_bytes = chance(2) ? 1000 << below(7) : 64 << 20;
  engine.stall_timeout = std::chrono::seconds(1 + below(60));
  engine.io_timeout = std::chrono::seconds(10);
  engine.poll_interval = std::chrono::milliseconds(300 + below(5'000));
  engine.chunk_memory_bytes = chance(2) ? 256 << 10 : 16 << 20;  // what one read needs, or more
  if (chance(2)) engine.pending_bytes_max = 200'000 + below(1'000'000);
  if (chance(2)) engine.fold.records_max = 1 + below(20);
  if (chance(3)) engine.fold.data_bytes_max = 1 + below(100'000);
  options.cache_bytes_max = 64ULL << 20;
  options.disk_reserve_bytes = 0;
  if (chance(2)) options.journal_file_bytes = 4096 + below(100'000);
  options.host = "sim";
  if (!chance(4)) {
    options.index.young_packs_max = 2 + below(8);
    options.index.segments_a_tier = 2 + below(3);
    options.index.deleted_packs_max = 1 + below(6);
  }
  if (chance(2)) options.pack_bytes = 5'000 + below(60'000);
  if (chance(2)) {
    options.metadata.first_tier_bytes = 300 << below(5);
    options.metadata.pack_bytes = 4'000 << below(4);
    options.metadata.rewrite_bytes_min = 1'000 + below(20'000);
  }
  static constexpr unsigned kSwitch[] = {0, 2, 5, 20};
  scheduler.set_switch_rate(kSwitch[below(4)]);
}

Death World::some_death(unsigned one_in) {
  Death death;
  if (!chance(one_in)) return death;
  static const std::vector<std::string> kNamed{
      "journal.appended",  "journal.data_synced", "segment.made",      "segment.appended",
      "commit.journalled", "publish.folded",      "publish.sent",      "publish.kept",
      "publish.dropped",   "checkpoint.frozen",   "checkpoint.synced", "checkpoint.written",
      "remote.packs_sent", "remote.intended",     "remote.created",    "open.replayed",
      "open.writing",      "tiers.planned",       "tiers.fetched",     "tiers.merged"};
  static const std::vector<std::string> kRare{"publish.extended",
                                              "journal.file_made",
                                              "journal.trimmed",
                                              "segment.evicted",
                                              "index.planned",
                                              "index.merging",
                                              "index.file_made",
                                              "index.built",
                                              "index.sent",
                                              "collect.clock_set",
                                              "collect.boundary_raised",
                                              "collect.looked",
                                              "collect.counted",
                                              "collect.condemning",
                                              "collect.marked",
                                              "collect.copy_sent",
                                              "collect.round_committed",
                                              "collect.committed",
                                              "collect.deleting",
                                              "collect.object_deleted",
                                              "collect.packs_deleted",
                                              "collect.segments_deleted",
                                              "collect.commits_deleted"};
  death.power_cut = chance(2);
  if (chance(4)) {
    death.at_failpoint = kNamed[below(kNamed.size())];
    death.nth = 1 + below(below(2) == 0 ? 3 : 30);
  } else if (chance(2)) {
    // Most of them at the one that is this life's.
    death.at_failpoint = kRare[(chance(4) ? below(kRare.size()) : wish.seed) % kRare.size()];
    death.nth = 1 + below(2);
  } else {
    death.at_point = 1 + below(uint64_t{1} << (3 + below(11)));
  }
  return death;
}

}  // namespace cairn::sim
