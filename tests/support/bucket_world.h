// World: a bucket in memory that others fill, and a mount of its objects without a kernel.
//
// Owner: the test.
#pragma once

#include <doctest/doctest.h>

#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "cache/bucket_past.h"
#include "cache/wait.h"
#include "s3/history_store.h"
#include "s3/memory_store.h"
#include "s3/metered_store.h"
#include "tests/support/faulty_store.h"
#include "tests/support/memory_buckets.h"
#include "tests/support/memory_env.h"
#include "tests/support/test_mount.h"

namespace cairn::test {

struct World {
  // kBuckets: all of `buckets`, instead of `objects`. kPast: of a bucket that keeps versions, with
  // what is past shown.
  enum class Of : uint8_t { kBucket, kBuckets, kPast };
  explicit World(bool writes = false, Of of = Of::kBucket)
      : of_buckets_(of == Of::kBuckets),
        shown(of == Of::kPast ? std::make_shared<HistoryStore>(store, io, std::string(kPastPart))
                              : std::static_pointer_cast<ObjectStore>(store)) {
    if (of == Of::kPast) objects->keep_versions();
    mount.options.engine.read_only = !writes;
    mount.options.objects = ObjectView{};
    mount.options.objects->metadata_ttl = std::chrono::hours(1);
    mount.options.objects->all_buckets = of_buckets_;
    mount.options.objects->past = of == Of::kPast;
  }
  void put(const std::string& key, const std::string& bytes) {
    objects->put_foreign(key, Buffer::copy(bytes));
  }
  void open(const std::string& cache = "/cache") {
    const Status opened = mount.open(cache);
    REQUIRE_MESSAGE(opened, (opened ? "" : opened.error().message()));
  }
  Result<Attr> lookup(Ino dir, const std::string& name) {
    return mount.run([&](Volume& v, Need& n) { return v.lookup(dir, name, n); });
  }
  // A path from the root; 0 when it is not there.
  Ino find(const std::string& path) {
    Ino at = kRootIno;
    for (size_t begin = 0; begin <= path.size();) {
      const size_t end = std::min(path.find('/', begin), path.size());
      const auto attr = lookup(at, path.substr(begin, end - begin));
      if (!attr) return 0;
      at = attr->ino;
      begin = end + 1;
    }
    return at;
  }
  Result<std::string> read_ino(Ino ino, uint64_t offset = 0, uint64_t length = 1 << 20) {
    TRY_ASSIGN(const HandleId handle,
               mount.run([&](Volume& v, Need& n) { return v.open_file(ino, n); }));
    auto bytes = mount.run([&](Volume& v, Need& n) { return v.read(handle, offset, length, n); });
    mount.volume().release_file(handle);
    TRY(bytes);
    return to_string(*bytes);
  }
  std::string read(const std::string& path) {
    const auto bytes = read_ino(find(path));
    return bytes ? *bytes : "error: " + bytes.error().message();
  }
  // Name to size, directories with a '/' behind them and no size.
  std::map<std::string, uint64_t> list(const std::string& path = "") {
    const Ino ino = path.empty() ? kRootIno : find(path);
    const auto dir = mount.run([&](Volume& v, Need& n) { return v.open_dir(ino, n); });
    REQUIRE(dir);
    std::map<std::string, uint64_t> out;
    uint64_t after = 0;
    while (true) {
      const auto page =
          mount.run([&](Volume& v, Need& n) { return v.readdir(*dir, after, 100, true, n); });
      REQUIRE_MESSAGE(page, (page ? "" : page.error().message()));
      if (page->empty()) break;
      for (const DirEntry& entry : *page) {
        after = entry.cookie;
        if (entry.name == "." || entry.name == "..") continue;
        const bool is_dir = entry.type == FileType::kDirectory;
        REQUIRE(entry.attr);
        CHECK(out.emplace(entry.name + (is_dir ? "/" : ""), entry.attr->size).second);
      }
    }
    mount.volume().release_dir(*dir);
    return out;
  }
  std::string xattr(const std::string& path, const std::string& name) {
    const auto value =
        mount.run([&, ino = find(path)](Volume& v, Need& n) { return v.getxattr(ino, name, n); });
    return value ? to_string(*value) : "none";
  }
  // From now on nobody has the right to.
  void refuse(StoreOp ops, const std::string& prefix = {}) {
    faults->add(
        {.ops = ops, .prefix = prefix, .count = FaultyStore::kForever, .code = Errc::kPermission});
  }
  // Of one second.
  void let_ttl_pass() {
    REQUIRE(pause(io, system_clock(), std::chrono::milliseconds(1100), Context()));
  }
  std::shared_ptr<ObjectStore> base() {
    if (of_buckets_) return std::make_shared<AllBucketsStore>(buckets, io);
    return objects;
  }
  uint64_t requests() const {
    const RequestCounts counts = store->counts();
    return counts.list + counts.get + counts.put + counts.remove;
  }

  const bool of_buckets_;
  MemoryEnv env;
  ThreadExecutor io{"io", 2};
  std::shared_ptr<MemoryBuckets> buckets = std::make_shared<MemoryBuckets>(io);
  std::shared_ptr<MemoryStore> objects = std::make_shared<MemoryStore>(io, system_clock());
  std::shared_ptr<FaultyStore> faults =
      std::make_shared<FaultyStore>(base(), FaultyStore::Parts{io, system_clock(), os_rng()});
  std::shared_ptr<MeteredStore> store = std::make_shared<MeteredStore>(faults);
  std::shared_ptr<ObjectStore> shown;
  TestMount mount{*shown, env, io};
};

inline const Caller kCaller{1000, 100, 022, {}};

inline std::string bytes_of(size_t size, unsigned seed) {
  std::string out(size, '\0');
  const auto rng = make_seeded_rng(seed);
  for (size_t i = 0; i < size; i += 8) {
    const uint64_t word = rng->next();
    std::memcpy(out.data() + i, &word, std::min<size_t>(8, size - i));
  }
  return out;
}

// A world in which things are changed, by paths.
struct Writer : World {
  explicit Writer(Of of = Of::kBucket) : World(true, of) {
    if (of != Of::kBuckets) open();
  }

  static std::pair<std::string, std::string> split(const std::string& path) {
    const size_t slash = path.rfind('/');
    return slash == std::string::npos ? std::pair(std::string(), path)
                                      : std::pair(path.substr(0, slash), path.substr(slash + 1));
  }
  Ino dir_of(const std::string& path) {
    const auto [dir, name] = split(path);
    return dir.empty() ? kRootIno : find(dir);
  }
  template <class Op>
  void must(const Op& op) {
    const auto done = mount.run(op);
    REQUIRE_MESSAGE(done, (done ? "" : done.error().message()));
  }
  // 0: it was done.
  int try_rename(const std::string& from, const std::string& to) {
    const auto done = mount.run([&](Volume& v, Need& n) {
      return v.rename(dir_of(from), split(from).second, dir_of(to), split(to).second, 0, n);
    });
    return done ? 0 : done.error().sys_errno();
  }
  Result<HandleId> open_file(const std::string& path) {
    const Ino there = find(path);
    if (there != 0) return mount.run([&](Volume& v, Need& n) { return v.open_file(there, n); });
    const auto made = mount.run([&](Volume& v, Need& n) {
      return v.create(dir_of(path), split(path).second, 0644, kCaller, n);
    });
    if (!made) return tl::unexpected<Error>(made.error());
    return made->handle;
  }
  void write(const std::string& path, const std::string& bytes, uint64_t offset = 0) {
    const auto handle = open_file(path);
    REQUIRE_MESSAGE(handle, (handle ? "" : handle.error().message()));
    for (size_t at = 0; at < bytes.size(); at += 1 << 20)
      must([&, part = bytes.substr(at, 1 << 20)](Volume& v, Need& n) {
        return v.write(*handle, offset + at, as_bytes(part), n);
      });
    mount.volume().release_file(*handle);
  }
  void truncate(const std::string& path, uint64_t size) {
    AttrChange change;
    change.size = size;
    must([&](Volume& v, Need& n) { return v.setattr(find(path), change, n); });
  }
  void mkdir(const std::string& path) {
    must([&](Volume& v, Need& n) {
      return v.mkdir(dir_of(path), split(path).second, 0755, kCaller, n);
    });
  }
  void unlink(const std::string& path) {
    must([&](Volume& v, Need& n) { return v.unlink(dir_of(path), split(path).second, n); });
  }
  void rmdir(const std::string& path) {
    must([&](Volume& v, Need& n) { return v.rmdir(dir_of(path), split(path).second, n); });
  }
  void rename(const std::string& from, const std::string& to) {
    must([&](Volume& v, Need& n) {
      return v.rename(dir_of(from), split(from).second, dir_of(to), split(to).second, 0, n);
    });
  }
  Status try_flush() {
    Context context;
    context.deadline = Deadline::after(system_clock(), std::chrono::seconds(20));
    return mount.engine().flush(context, nullptr);
  }
  void flush() {
    const Status done = try_flush();
    REQUIRE_MESSAGE(done, (done ? "" : done.error().message()));
  }
  // What is in the bucket: key to bytes.
  std::map<std::string, std::string> bucket() { return all_of(*objects); }
  static std::map<std::string, std::string> all_of(ObjectStore& store) {
    std::map<std::string, std::string> out;
    const auto page = list_sync(store, ListScope(""), "", 1000, Context());
    REQUIRE(page);
    for (const ObjectInfo& object : page->objects) {
      const auto got = get_sync(store, object.key, GetRange::all(), Context());
      out[object.key] = got ? to_string(got->bytes) : "none";
    }
    return out;
  }
  std::set<std::string> keys() {
    std::set<std::string> out;
    for (const auto& [key, bytes] : bucket()) out.insert(key);
    return out;
  }
  std::string object_bytes(const std::string& key) {
    const auto got = get_sync(*objects, key, GetRange::all(), Context());
    return got ? to_string(got->bytes) : "none";
  }
  ObjectHead head(const std::string& key) {
    const auto got = head_sync(*objects, key, Context());
    REQUIRE_MESSAGE(got, key);
    return *got;
  }
  void put_by_other(const std::string& key, const std::string& bytes,
                    const ObjectHeaders& headers = {}) {
    PutHow how;
    how.headers = headers;
    REQUIRE(put_sync(*objects, key, Body(Buffer::copy(bytes)), how, Context()));
  }
  // Another mount, with an empty cache, sees the same.
  void look_from_elsewhere(const std::function<void()>& check) {
    const Status closed = mount.close();
    REQUIRE_MESSAGE(closed, (closed ? "" : closed.error().message()));
    open("/elsewhere" + std::to_string(caches++));
    check();
    REQUIRE(mount.close());
    open();
  }
  int caches = 0;
};

}  // namespace cairn::test
