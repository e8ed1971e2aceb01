// Tags, storage class and version of objects as xattrs.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <string>

#include "cache/object_attrs.h"
#include "tests/support/bucket_world.h"

using namespace cairn;
using namespace cairn::test;

namespace {

using TagMap = std::map<std::string, std::string>;

struct TagWriter : Writer {
  int set(const std::string& path, const std::string& name, const std::string& value) {
    const Status done = mount.run([&, ino = find(path)](Volume& v, Need& n) {
      return v.setxattr(ino, name, as_bytes(value), 0, kCaller, n);
    });
    return done ? 0 : done.error().sys_errno();
  }
  int take_away(const std::string& path, const std::string& name) {
    const Status done = mount.run(
        [&, ino = find(path)](Volume& v, Need& n) { return v.removexattr(ino, name, n); });
    return done ? 0 : done.error().sys_errno();
  }
  std::vector<std::string> names(const std::string& path) {
    const auto got = mount.run(
        [&, ino = find(path)](Volume& v, Need& n) { return v.listxattr(ino, kCaller, n); });
    REQUIRE(got);
    return *got;
  }
  bool has_name(const std::string& path, const std::string& name) {
    const auto all = names(path);
    return std::find(all.begin(), all.end(), name) != all.end();
  }
  TagMap tags(const std::string& key) {
    const auto got = get_tags_sync(*objects, key, {}, Context());
    REQUIRE_MESSAGE(got, key);
    return {got->begin(), got->end()};
  }
  void tag_by_other(const std::string& key, const TagMap& tags) {
    REQUIRE(put_tags_sync(*objects, key, {}, {tags.begin(), tags.end()}, Context()));
  }
  void mount_again(bool full_attrs, Duration ttl = std::chrono::hours(1)) {
    REQUIRE(mount.close());
    mount.options.objects->full_attrs = full_attrs;
    mount.options.objects->metadata_ttl = ttl;
    open("/again");
  }
};

}  // namespace

TEST_CASE("tags of others are xattrs, asked for by one request when somebody wants one") {
  TagWriter w;
  w.put_by_other("f", "bytes");
  w.tag_by_other("f", {{"team", "red"}, {"a/b:c", ""}});
  const uint64_t before = w.store->counts().get;
  CHECK_FALSE(w.has_name("f", "user.s3.tag.team"));
  CHECK(w.store->counts().get == before);
  CHECK(w.xattr("f", "user.s3.tag.team") == "red");
  CHECK(w.xattr("f", "user.s3.tag.absent") == "none");
  CHECK(w.xattr("f", "user.s3.tag.a/b:c").empty());
  CHECK(w.has_name("f", "user.s3.tag.team"));
  CHECK(w.store->counts().get == before + 1);
  // What others change shows after the TTL.
  w.mount_again(false, std::chrono::seconds(1));
  CHECK(w.xattr("f", "user.s3.tag.team") == "red");
  w.tag_by_other("f", {{"team", "blue"}});
  w.let_ttl_pass();
  CHECK(w.xattr("f", "user.s3.tag.team") == "blue");
}

TEST_CASE("a list of xattrs has the tags where every object is looked at in any case") {
  TagWriter w;
  w.put_by_other("tagged", "bytes");
  w.put_by_other("plain", "bytes");
  w.tag_by_other("tagged", {{"team", "red"}});
  w.mount_again(true);
  const uint64_t before = w.store->counts().get;
  w.list("");
  CHECK_FALSE(w.has_name("plain", "user.s3.tag.team"));
  CHECK(w.store->counts().get == before);
  CHECK(w.has_name("tagged", "user.s3.tag.team"));
  CHECK(w.has_name("tagged", "user.s3.storage-class"));
  CHECK(w.store->counts().get == before + 1);
}

TEST_CASE("tags that are set here go to the object, which stays the same version") {
  TagWriter w;
  w.put_by_other("f", "bytes");
  w.tag_by_other("f", {{"theirs", "1"}, {"both", "old"}});
  const std::string etag = w.head("f").info.etag;
  REQUIRE(w.set("f", "user.s3.tag.ours", "2") == 0);
  REQUIRE(w.set("f", "user.s3.tag.both", "new") == 0);
  CHECK(w.xattr("f", "user.s3.tag.ours") == "2");
  CHECK(w.tags("f") == TagMap{{"theirs", "1"}, {"both", "old"}});
  // What others add meanwhile stays.
  w.tag_by_other("f", {{"theirs", "1"}, {"both", "old"}, {"late", "3"}});
  w.flush();
  CHECK(w.tags("f") == TagMap{{"theirs", "1"}, {"both", "new"}, {"late", "3"}, {"ours", "2"}});
  CHECK(w.head("f").info.etag == etag);
  CHECK(w.xattr("f", "user.s3.tag.late") == "3");
  REQUIRE(w.take_away("f", "user.s3.tag.theirs") == 0);
  CHECK(w.take_away("f", "user.s3.tag.theirs") == ENODATA);
  CHECK(w.xattr("f", "user.s3.tag.theirs") == "none");
  w.flush();
  CHECK(w.tags("f") == TagMap{{"both", "new"}, {"late", "3"}, {"ours", "2"}});
  // They survive the death of the mount before they are sent.
  REQUIRE(w.set("f", "user.s3.tag.ours", "4") == 0);
  w.mount.kill();
  w.open();
  CHECK(w.xattr("f", "user.s3.tag.ours") == "4");
  w.flush();
  CHECK(w.tags("f")["ours"] == "4");
}

TEST_CASE("tags stay with an object that is written anew, renamed or moved with its directory") {
  TagWriter w;
  w.mkdir("d");
  w.write("d/f", bytes_of(6 << 20, 1));
  w.write("small", "bytes");
  REQUIRE(w.set("d/f", "user.s3.tag.of", "f") == 0);
  w.flush();
  CHECK(w.tags("d/f") == TagMap{{"of", "f"}});
  w.tag_by_other("d/f", {{"of", "f"}, {"theirs", "1"}});
  w.tag_by_other("small", {{"theirs", "2"}});
  w.write("d/f", "other", 100);
  w.write("small", "other");
  w.flush();
  CHECK(w.tags("d/f") == TagMap{{"of", "f"}, {"theirs", "1"}});
  CHECK(w.tags("small") == TagMap{{"theirs", "2"}});
  w.rename("small", "d/renamed");
  w.flush();
  CHECK(w.tags("d/renamed") == TagMap{{"theirs", "2"}});
  w.rename("d", "e");
  w.flush();
  CHECK(w.tags("e/renamed") == TagMap{{"theirs", "2"}});
  CHECK(w.tags("e/f") == TagMap{{"of", "f"}, {"theirs", "1"}});
  // Renamed and changed at once.
  w.rename("e/f", "g");
  REQUIRE(w.set("g", "user.s3.tag.of", "g") == 0);
  w.write("g", "third");
  w.flush();
  CHECK(w.tags("g") == TagMap{{"of", "g"}, {"theirs", "1"}});
  // Another attribute only.
  AttrChange change;
  change.mode = 0600;
  w.must([&](Volume& v, Need& n) { return v.setattr(w.find("g"), change, n); });
  w.flush();
  CHECK(w.tags("g") == TagMap{{"of", "g"}, {"theirs", "1"}});
}

TEST_CASE("what tags cannot be is refused, and no more than ten are taken") {
  TagWriter w;
  w.write("f", "bytes");
  CHECK(w.set("f", "user.s3.tag.", "x") == EINVAL);
  CHECK(w.set("f", "user.s3.tag.a*b", "x") == EINVAL);
  CHECK(w.set("f", "user.s3.tag.k", "a&b") == EINVAL);
  CHECK(w.set("f", "user.s3.tag.k", std::string(257, 'v')) == EINVAL);
  CHECK(w.set("f", "user.s3.tag." + std::string(129, 'n'), "v") == EINVAL);
  CHECK(w.set("f", "user.s3.tag.aws:x", "v") == EINVAL);
  CHECK(w.set("f", "user.s3.tag.k", "\xc3\xa9") == EINVAL);
  CHECK(w.set("f", "user.s3.version-id", "x") == EPERM);
  for (int i = 0; i < 10; ++i) REQUIRE(w.set("f", "user.s3.tag.k" + std::to_string(i), "v") == 0);
  CHECK(w.set("f", "user.s3.tag.another", "v") == ENOSPC);
  CHECK(w.set("f", "user.s3.tag.k5", "changed") == 0);
  w.flush();
  CHECK(w.tags("f").size() == 10);
  CHECK(w.set("f", "user.s3.tag.another", "v") == ENOSPC);
  // Others were faster: theirs stay.
  w.tag_by_other("f", {});
  w.mount_again(false);
  REQUIRE(w.set("f", "user.s3.tag.mine", "v") == 0);
  TagMap ten;
  for (int i = 0; i < 10; ++i) ten["theirs" + std::to_string(i)] = "v";
  w.tag_by_other("f", ten);
  w.flush();
  CHECK(w.tags("f") == ten);
}

TEST_CASE("tags that the store refuses to tell or to take hold back what they must") {
  TagWriter w;
  w.put_by_other("f", "bytes");
  w.tag_by_other("f", {{"theirs", "1"}});
  w.refuse(StoreOp::kTags);
  const auto value = w.mount.run(
      [&](Volume& v, Need& n) { return v.getxattr(w.find("f"), "user.s3.tag.theirs", n); });
  REQUIRE_FALSE(value);
  CHECK(value.error().sys_errno() == EIO);
  // Content goes on, without them.
  w.write("f", "other");
  w.flush();
  CHECK(w.object_bytes("f") == "other");
  w.faults->clear();
  // A passing fault delays the change, no more.
  w.mount_again(false);
  REQUIRE(w.set("f", "user.s3.tag.ours", "2") == 0);
  w.faults->add({.kind = FaultKind::kLoseReply, .ops = StoreOp::kTags, .skip = 1, .count = 1});
  w.flush();
  CHECK(w.tags("f") == TagMap{{"ours", "2"}});
}

TEST_CASE("the storage class is shown, and set by a copy onto itself") {
  TagWriter w;
  w.objects->keep_versions();
  PutHow how;
  how.storage_class = "STANDARD_IA";
  REQUIRE(put_sync(*w.objects, "f", Body(Buffer::copy("bytes")), how, Context()));
  w.put_by_other("plain", "bytes");
  const uint64_t before = w.store->counts().head;
  CHECK(w.xattr("f", "user.s3.storage-class") == "STANDARD_IA");
  CHECK(w.xattr("f", "user.s3.version-id") == w.head("f").version_id);
  CHECK(w.store->counts().head == before + 1);
  CHECK(w.xattr("plain", "user.s3.storage-class") == "STANDARD");
  w.tag_by_other("plain", {{"theirs", "1"}});
  const std::string version = w.head("plain").version_id;
  REQUIRE(w.set("plain", "user.s3.storage-class", "GLACIER_IR") == 0);
  CHECK(w.set("plain", "user.s3.storage-class", "no class") == EINVAL);
  CHECK(w.take_away("plain", "user.s3.storage-class") == EPERM);
  w.flush();
  CHECK(w.head("plain").storage_class == "GLACIER_IR");
  CHECK(w.head("plain").version_id != version);
  CHECK(w.xattr("plain", "user.s3.version-id") == w.head("plain").version_id);
  CHECK(w.object_bytes("plain") == "bytes");
  CHECK(w.tags("plain") == TagMap{{"theirs", "1"}});
  // It stays what it is when the object is written anew or renamed.
  w.write("plain", "other");
  w.write("f", "other");
  w.flush();
  CHECK(w.head("plain").storage_class == "GLACIER_IR");
  CHECK(w.head("f").storage_class == "STANDARD_IA");
  w.rename("f", "g");
  w.flush();
  CHECK(w.head("g").storage_class == "STANDARD_IA");
  w.write("new", "bytes");
  w.flush();
  CHECK(w.head("new").storage_class.empty());
}

TEST_CASE("on a volume the same names are plain xattrs") {
  MemoryEnv env;
  ThreadExecutor io{"io", 2};
  const auto objects = std::make_shared<MemoryStore>(io, system_clock());
  MeteredStore store(objects);
  TestMount mount{store, env, io};
  REQUIRE(mount.format(4096, 4));
  REQUIRE(mount.open("/cache"));
  const auto made =
      mount.run([&](Volume& v, Need& n) { return v.create(kRootIno, "f", 0644, kCaller, n); });
  REQUIRE(made);
  mount.volume().release_file(made->handle);
  const std::map<std::string, std::string> values{{"user.s3.tag.k", "any \xff value & more"},
                                                  {"user.s3.storage-class", "no class at all"},
                                                  {"user.s3.version-id", "mine"},
                                                  {"user.s3.etag", "mine"},
                                                  {"user.s3.content-type", "text/x-anything"},
                                                  {"user.s3.meta.Upper", "x"}};
  const auto ino = made->attr.ino;
  for (const auto& [name, value] : values)
    REQUIRE(mount.run(
        [&](Volume& v, Need& n) { return v.setxattr(ino, name, as_bytes(value), 0, kCaller, n); }));
  REQUIRE(mount.engine().flush(Context(), nullptr));
  for (const auto& [name, value] : values) {
    const auto got = mount.run([&](Volume& v, Need& n) { return v.getxattr(ino, name, n); });
    REQUIRE(got);
    CHECK(to_string(*got) == value);
  }
  const auto names = mount.run([&](Volume& v, Need& n) { return v.listxattr(ino, kCaller, n); });
  REQUIRE(names);
  CHECK(names->size() == values.size());
}
