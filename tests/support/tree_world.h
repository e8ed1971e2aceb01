// TreeWorld: a volume of small chunks and few links in memory, behind a store that fails where it
// is told to, and caches on it. `change` and `same` drive a VolumeModel and compare.
//
// Owner: the test.
#pragma once

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "cache/tree_remote.h"
#include "cache/volume_format.h"
#include "s3/memory_store.h"
#include "s3/metered_store.h"
#include "tests/support/memory_env.h"
#include "tests/support/volume_model.h"

namespace cairn::test {

inline constexpr uint32_t kChunk = 4096;

// Fails what it is told to fail; a failed put may have happened all the same.
class FaultStore final : public ObjectStore {
 public:
  FaultStore(ObjectStore& base, Executor& executor) : base_(base), executor_(executor) {}

  // Of the next `calls` requests the last one fails; `after`: once it has happened. `forever`: so
  // does everything that comes later.
  void fail_call(int64_t calls, bool after, bool forever = false) {
    after_ = after;
    forever_ = forever;
    left_ = calls;
  }
  bool failed() const { return left_ <= 0; }
  void heal() { left_ = INT64_MAX; }

  // Sees every get; from several threads. Set while nothing is under way.
  std::function<void(const std::string& key, const GetRange& range)> on_get;

  void get(std::string key, GetRange range, Context context, Callback<GetResult> done) override {
    if (on_get) on_get(key, range);
    const int64_t left = --left_;
    if (left == 0 || (left < 0 && forever_)) return refuse<GetResult>(std::move(done));
    base_.get(std::move(key), range, std::move(context), std::move(done));
  }
  void head(std::string key, Context context, Callback<ObjectHead> done) override {
    const int64_t left = --left_;
    if (left == 0 || (left < 0 && forever_)) return refuse<ObjectHead>(std::move(done));
    base_.head(std::move(key), std::move(context), std::move(done));
  }
  void put(std::string key, Body body, PutHow how, Context context,
           Callback<std::string> done) override {
    const int64_t left = --left_;
    if (left < 0 && forever_) return refuse<std::string>(std::move(done));
    if (left != 0)
      return base_.put(std::move(key), std::move(body), std::move(how), std::move(context),
                       std::move(done));
    if (!after_) return refuse<std::string>(std::move(done));
    base_.put(std::move(key), std::move(body), std::move(how), std::move(context),
              [done = std::move(done)](const Result<std::string>&) {
                done(fail(Errc::kTimeout, "no answer came"));
              });
  }
  void remove(std::string key, Context context, Callback<void> done) override {
    base_.remove(std::move(key), std::move(context), std::move(done));
  }
  void list(ListScope scope, std::string after, uint32_t limit, Context context,
            Callback<ListPage> done) override {
    base_.list(std::move(scope), std::move(after), limit, std::move(context), std::move(done));
  }
  void head_version(std::string key, std::string version, Context context,
                    Callback<ObjectHead> done) override {
    base_.head_version(std::move(key), std::move(version), std::move(context), std::move(done));
  }
  void get_tags(std::string key, std::string version, Context context,
                Callback<ObjectTags> done) override {
    base_.get_tags(std::move(key), std::move(version), std::move(context), std::move(done));
  }
  void put_tags(std::string key, std::string version, ObjectTags tags, Context context,
                Callback<void> done) override {
    base_.put_tags(std::move(key), std::move(version), std::move(tags), std::move(context),
                   std::move(done));
  }
  void list_versions(ListScope scope, std::string after, uint32_t limit, Context context,
                     Callback<VersionPage> done) override {
    base_.list_versions(std::move(scope), std::move(after), limit, std::move(context),
                        std::move(done));
  }
  void keeps_versions(Context context, Callback<bool> done) override {
    base_.keeps_versions(std::move(context), std::move(done));
  }
  std::string description() const override { return base_.description(); }

 private:
  template <class T>
  void refuse(Callback<T> done) {
    executor_.submit([done = std::move(done)] { done(fail(Errc::kTransient, "injected")); });
  }

  ObjectStore& base_;
  Executor& executor_;
  std::atomic<int64_t> left_{INT64_MAX};
  std::atomic<bool> after_{false};
  std::atomic<bool> forever_{false};
};

// A store with a volume of small chunks and few links, and caches on it.
struct TreeWorld {
  TreeWorld() {
    FormatOptions options;
    options.chunk_size = kChunk;
    options.links_per_node = 3;
    options.host = "test";
    options.probe = [] { return VolumeProbe{true, "not needed"}; };
    const auto made = format_volume(memory, executor, system_clock(), *rng, options, Context());
    REQUIRE_MESSAGE(made.has_value(), (made ? "" : made.error().message()));
  }

  std::shared_ptr<File> new_log() {
    auto file = env.open("/log" + std::to_string(++logs), OpenMode::kCreateNew);
    REQUIRE(file.has_value());
    return *std::move(file);
  }

  TreeRemote::Options options(const std::string& name, bool writer = true) {
    TreeRemote::Options options;
    options.mode = writer ? TreeRemote::Mode::kWriter : TreeRemote::Mode::kFollower;
    std::copy_n(as_bytes(name).begin(), std::min<size_t>(name.size(), 16),
                options.cache_id.begin());
    options.host = name;
    options.metadata_dir = "/" + name;
    options.pack_bytes = 64 << 10;
    options.metadata.pack_bytes = 32 << 10;
    options.publish_memory_bytes = 128 << 10;
    return options;
  }

  Result<std::unique_ptr<TreeRemote>> try_open(const TreeRemote::Options& with) {
    REQUIRE(env.make_dirs(with.metadata_dir).has_value());
    return TreeRemote::open({faults, env, system_clock(), *rng, executor}, with, Context());
  }
  std::unique_ptr<TreeRemote> open(const TreeRemote::Options& with) {
    auto opened = try_open(with);
    REQUIRE_MESSAGE(opened.has_value(), (opened ? "" : opened.error().message()));
    return *std::move(opened);
  }
  std::unique_ptr<TreeRemote> open_writer(const TreeRemote::Options& with, PublishHost& host) {
    auto remote = open(with);
    const auto slot = remote->begin_writing(host, Context());
    REQUIRE_MESSAGE(slot.has_value(), (slot ? "" : slot.error().message()));
    return remote;
  }
  // What a cache that knows nothing yet sees.
  std::map<Ino, ShownFile> shown() {
    const auto remote = open(options("reader" + std::to_string(++readers), false));
    return read_all(*remote);
  }

  std::unique_ptr<Rng> rng = make_seeded_rng(1);
  MemoryEnv env;
  ThreadExecutor executor{"test", 3};
  MemoryStore memory{executor, system_clock()};
  std::shared_ptr<MeteredStore> metered =
      std::make_shared<MeteredStore>(std::shared_ptr<ObjectStore>(&memory, [](ObjectStore*) {}));
  FaultStore faults{*metered, executor};
  int logs = 0;
  int readers = 0;
};

// True when what is shown is what the model holds; contents are those of an importer.
inline bool same(const std::map<Ino, ShownFile>& shown, const std::map<Ino, std::string>& files,
                 const VolumeParams& params) {
  if (shown.size() != files.size()) return false;
  for (const auto& [ino, bytes] : files) {
    const auto found = shown.find(ino);
    if (found == shown.end() || found->second.bytes != bytes) return false;
    if (found->second.content != content_of(bytes, params)) return false;
  }
  return true;
}

// A few random operations on few files, so that they meet.
inline void change(VolumeModel& model) {
  const auto steps = *rc::gen::inRange(1, 8);
  for (int i = 0; i < steps; ++i) {
    const Ino ino = make_ino(1, 1, static_cast<uint16_t>(*rc::gen::inRange(1, 6)));
    if (!model.files().contains(ino)) {
      model.create(ino);
      continue;
    }
    const auto offset = static_cast<uint64_t>(*rc::gen::inRange(0, 60'000));
    const auto size = static_cast<uint64_t>(*rc::gen::inRange(1, 20'000));
    switch (*rc::gen::inRange(0, 10)) {
      case 0:
        model.remove(ino);
        break;
      case 8:  // a whole chunk
        model.copy(make_ino(1, 1, static_cast<uint16_t>(*rc::gen::inRange(1, 6))), ino,
                   offset / kChunk * kChunk, kChunk);
        break;
      case 9:
        model.copy(make_ino(1, 1, static_cast<uint16_t>(*rc::gen::inRange(1, 6))), ino, offset,
                   size);
        break;
      case 1:
        model.truncate(ino, offset);
        break;
      case 2:
        model.zero(ino, offset, size);
        break;
      case 3:
        model.write(ino, offset / kChunk * kChunk, std::string(kChunk * 3, '\0'));
        break;
      case 4:
        model.write(ino, offset / kChunk * kChunk,
                    std::string(kChunk * 2, *rc::gen::element('x', 'y')));
        break;
      default:
        model.write(ino, offset, std::string(size, *rc::gen::inRange('a', 'z')));
    }
  }
}

}  // namespace cairn::test
