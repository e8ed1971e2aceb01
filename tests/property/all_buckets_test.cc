// All buckets of an account as the directories of a mount.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "fs/errno_map.h"
#include "tests/support/bucket_world.h"

using namespace cairn;
using namespace cairn::test;

namespace {

using Keys = std::set<std::string>;
using Files = std::map<std::string, std::string>;

struct Account : Writer {
  explicit Account(std::set<std::string> names = {"a", "a-b", "b"}) : Writer(Of::kBuckets) {
    for (const std::string& name : names) buckets->make(name);
    open();
  }
  Files in(const std::string& bucket) { return all_of(buckets->make(bucket)); }
  Keys keys_in(const std::string& bucket) {
    Keys out;
    for (const auto& [key, bytes] : in(bucket)) out.insert(key);
    return out;
  }
  template <class Op>
  int errno_of(const Op& op) {
    const auto done = mount.run(op);
    return done ? 0 : done.error().sys_errno();
  }
  int try_mkdir(const std::string& path) {
    return errno_of([&](Volume& v, Need& n) {
      return v.mkdir(dir_of(path), split(path).second, 0755, kCaller, n);
    });
  }
};

}  // namespace

TEST_CASE("all buckets: directories of the root, to which nothing is added") {
  Account w;
  w.buckets->make("a").put_foreign("dir/x", Buffer::copy("of a"));
  CHECK(w.list("") == std::map<std::string, uint64_t>{{"a/", 0}, {"a-b/", 0}, {"b/", 0}});
  CHECK(w.read("a/dir/x") == "of a");
  CHECK(w.xattr("a/dir/x", "user.s3.key") == "a/dir/x");
  CHECK(w.find("c") == 0);
  CHECK(w.try_mkdir("c") == EPERM);
  CHECK(w.errno_of([&](Volume& v, Need& n) {
    return v.create(kRootIno, "file", 0644, kCaller, n);
  }) == EPERM);
  CHECK(w.errno_of([&](Volume& v, Need& n) {
    return v.symlink(kRootIno, "link", "a", kCaller, n);
  }) == EPERM);
  CHECK(w.errno_of([&](Volume& v, Need& n) { return v.rmdir(kRootIno, "b", n); }) == EPERM);
  CHECK(w.errno_of([&](Volume& v, Need& n) { return v.unlink(kRootIno, "b", n); }) == EPERM);
  CHECK(w.try_rename("b", "c") == EPERM);
  CHECK(w.try_rename("b", "a/c") == EPERM);
  CHECK(w.try_rename("a/dir", "dir") == EPERM);
  CHECK(w.try_rename("a/dir", "b/dir") == EXDEV);
  CHECK(w.try_rename("a/dir/x", "b/x") == EXDEV);
  w.flush();
  CHECK(w.keys_in("a") == Keys{"dir/x"});
  CHECK(w.in("b").empty());
}

TEST_CASE("all buckets: one that may not be listed is shown, and what is in it is refused") {
  Account w;
  w.buckets->deny("closed");
  CHECK(w.list("").contains("closed/"));
  const auto inside = w.lookup(w.find("closed"), "x");
  REQUIRE_FALSE(inside);
  CHECK(errno_of(inside.error()) == EACCES);
  const auto dir = w.mount.run([&](Volume& v, Need& n) { return v.open_dir(w.find("closed"), n); });
  REQUIRE(dir);
  const auto names =
      w.mount.run([&](Volume& v, Need& n) { return v.readdir(*dir, 0, 100, true, n); });
  REQUIRE_FALSE(names);
  CHECK(errno_of(names.error()) == EACCES);
  w.mount.volume().release_dir(*dir);
  w.write("a/x", "x");
  w.flush();
  CHECK(w.read("a/x") == "x");
}

TEST_CASE("all buckets: of one that takes nothing it is said which, and others have theirs") {
  Account w;
  w.buckets->make("b").put_foreign("old", Buffer::copy("old"));
  w.write("b/first", "first");
  w.flush();
  const std::vector<std::function<void()>> changes{
      [&w] { w.write("b/new", "new"); }, [&w] { w.mkdir("b/dir"); }, [&w] { w.unlink("b/old"); }};
  for (size_t i = 0; i < changes.size(); ++i) {
    CAPTURE(i);
    changes[i]();
    w.write("a/x", std::to_string(i));
    for (const StoreOp op : {StoreOp::kPut, StoreOp::kRemove})
      w.faults->add({.kind = FaultKind::kFail,
                     .ops = op,
                     .prefix = "b/",
                     .count = FaultyStore::kForever,
                     .code = Errc::kPermission});
    CHECK_FALSE(w.mount.engine().publish_once(false, Context()));
    CHECK(w.mount.engine().health().last_error.starts_with("'b/"));
    CHECK(w.in("a") == Files{{"x", std::to_string(i)}});
    w.faults->clear();
    w.flush();
  }
  CHECK(w.keys_in("b") == Keys{"dir/", "first", "new"});
  // What waits for a directory is still read from where it was.
  w.mkdir("b/late");
  w.rename("b/first", "b/late/first");
  w.write("b/first", "second");
  w.rename("b/new", "b/third");
  w.refuse(StoreOp::kPut, "b/late");
  CHECK_FALSE(w.mount.engine().publish_once(false, Context()));
  CHECK(w.in("b") == Files{{"dir/", ""}, {"first", "first"}, {"new", "new"}, {"third", "new"}});
  w.faults->clear();
  w.flush();
  CHECK(w.in("b") == Files{{"dir/", ""},
                           {"first", "second"},
                           {"late/", ""},
                           {"late/first", "first"},
                           {"third", "new"}});
}

TEST_CASE("all buckets: what is written goes to its bucket, and only there") {
  Account w;
  const std::string large = bytes_of(20'000'000, 1);
  w.mkdir("a/dir");
  w.write("a/dir/one.txt", "one");
  w.write("b/large", large);
  w.flush();
  CHECK(w.in("a") == Files{{"dir/", ""}, {"dir/one.txt", "one"}});
  CHECK(w.in("b") == Files{{"large", large}});
  CHECK(w.in("a-b").empty());
  // Inside a bucket everything moves as ever; slots that stay are copied.
  w.rename("a/dir", "a/moved");
  w.write("b/large", "changed", 19'000'000);
  w.flush();
  std::string changed = large;
  changed.replace(19'000'000, 7, "changed");
  CHECK(w.in("a") == Files{{"moved/", ""}, {"moved/one.txt", "one"}});
  CHECK(w.in("b") == Files{{"large", changed}});
  w.rename("a/moved/one.txt", "a/one.txt");
  w.unlink("b/large");
  w.flush();
  CHECK(w.in("a") == Files{{"moved/", ""}, {"one.txt", "one"}});
  // No object says that a bucket is there.
  CHECK(w.in("b").empty());
  CHECK(w.list("b").empty());
  w.look_from_elsewhere([&] {
    CHECK(w.read("a/one.txt") == "one");
    CHECK(w.list("b").empty());
  });
}

TEST_CASE("all buckets: mode and owner of a bucket stay here, and make no object") {
  Account w;
  w.mount.options.objects->full_attrs = true;
  REQUIRE(w.mount.close());
  w.open();
  AttrChange change;
  change.mode = 0700;
  w.must([&](Volume& v, Need& n) { return v.setattr(w.find("a"), change, n); });
  w.write("a/x", "x");
  w.flush();
  CHECK(w.keys_in("a") == Keys{"x"});
  const auto mode = [&] {
    return w.mount.run([&](Volume& v, Need& n) { return v.getattr(w.find("a"), n); })->mode;
  };
  CHECK(mode() == (S_IFDIR | 0700));
  w.mount.kill();
  w.open();
  CHECK(mode() == (S_IFDIR | 0700));
}

TEST_CASE("all buckets: keys may be as long as their bucket takes them") {
  Account w;
  const std::string dir(255, 'd');
  std::string path = "a-b";
  for (int i = 0; i < 3; ++i) {
    path += "/" + dir;
    w.mkdir(path);
  }
  // 3 * 256 + 256 = 1,024 bytes, without the bucket's name.
  const std::string longest = path + "/" + std::string(256 - 1, 'f');
  REQUIRE(longest.size() == 4 + 1023);
  w.write(longest + "", "long");
  w.flush();
  CHECK(w.in("a-b").at(longest.substr(4)) == "long");
  w.mkdir(path + "/" + dir);
  w.write(path + "/" + dir + "/g", "too long");
  w.flush();
  Keys at_top;
  for (const std::string& key : w.keys_in("a-b"))
    if (key.starts_with("recovered-")) at_top.insert(key);
  CHECK(at_top.size() == 1);
  CHECK(w.in("a-b").at(*at_top.begin()) == "too long");
  w.look_from_elsewhere([&] { CHECK(w.read(longest) == "long"); });
}

TEST_CASE("all buckets: new ones are seen after the TTL, what is gone fails by itself") {
  Account w;
  REQUIRE(w.mount.close());
  w.mount.options.objects->metadata_ttl = std::chrono::seconds(1);
  w.open();
  CHECK(w.list("").size() == 3);
  w.buckets->make("new").put_foreign("k", Buffer::copy("v"));
  w.buckets->remove("a-b");
  w.let_ttl_pass();
  CHECK(w.list("") == std::map<std::string, uint64_t>{{"a/", 0}, {"b/", 0}, {"new/", 0}});
  CHECK(w.read("new/k") == "v");
  CHECK(w.find("a-b") == 0);
  // With something that waits for it, it is shown, and its data is kept until it can be sent.
  w.write("b/waits", "for its bucket");
  w.buckets->remove("b");
  w.let_ttl_pass();
  CHECK(w.list("").contains("b/"));
  w.write("a/other", "other");
  Context soon;
  soon.deadline = Deadline::after(system_clock(), std::chrono::seconds(2));
  CHECK_FALSE(w.mount.engine().flush(soon, nullptr));
  CHECK(w.in("a").at("other") == "other");
  CHECK(w.read("b/waits") == "for its bucket");
  w.mount.kill();
  w.open();
  CHECK(w.read("b/waits") == "for its bucket");
  w.buckets->make("b");
  w.flush();
  CHECK(w.in("b") == Files{{"waits", "for its bucket"}});
}

TEST_CASE("all buckets: more of them than a page has") {
  std::set<std::string> names;
  for (int i = 0; i < 2100; ++i) names.insert("b" + std::to_string(i));
  names.insert({"b0-0", "b0.0", "b1000-1"});
  Account w(names);
  CHECK(w.list("").size() == names.size());
  CHECK(w.buckets->lists() == 1);
  CHECK(w.find("b2099") != 0);
  CHECK(w.find("none") == 0);
  CHECK(w.buckets->lists() == 1);
}

TEST_CASE("all buckets: whatever is done, each holds what its files say") {
  const char* profile = std::getenv("CAIRN_TEST_PROFILE");
  const unsigned seeds = profile != nullptr && std::string(profile) == "full" ? 300 : 10;
  const std::vector<std::string> names{"a", "a-b", "b"};
  for (unsigned seed = 1; seed <= seeds; ++seed) {
    CAPTURE(seed);
    Account w;
    const auto rng = make_seeded_rng(seed);
    Files model;
    const auto fresh = [&] {
      return names[rng->below(names.size())] + "/d" + std::to_string(rng->below(2)) + "/n" +
             std::to_string(rng->below(4));
    };
    for (const std::string& name : names)
      for (const char* dir : {"/d0", "/d1"}) w.mkdir(name + dir);
    const auto bucket_of = [](const std::string& path) { return path.substr(0, path.find('/')); };
    for (int step = 0; step < 120; ++step) {
      const std::string path = fresh();
      switch (rng->below(6)) {
        case 0:
        case 1: {
          const std::string bytes = bytes_of(1 + rng->below(1000), static_cast<unsigned>(step));
          if (model.contains(path)) w.truncate(path, 0);
          w.write(path, bytes);
          model[path] = bytes;
          break;
        }
        case 2:
          if (model.erase(path) != 0) w.unlink(path);
          break;
        case 3: {
          const std::string to = fresh();
          if (!model.contains(path) || to == path) break;
          const int moved = w.try_rename(path, to);
          CHECK(moved == (bucket_of(path) == bucket_of(to) ? 0 : EXDEV));
          if (moved != 0) break;
          model[to] = model[path];
          model.erase(path);
          break;
        }
        case 4: {
          // As mv does it between buckets.
          const std::string to = fresh();
          if (!model.contains(path) || to == path) break;
          if (model.contains(to)) w.unlink(to);
          w.write(to, w.read(path));
          w.unlink(path);
          model[to] = model[path];
          model.erase(path);
          break;
        }
        default:
          if (rng->below(4) == 0) w.flush();
          if (rng->below(6) == 0) {
            w.mount.kill();
            w.open();
          }
      }
    }
    w.flush();
    Files files;
    for (const std::string& name : names)
      for (const auto& [key, bytes] : w.in(name))
        if (!key.ends_with('/')) files[name + "/" + key] = bytes;
    CHECK(files == model);
    w.look_from_elsewhere([&] {
      for (const auto& [path, bytes] : model) CHECK(w.read(path) == bytes);
      CHECK(w.list("").size() == names.size());
    });
  }
}

TEST_CASE("all buckets: rules choose them by their tags") {
  Account w({"a", "b", "c"});
  w.buckets->make("a").set_bucket_tags({{"team", "red"}});
  w.buckets->make("b").set_bucket_tags({{"team", "blue"}});
  for (const char* name : {"a", "b", "c"})
    w.buckets->make(name).put_foreign("x", Buffer::copy(name));
  REQUIRE(w.mount.close());
  FilterPolicies policies;
  REQUIRE(policies.visible.add("*[tag:team=red]/**"));
  REQUIRE(policies.upload.add("!*[tag:team=red]/held/**"));
  w.mount.options.objects->filters.policies = std::make_shared<const FilterPolicies>(policies);
  w.mount.options.objects->filters.top_is_buckets = true;
  w.open("/tagged");
  CHECK(w.list("") == std::map<std::string, uint64_t>{{"a/", 0}});
  CHECK(w.read("a/x") == "a");
  CHECK(w.find("b") == 0);
  CHECK(w.find("b/x") == 0);
  w.mkdir("a/held");
  w.write("a/held/y", "y");
  w.write("a/z", "z");
  w.flush();
  CHECK(w.keys_in("a") == Keys{"held/", "x", "z"});  // directories are not held
}
