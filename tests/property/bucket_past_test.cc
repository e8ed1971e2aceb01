// What is past of a bucket that keeps versions, under .versions, and a bucket as of a time.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <cerrno>
#include <map>
#include <string>

#include "s3/versions_at_store.h"
#include "tests/support/bucket_world.h"

using namespace cairn;
using namespace cairn::test;

namespace {

struct PastWriter : Writer {
  PastWriter() : Writer(Of::kPast) {}
  // Of a directory of what is past: what each name that was had, its versions sorted by their
  // bytes.
  std::multimap<std::string, std::string> past(const std::string& dir) {
    std::multimap<std::string, std::string> out;
    for (const auto& [name, size] : list(dir)) {
      if (name.ends_with('/')) {
        out.emplace(name, "");
        continue;
      }
      const auto was = parse_past_name(name);
      REQUIRE_MESSAGE(was, name);
      out.emplace(was->name, read(dir + "/" + name));
    }
    return out;
  }
  std::string first_of(const std::string& dir) { return dir + "/" + list(dir).begin()->first; }
  template <class Op>
  int refused(const Op& op) {
    const auto done = mount.run(op);
    return done ? 0 : done.error().sys_errno();
  }
};

using Names = std::multimap<std::string, std::string>;

}  // namespace

TEST_CASE("what was overwritten or removed is under .versions, which no listing shows") {
  PastWriter w;
  w.mkdir("d");
  w.write("d/a.txt", "first");
  w.flush();
  w.put_by_other("d/a.txt", "second");
  w.put_by_other("d/a.txt", "third");
  w.put_by_other("d/gone", "was here");
  REQUIRE(remove_sync(*w.objects, "d/gone", Context()));
  w.put_by_other("d/sub/deep/x", "below");
  REQUIRE(remove_sync(*w.objects, "d/sub/deep/x", Context()));
  REQUIRE(w.mount.close());
  w.open("/again");
  CHECK(w.list("d") == std::map<std::string, uint64_t>{{"a.txt", 5}});
  CHECK(w.past("d/.versions") ==
        Names{{"a.txt", "first"}, {"a.txt", "second"}, {"gone", "was here"}, {"sub/", ""}});
  CHECK(w.past("d/.versions/sub/deep") == Names{{"x", "below"}});
  // The probe for conditional puts (cache/if_match_probe.h) left something, too.
  auto top = w.past(".versions");
  std::erase_if(top, [](const auto& each) { return each.first.starts_with(".cairn-probe-"); });
  CHECK(top == Names{{"d/", ""}});
  CHECK(w.list("d") == std::map<std::string, uint64_t>{{"a.txt", 5}});
  CHECK(w.find("d/.versions/.versions") == 0);
  // By the next mount of this cache, too.
  const std::string name = w.first_of("d/.versions");
  const Ino ino = w.find(name);
  REQUIRE(w.mount.close());
  w.open("/again");
  CHECK(w.find(name) == ino);
  CHECK(w.past("d/.versions").size() == 4);
  // Its own object says more of it.
  CHECK(w.xattr(name, "user.s3.key") == name);
  CHECK(w.xattr(name, "user.s3.version-id") != "none");
  CHECK(w.xattr(name, "user.s3.version-id") != w.head("d/a.txt").version_id);
  CHECK(w.xattr(name, "user.s3.etag").find('@') == std::string::npos);
  CHECK(w.xattr(name, "user.s3.content-type") != "none");
}

TEST_CASE("what is past cannot be changed, and holds nothing of what is back") {
  PastWriter w;
  w.put_by_other("d/f", "first");
  w.put_by_other("d/f", "second");
  w.put_by_other("e/x", "other");
  const std::string name = w.first_of("d/.versions");
  const Ino dir = w.find("d/.versions");
  const Ino ino = w.find(name);
  const std::string leaf = name.substr(name.rfind('/') + 1);
  const auto mode_of = [&](Ino of) {
    return w.mount.run([&](Volume& v, Need& n) { return v.getattr(of, n); })->mode;
  };
  CHECK(mode_of(ino) == (S_IFREG | 0444));
  CHECK(mode_of(dir) == (S_IFDIR | 0555));
  CHECK(w.refused([&](Volume& v, Need& n) { return v.unlink(dir, leaf, n); }) == EROFS);
  CHECK(w.refused([&](Volume& v, Need& n) { return v.create(dir, "new", 0644, kCaller, n); }) ==
        EROFS);
  CHECK(w.refused([&](Volume& v, Need& n) { return v.mkdir(dir, "new", 0755, kCaller, n); }) ==
        EROFS);
  CHECK(w.refused([&](Volume& v, Need& n) {
    return v.rename(dir, leaf, kRootIno, "back", 0, n);
  }) == EROFS);
  CHECK(w.refused([&](Volume& v, Need& n) { return v.rename(w.find("e"), "x", dir, "x", 0, n); }) ==
        EROFS);
  CHECK(w.refused([&](Volume& v, Need& n) { return v.rmdir(w.find("d"), ".versions", n); }) != 0);
  CHECK(w.refused([&](Volume& v, Need& n) {
    return v.mkdir(kRootIno, ".versions", 0755, kCaller, n);
  }) != 0);
  AttrChange change;
  change.size = 1;
  CHECK(w.refused([&](Volume& v, Need& n) { return v.setattr(ino, change, n); }) == EROFS);
  CHECK(w.refused([&](Volume& v, Need& n) {
    return v.setxattr(ino, "user.s3.tag.k", as_bytes("v"), 0, kCaller, n);
  }) == EROFS);
  const auto handle = w.mount.run([&](Volume& v, Need& n) { return v.open_file(ino, n); });
  REQUIRE(handle);
  CHECK(w.refused([&](Volume& v, Need& n) { return v.write(*handle, 0, as_bytes("x"), n); }) ==
        EROFS);
  w.mount.volume().release_file(*handle);
  CHECK(w.read(name) == "first");
  w.flush();
  CHECK(w.bucket() == std::map<std::string, std::string>{{"d/f", "second"}, {"e/x", "other"}});
  // The directory can go and move as if there were no past in it.
  w.rename("d", "moved");
  w.flush();
  CHECK(w.object_bytes("moved/f") == "second");
  CHECK(w.read("moved/f") == "second");
  CHECK(w.find("d/.versions") == 0);  // there is no such directory any more
  CHECK(w.past(".versions").contains("d/"));
  CHECK(w.past(".versions/d").size() == 2);
  w.find("moved/.versions");
  w.unlink("moved/f");
  w.rmdir("moved");
  w.flush();
  CHECK(w.keys() == std::set<std::string>{"e/x"});
}

TEST_CASE("where a directory has that name it is that one, and without versions there is none") {
  PastWriter w;
  w.put_by_other("d/.versions/real", "bytes");
  w.put_by_other("d/f", "first");
  w.put_by_other("d/f", "second");
  CHECK(w.list("d").contains(".versions/"));
  CHECK(w.list("d/.versions") == std::map<std::string, uint64_t>{{"real", 5}});
  Writer plain;
  plain.put_by_other("d/f", "first");
  plain.put_by_other("d/f", "second");
  CHECK(plain.find("d/.versions") == 0);
  plain.mkdir("d/.versions");
  plain.flush();
  CHECK(plain.keys() == std::set<std::string>{"d/.versions/", "d/f"});
}

TEST_CASE("a mount as of a time shows what was there, with the attributes it had") {
  World now;
  now.objects->keep_versions();
  const auto put = [&](const std::string& key, const std::string& bytes, const char* mode) {
    PutHow how;
    how.headers.metadata = {{"mode", mode}};
    REQUIRE(put_sync(*now.objects, key, Body(Buffer::copy(bytes)), how, Context()));
  };
  put("d/a", bytes_of(700'000, 1), "33216");  // 0700
  put("d/gone", "was here", "33188");
  put("old/x", "all of it goes", "33188");
  REQUIRE(pause(now.io, system_clock(), std::chrono::milliseconds(20), Context()));
  const int64_t time = system_clock().wall_ns();
  REQUIRE(pause(now.io, system_clock(), std::chrono::milliseconds(20), Context()));
  put("d/a", "other", "33188");
  put("d/new", "later", "33188");
  put("fresh/x", "later", "33188");
  REQUIRE(remove_sync(*now.objects, "d/gone", Context()));
  REQUIRE(remove_sync(*now.objects, "old/x", Context()));

  VersionsAtStore then(now.store, now.io, time);
  TestMount mount{then, now.env, now.io};
  mount.options = now.mount.options;
  mount.options.objects->full_attrs = true;
  REQUIRE(mount.open("/then"));
  const auto find = [&](const std::string& dir, const std::string& name) {
    const auto at = mount.run([&](Volume& v, Need& n) { return v.lookup(kRootIno, dir, n); });
    if (!at) return Result<Attr>(tl::unexpected<Error>(at.error()));
    return mount.run([&](Volume& v, Need& n) { return v.lookup(at->ino, name, n); });
  };
  const auto a = find("d", "a");
  REQUIRE(a);
  CHECK(a->size == 700'000);
  CHECK(a->mode == (S_IFREG | 0700));
  CHECK(find("d", "gone"));
  CHECK(find("old", "x"));
  CHECK(find("d", "new").error().sys_errno() == ENOENT);
  CHECK(find("fresh", "x").error().sys_errno() == ENOENT);
  const auto handle = mount.run([&](Volume& v, Need& n) { return v.open_file(a->ino, n); });
  REQUIRE(handle);
  const auto bytes = mount.run([&](Volume& v, Need& n) { return v.read(*handle, 0, 1 << 20, n); });
  REQUIRE(bytes);
  CHECK(to_string(*bytes) == bytes_of(700'000, 1));
  mount.volume().release_file(*handle);
  const auto etag =
      mount.run([&](Volume& v, Need& n) { return v.getxattr(a->ino, "user.s3.etag", n); });
  REQUIRE(etag);
  CHECK(to_string(*etag).find('@') == std::string::npos);
  CHECK(mount.run([&](Volume& v, Need& n) { return v.create(kRootIno, "new", 0644, kCaller, n); })
            .error()
            .sys_errno() == EROFS);
}
