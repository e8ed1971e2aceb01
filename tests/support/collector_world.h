// CollectorWorld: a volume with a writer whose store's clock is moved by hand, and what its files
// hold, for tests of the garbage collection.
//
// One thread. Owner: the test.
#pragma once

#include <doctest/doctest.h>

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "cache/check.h"
#include "cache/format/commit.h"
#include "cache/snapshots.h"
#include "cache/store_scan.h"
#include "s3/memory_store.h"
#include "tests/support/faulty_store.h"
#include "tests/support/memory_env.h"
#include "tests/support/test_mount.h"

namespace cairn::test {

using Files = std::map<std::string, std::string>;

inline constexpr uint64_t kChunk = 4096;
inline constexpr Duration kGrace = std::chrono::hours(1);

// The store's clock: as the system's, until a test moves it on.
class StoreClock final : public Clock {
 public:
  MonotonicTime now() override { return system_clock().now(); }
  int64_t wall_ns() override { return system_clock().wall_ns() + ahead_ns_.load(); }
  void advance(Duration by) { ahead_ns_ += by.count(); }

 private:
  std::atomic<int64_t> ahead_ns_{0};
};

// A volume, its writer, and what its files hold. The store's clock is moved by hand.
struct CollectorWorld {
  CollectorWorld() : writer(store, env, executor) {
    REQUIRE(writer.format(kChunk, 3));
    REQUIRE(writer.open("/writer"));
  }

  // Different bytes for every (name, version), the same ones each time.
  static std::string bytes_of(const std::string& name, int version, uint64_t size) {
    const std::string seed = name + "#" + std::to_string(version);
    const auto rng = make_seeded_rng(std::hash<std::string>()(seed));
    std::string bytes(size, '\0');
    for (char& c : bytes) c = static_cast<char>(rng->below(256));
    return bytes;
  }

  void write(const std::string& name, const std::string& bytes) {
    auto handle = writer.run([&](Volume& v, Need& n) -> Result<HandleId> {
      const auto there = v.lookup(kRootIno, name, n);
      if (there) return v.open_file(there->ino, n);
      if (there.error().code() == Errc::kNotLocal) return tl::unexpected<Error>(there.error());
      TRY_ASSIGN(const auto made, v.create(kRootIno, name, 0644, {}, n));
      return made.handle;
    });
    REQUIRE(handle);
    constexpr size_t kPiece = 64 << 10;
    for (size_t at = 0; at < bytes.size(); at += kPiece)
      REQUIRE(writer.run([&](Volume& v, Need& n) {
        const Bytes piece = as_bytes(bytes).subspan(at, std::min(kPiece, bytes.size() - at));
        return v.write(*handle, at, piece, n);
      }));
    writer.volume().release_file(*handle);
    files[name] = bytes;
  }
  void remove(const std::string& name) {
    REQUIRE(writer.run([&](Volume& v, Need& n) { return v.unlink(kRootIno, name, n); }));
    files.erase(name);
  }
  void publish() {
    while (true) {
      const auto more = writer.engine().publish_once(false, Context());
      REQUIRE_MESSAGE(more, (more ? "" : more.error().message()));
      if (!*more) return;
    }
  }

  static TreeRemote& remote_of(TestMount& mount) {
    return dynamic_cast<TreeRemote&>(mount.engine().remote());
  }
  Result<CollectReport> try_collect(CollectOptions how = {}, const Context& context = {}) {
    how.grace = kGrace;
    return writer.engine().collect(
        [&](PublishHost& host) { return remote_of(writer).collect(how, host, context); });
  }
  CollectReport collect() {
    auto report = try_collect();
    REQUIRE_MESSAGE(report, (report ? "" : report.error().message()));
    return *report;
  }
  void wait_for_grace() { clock.advance(kGrace + std::chrono::minutes(1)); }

  // What a mount shows, all of it.
  static Files read_all(TestMount& mount) {
    const auto dir = mount.run([](Volume& v, Need& n) { return v.open_dir(kRootIno, n); });
    REQUIRE(dir);
    const auto entries =
        mount.run([&](Volume& v, Need& n) { return v.readdir(*dir, 0, 10000, true, n); });
    REQUIRE(entries);
    Files shown;
    for (const DirEntry& entry : *entries) {
      if (!entry.attr) continue;
      const auto handle = mount.run([&](Volume& v, Need& n) { return v.open_file(entry.ino, n); });
      REQUIRE(handle);
      std::string& bytes = shown[entry.name];
      while (true) {
        const auto part = mount.run(
            [&](Volume& v, Need& n) { return v.read(*handle, bytes.size(), 1 << 18, n); });
        REQUIRE_MESSAGE(part, entry.name, ": ", part ? "" : part.error().message());
        if (part->empty()) break;
        bytes += as_chars(*part);
      }
      mount.volume().release_file(*handle);
    }
    mount.volume().release_dir(*dir);
    return shown;
  }

  std::unique_ptr<TestMount> reader(std::optional<HistoryPoint> at = std::nullopt) {
    auto mount = std::make_unique<TestMount>(store, env, executor);
    mount->options.engine.read_only = true;
    mount->options.engine.poll_interval = std::chrono::hours(24);
    mount->options.at = std::move(at);
    const Status opened = mount->open("/reader" + std::to_string(++readers));
    REQUIRE_MESSAGE(opened, (opened ? "" : opened.error().message()));
    return mount;
  }
  // As another node sees it now.
  Files shown(std::optional<HistoryPoint> at = std::nullopt) {
    const auto mount = reader(std::move(at));
    return read_all(*mount);
  }

  void check_clean() {
    CheckOptions options;
    options.data = true;
    const auto report = check_volume(store, options);
    REQUIRE(report);
    for (const CheckProblem& problem : report->problems)
      FAIL_CHECK(problem.object, ": ", problem.what);
  }

  uint64_t bytes_under(std::string_view prefix) {
    uint64_t bytes = 0;
    REQUIRE(list_all(store, prefix, Context(),
                     [&](const ObjectInfo& info) { bytes += info.size; }));
    return bytes;
  }
  size_t objects_under(std::string_view prefix) {
    size_t count = 0;
    REQUIRE(list_all(store, prefix, Context(), [&](const ObjectInfo&) { ++count; }));
    return count;
  }
  uint64_t file_bytes() const {
    uint64_t bytes = 0;
    for (const auto& [name, content] : files) bytes += content.size();
    return bytes;
  }

  Status snapshot(const std::string& name) {
    TRY_ASSIGN(const StoredCommit commit, head());
    CommitLog log(store, executor, system_clock(), os_rng(), {});
    return create_snapshot(store, log, name, commit, Context());
  }
  Result<StoredCommit> head() {
    CommitLog log(store, executor, system_clock(), os_rng(), {});
    return log.find_head(std::nullopt, Context());
  }

  MemoryEnv env;
  ThreadExecutor executor{"store", 2};
  StoreClock clock;
  std::unique_ptr<Rng> rng = make_seeded_rng(7);
  std::shared_ptr<MemoryStore> memory = std::make_shared<MemoryStore>(executor, clock);
  FaultyStore store{memory, {executor, system_clock(), *rng}};
  TestMount writer;
  Files files;
  int readers = 0;
};

// Forty files of a few chunks in several packs, most of which are removed again: every pack is left
// with some that live.
inline void age(CollectorWorld& world) {
  for (int round = 0; round < 4; ++round) {
    for (int i = 0; i < 10; ++i) {
      const std::string name = "f" + std::to_string(round * 10 + i);
      world.write(name, CollectorWorld::bytes_of(name, 1, 20 * kChunk + 100));
    }
    world.publish();
  }
  for (int i = 0; i < 40; ++i)
    if (i % 4 != 0) world.remove("f" + std::to_string(i));
  world.publish();
}

}  // namespace cairn::test
