#include "tests/support/test_mount.h"

#include "cache/volume_format.h"

namespace cairn::test {

TestMount::TestMount(ObjectStore& store, Env& env, Executor&) : store_(store), env_(env) {
  options.host = "test-host";
  options.cache_bytes_max = 256ULL << 20;
  options.disk_reserve_bytes = 0;
  // Tests publish when they say so.
  options.engine.publish_interval = std::chrono::hours(24);
  options.engine.sync_interval = std::chrono::hours(24);
  options.engine.checkpoint_interval = std::chrono::hours(24);
}

TestMount::~TestMount() {
  if (is_open()) kill();
}

Status TestMount::format(uint64_t chunk_bytes, uint64_t links_per_node) {
  FormatOptions format;
  format.chunk_size = chunk_bytes;
  format.links_per_node = links_per_node;
  format.host = "test-host";
  format.probe = []() -> Result<VolumeProbe> { return VolumeProbe{true, "a test's own store"}; };
  TRY(format_volume(store_, work_, system_clock(), os_rng(), format, Context()));
  return {};
}

MountEnvironment TestMount::environment() {
  return {
      store_,
      env_,
      system_clock(),
      os_rng(),
      work_,
      maintenance_,
      publishing_,
      [this](const std::string& dir, uint64_t bytes) -> Result<std::unique_ptr<MetaStore>> {
        if (lmdb) return open_lmdb_meta_store(dir, bytes);
        auto& kept = kept_tables_[dir];
        if (!kept) kept = make_memory_meta_store();
        return std::unique_ptr<MetaStore>(
            std::make_unique<KeptMetaStore>(kept, tables_faults, dir.substr(dir.rfind('/') + 1)));
      }};
}

Status TestMount::open(const std::string& cache) {
  TRY_ASSIGN(cache_, CacheDir::open(env_, os_rng(), cache, store_.description(), options.recover));
  auto opened = open_mount(*cache_, environment(), options, Context());
  if (!opened) {
    cache_.reset();
    return tl::unexpected<Error>(opened.error());
  }
  mount_ = std::move(*opened);
  TRY_ASSIGN(volume_, Volume::open(engine(), mount_.slot.slot, mount_.slot.next_group));
  return {};
}

Status TestMount::close() {
  Status closed = engine().close(Context(), nullptr);
  volume_.reset();
  mount_ = {};
  cache_.reset();
  return closed;
}

void TestMount::kill() {
  engine().abandon();
  volume_.reset();
  mount_ = {};
  cache_.reset();
}

}  // namespace cairn::test
