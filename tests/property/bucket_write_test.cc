// Objects that are written through a mount: what is in the bucket then, what it cost, and what
// happens when somebody else was there first or the answer of the store is lost.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <cerrno>
#include <chrono>
#include <map>
#include <set>
#include <string>

#include "cache/object_attrs.h"
#include "tests/support/at_point.h"
#include "tests/support/bucket_world.h"

using namespace cairn;
using namespace cairn::test;

namespace {

using Keys = std::set<std::string>;

}  // namespace

TEST_CASE("what is written is an object with the bytes, and who looks from elsewhere sees it") {
  Writer w;
  const std::string text = "hello, world";
  const std::string large = bytes_of(3'000'000, 1);
  w.mkdir("dir");
  w.write("dir/a.txt", text);
  w.write("large.bin", large);
  CHECK(w.keys().empty());
  CHECK(w.read("dir/a.txt") == text);
  w.flush();
  CHECK(w.bucket() == std::map<std::string, std::string>{
                          {"dir/", ""}, {"dir/a.txt", text}, {"large.bin", large}});
  const ObjectHead head = w.head("dir/a.txt");
  CHECK(head.headers.content_type == "text/plain");
  const ObjectAttrs attrs = attrs_of(head.headers);
  CHECK(attrs.mode == (S_IFREG | 0644));
  CHECK(attrs.uid == 1000);
  CHECK(attrs.gid == 100);
  CHECK(attrs.mtime_ns.has_value());

  // What was just sent is here: nothing is fetched to read it, and nothing is asked for.
  const uint64_t before = w.requests();
  CHECK(w.read("dir/a.txt") == text);
  CHECK(w.read_ino(w.find("large.bin"), 0, 4'000'000).value_or("") == large);
  CHECK(w.requests() == before);
  CHECK(w.mount.run([&](Volume& v, Need& n) { return v.getattr(w.find("dir/a.txt"), n); })->uid ==
        1000);

  w.look_from_elsewhere([&] {
    CHECK(w.read("dir/a.txt") == text);
    CHECK(w.list("") == std::map<std::string, uint64_t>{{"dir/", 0}, {"large.bin", large.size()}});
  });
}

TEST_CASE("an object that is changed keeps what others keep in its metadata") {
  Writer w;
  ObjectHeaders theirs;
  theirs.content_type = "application/x-special";
  theirs.metadata = {{"colour", "green"}};
  w.put_by_other("a.txt", "0123456789", theirs);
  w.write("a.txt", "xy", 4);
  w.flush();
  CHECK(w.object_bytes("a.txt") == "0123xy6789");
  const ObjectHead head = w.head("a.txt");
  CHECK(head.headers.content_type == "application/x-special");
  CHECK(std::count(head.headers.metadata.begin(), head.headers.metadata.end(),
                   std::pair<std::string, std::string>("colour", "green")) == 1);
  w.truncate("a.txt", 3);
  w.flush();
  CHECK(w.object_bytes("a.txt") == "012");
  w.truncate("a.txt", 5);
  w.write("a.txt", "z", 7);
  w.flush();
  CHECK(w.object_bytes("a.txt") == std::string("012\0\0\0\0z", 8));
  CHECK(w.read("a.txt") == std::string("012\0\0\0\0z", 8));
}

TEST_CASE("of a large object that is changed in one place only what lies around it travels") {
  Writer w;
  std::string bytes = bytes_of(40'000'000, 2);
  w.put_by_other("large.bin", bytes);
  w.write("large.bin", "changed", 20'000'000);
  bytes.replace(20'000'000, 7, "changed");
  const RequestCounts before = w.store->counts();
  w.flush();
  const RequestCounts after = w.store->counts();
  CHECK(w.object_bytes("large.bin") == bytes);
  CHECK(after.bytes_written - before.bytes_written <= 9'000'000);
  CHECK(after.bytes_read - before.bytes_read <= 9'000'000);
  // Appended to, cut, and a hole behind the end.
  w.write("large.bin", "end", bytes.size());
  bytes += "end";
  w.flush();
  CHECK(w.object_bytes("large.bin") == bytes);
  w.truncate("large.bin", 10'000'000);
  bytes.resize(10'000'000);
  w.truncate("large.bin", 30'000'000);
  bytes.resize(30'000'000);
  w.write("large.bin", "far", 29'000'000);
  bytes.replace(29'000'000, 3, "far");
  w.flush();
  CHECK(w.object_bytes("large.bin") == bytes);
}

TEST_CASE("changes all over a large object go in steps when they are more than fits in memory") {
  Writer w;
  REQUIRE(w.mount.close());
  w.mount.options.memory_bytes_max = 64ULL << 20;
  w.open();
  std::string bytes = bytes_of(100'000'000, 3);
  w.put_by_other("large.bin", bytes);
  for (size_t at = 1'000'000; at < bytes.size(); at += 7'000'000) {
    w.write("large.bin", "changed", at);
    bytes.replace(at, 7, "changed");
  }
  w.flush();
  CHECK(w.object_bytes("large.bin") == bytes);
  CHECK(w.keys() == Keys{"large.bin"});
}

TEST_CASE("renames and removals") {
  Writer w;
  w.put_by_other("a", "of a");
  w.put_by_other("b", "of b");
  w.put_by_other("d/x", "x");
  const std::string large = bytes_of(9'000'000, 4);
  w.write("big", large);
  w.flush();
  const RequestCounts before = w.store->counts();
  w.rename("big", "d/bigger");
  w.flush();
  CHECK(w.store->counts().bytes_written == before.bytes_written);
  CHECK(w.object_bytes("d/bigger") == large);
  CHECK(w.keys() == Keys{"a", "b", "d/bigger", "d/x"});
  // What was here of it still is.
  const uint64_t requests = w.requests();
  CHECK(w.read_ino(w.find("d/bigger"), 0, 10'000'000).value_or("") == large);
  CHECK(w.requests() == requests);

  SUBCASE("over another") {
    w.rename("a", "b");
    w.flush();
    CHECK(w.object_bytes("b") == "of a");
    CHECK(w.keys() == Keys{"b", "d/bigger", "d/x"});
  }
  SUBCASE("a ring") {
    w.rename("a", "c");
    w.rename("b", "a");
    w.rename("c", "b");
    w.flush();
    CHECK(w.object_bytes("a") == "of b");
    CHECK(w.object_bytes("b") == "of a");
    CHECK(w.keys() == Keys{"a", "b", "d/bigger", "d/x"});
  }
  SUBCASE("a chain, and something new under the first name") {
    w.rename("b", "c");
    w.rename("a", "b");
    w.write("a", "new");
    w.flush();
    CHECK(w.object_bytes("a") == "new");
    CHECK(w.object_bytes("b") == "of a");
    CHECK(w.object_bytes("c") == "of b");
  }
  SUBCASE("changed and renamed") {
    w.write("a", "!", 4);
    w.rename("a", "e");
    w.flush();
    CHECK(w.object_bytes("e") == "of a!");
    CHECK(w.object_bytes("a") == "none");
  }
  SUBCASE("removed, and made again in the same batch") {
    w.unlink("a");
    w.write("a", "again");
    w.unlink("b");
    w.flush();
    CHECK(w.object_bytes("a") == "again");
    CHECK(w.object_bytes("b") == "none");
  }
  SUBCASE("a directory whose last object goes stays") {
    w.unlink("d/x");
    w.unlink("d/bigger");
    w.flush();
    CHECK(w.keys() == Keys{"a", "b", "d/"});
    w.rmdir("d");
    w.flush();
    CHECK(w.keys() == Keys{"a", "b"});
  }
  SUBCASE("made and gone before it was sent") {
    w.write("short", "x");
    w.unlink("short");
    w.mkdir("e");
    w.rmdir("e");
    w.flush();
    CHECK(w.keys() == Keys{"a", "b", "d/bigger", "d/x"});
  }
}

TEST_CASE("a directory that is renamed takes all its objects with it") {
  Writer w;
  for (int i = 0; i < 1200; ++i) w.put_by_other("old/" + std::to_string(i), std::to_string(i));
  w.put_by_other("old/sub/deep", "deep");
  w.put_by_other("old/unseen/one", "1");  // nobody looks at it
  CHECK(w.read("old/sub/deep") == "deep");
  w.write("old/new", "written");
  w.mkdir("to");
  w.rename("old", "to/young");
  w.write("to/young/later", "later");
  CHECK(w.read("to/young/sub/deep") == "deep");
  w.flush();
  CHECK(w.find("old") == 0);
  CHECK(w.object_bytes("to/young/7") == "7");
  CHECK(w.object_bytes("to/young/new") == "written");
  CHECK(w.object_bytes("to/young/later") == "later");
  CHECK(w.object_bytes("to/young/unseen/one") == "1");
  const auto left = list_sync(*w.objects, ListScope("old"), "", 10, Context());
  REQUIRE(left);
  CHECK(left->objects.empty());
  CHECK(w.read("to/young/sub/deep") == "deep");
  CHECK(w.list("to/young").size() == 1200 + 4);
  w.look_from_elsewhere([&] { CHECK(w.list("to/young").size() == 1200 + 4); });
}

TEST_CASE("what somebody else changed meanwhile stays, and ours is beside it") {
  Writer w;
  w.put_by_other("dir/a.txt", "first");
  CHECK(w.read("dir/a.txt") == "first");
  const auto conflict_of = [&](const std::string& begin) {
    for (const std::string& key : w.keys())
      if (key.starts_with(begin + ".conflict-")) return key;
    return std::string("none");
  };
  SUBCASE("changed here and there") {
    w.write("dir/a.txt", "here!");
    w.put_by_other("dir/a.txt", "there");
    w.flush();
    CHECK(w.object_bytes("dir/a.txt") == "there");
    CHECK(w.object_bytes(conflict_of("dir/a")) == "here!");
    CHECK(conflict_of("dir/a").ends_with("-test-host.txt"));
    CHECK(w.read("dir/a.txt") == "there");
    CHECK(w.read(conflict_of("dir/a")) == "here!");
    CHECK(w.mount.opened().bucket->conflicts() == 1);
    // What is written through the inode goes on where it is now.
    w.write(conflict_of("dir/a"), "more", 5);
    w.flush();
    CHECK(w.object_bytes(conflict_of("dir/a")) == "here!more");
    CHECK(w.keys().size() == 2);
  }
  SUBCASE("in part") {
    w.write("dir/a.txt", "HE", 0);
    w.put_by_other("dir/a.txt", "there is more");
    w.flush();
    CHECK(w.object_bytes("dir/a.txt") == "there is more");
    CHECK(w.object_bytes(conflict_of("dir/a")).starts_with("HE"));
  }
  SUBCASE("made here and there") {
    w.write("dir/b", "ours");
    w.put_by_other("dir/b", "theirs");
    w.flush();
    CHECK(w.object_bytes("dir/b") == "theirs");
    CHECK(w.object_bytes(conflict_of("dir/b")) == "ours");
    CHECK(w.read("dir/b") == "theirs");
  }
  SUBCASE("removed there, changed here") {
    w.write("dir/a.txt", "here!");
    REQUIRE(remove_sync(*w.objects, "dir/a.txt", Context()));
    w.flush();
    CHECK(w.object_bytes("dir/a.txt") == "here!");
    CHECK(w.keys() == Keys{"dir/a.txt"});
  }
  SUBCASE("changed there, removed here") {
    w.unlink("dir/a.txt");
    w.put_by_other("dir/a.txt", "there");
    w.flush();
    CHECK(w.object_bytes("dir/a.txt") == "there");
  }
  SUBCASE("renamed here onto what was made there") {
    w.rename("dir/a.txt", "dir/c");
    w.put_by_other("dir/c", "theirs");
    w.flush();
    CHECK(w.object_bytes("dir/c") == "theirs");
    CHECK(w.object_bytes(conflict_of("dir/c")) == "first");
    CHECK(w.object_bytes("dir/a.txt") == "none");
  }
  SUBCASE("seen by a listing before it is published") {
    REQUIRE(w.mount.close());
    w.mount.options.objects->metadata_ttl = std::chrono::seconds(1);
    w.open();
    CHECK(w.read("dir/a.txt") == "first");
    w.write("dir/a.txt", "here!");
    w.put_by_other("dir/a.txt", "there, longer");
    w.let_ttl_pass();
    CHECK(w.list("dir").size() == 1);
    CHECK(w.read("dir/a.txt") == "here!");
    w.flush();
    CHECK(w.object_bytes("dir/a.txt") == "there, longer");
    CHECK(w.object_bytes(conflict_of("dir/a")) == "here!");
  }
}

TEST_CASE("a name that a listing gave to somebody else's object is not overwritten") {
  Writer w;
  REQUIRE(w.mount.close());
  w.mount.options.objects->metadata_ttl = std::chrono::seconds(1);
  w.open();
  CHECK(w.list("").empty());
  w.write("b", "ours");
  w.put_by_other("b", "theirs");
  w.let_ttl_pass();
  CHECK(w.list("").size() == 1);
  w.flush();
  CHECK(w.object_bytes("b") == "theirs");
  CHECK(w.keys().size() == 2);
}

TEST_CASE("who keeps our metadata when he writes is not taken for us") {
  Writer w;
  w.write("a", "first");
  w.flush();
  const ObjectHeaders headers = w.head("a").headers;
  w.write("a", "ours!");
  w.put_by_other("a", "theirs", headers);
  w.flush();
  CHECK(w.object_bytes("a") == "theirs");
  CHECK(w.keys().size() == 2);
}

TEST_CASE("what was put under the old key of something that moved stays") {
  Writer w;
  w.write("a", "same");
  w.flush();
  w.rename("a", "b");
  w.write("a", "same");
  w.write("z", "z");
  w.faults->add({.kind = FaultKind::kFail, .ops = StoreOp::kPut, .prefix = "z"});
  CHECK_FALSE(w.mount.engine().publish_once(false, Context()));
  w.mount.kill();
  w.open();
  w.flush();
  CHECK(w.bucket() == std::map<std::string, std::string>{{"a", "same"}, {"b", "same"}, {"z", "z"}});
}

TEST_CASE("an object is cut at the border of a chunk") {
  Writer w;
  const std::string bytes = bytes_of(1 << 20, 5);
  w.put_by_other("a", bytes);
  w.truncate("a", 512 * 1024);
  w.flush();
  CHECK(w.object_bytes("a") == bytes.substr(0, 512 * 1024));
}

TEST_CASE("a directory that moves takes nothing away that others put at its new place") {
  Writer w;
  w.put_by_other("old/a", "of old");
  w.put_by_other("old/b", "b");
  CHECK(w.read("old/a") == "of old");
  w.rename("old", "new");
  w.put_by_other("new/a", "theirs");
  w.flush();
  CHECK(w.object_bytes("new/a") == "theirs");
  CHECK(w.object_bytes("new/b") == "b");
  CHECK(w.keys().size() == 3);
  CHECK(w.mount.opened().bucket->conflicts() == 1);
}

TEST_CASE("a file that somebody removed before it was renamed is gone") {
  Writer w;
  w.put_by_other("a", "text");
  CHECK(w.read("a") == "text");
  w.rename("a", "b");
  w.write("c", "c");
  REQUIRE(remove_sync(*w.objects, "a", Context()));
  w.flush();
  CHECK(w.keys() == Keys{"c"});
}

TEST_CASE("a put whose answer was lost is no conflict") {
  Writer w;
  w.put_by_other("a", "first");
  w.write("a", "second");
  w.write("new", "new");
  w.faults->add({.kind = FaultKind::kLoseReply, .ops = StoreOp::kPut, .prefix = "a"});
  w.faults->add({.kind = FaultKind::kLoseReply, .ops = StoreOp::kPut, .prefix = "new"});
  CHECK_FALSE(w.mount.engine().publish_once(false, Context()));
  w.write("new", "newer");
  w.flush();
  CHECK(w.bucket() == std::map<std::string, std::string>{{"a", "second"}, {"new", "newer"}});
  CHECK(w.mount.opened().bucket->conflicts() == 0);
}

TEST_CASE("one object that cannot be put does not keep the others from it") {
  Writer w;
  for (int i = 0; i < 20; ++i) w.write("f" + std::to_string(i), std::to_string(i));
  w.faults->add(
      {.kind = FaultKind::kFail, .ops = StoreOp::kPut, .prefix = "f7", .code = Errc::kPermission});
  CHECK_FALSE(w.mount.engine().publish_once(false, Context()));
  CHECK(w.keys().size() == 19);
  const uint64_t puts = w.store->counts().put;
  w.flush();
  CHECK(w.keys().size() == 20);
  CHECK(w.store->counts().put == puts + 1);
}

TEST_CASE("what was acknowledged survives the process, and is published by the next mount") {
  Writer w;
  w.put_by_other("old/a", "a");
  w.put_by_other("keep", "0123456789");
  CHECK(w.read("old/a") == "a");
  w.mkdir("d");
  w.write("d/f", "text");
  w.write("keep", "X", 3);
  w.rename("old", "moved");
  w.write("moved/b", "b");
  SUBCASE("before anything was published") {
    w.mount.kill();
  }
  SUBCASE("in the middle") {
    w.faults->add(
        {.kind = FaultKind::kFail, .ops = StoreOp::kRemove, .prefix = "old", .count = 100});
    CHECK_FALSE(w.try_flush());
    w.mount.kill();
  }
  w.open();
  CHECK(w.read("d/f") == "text");
  CHECK(w.read("moved/a") == "a");
  w.faults->clear();
  w.flush();
  CHECK(
      w.bucket() ==
      std::map<std::string, std::string>{
          {"d/", ""}, {"d/f", "text"}, {"keep", "012X456789"}, {"moved/a", "a"}, {"moved/b", "b"}});
}

#ifdef CAIRN_CHECKED
TEST_CASE("a process that dies at any step of a publication leaves nothing undone") {
  for (const char* name : {"bucket.directories", "bucket.put", "bucket.removed", "bucket.moved"}) {
    CAPTURE(name);
    Writer w;
    w.put_by_other("old/a", "a");
    w.put_by_other("keep", "0123456789");
    w.put_by_other("gone", "gone");
    w.put_by_other("from", "moves");
    CHECK(w.list("").size() == 4);
    CHECK(w.read("old/a") == "a");
    w.mkdir("d");
    w.write("d/f", "text");
    w.write("keep", "X", 3);
    w.unlink("gone");
    w.rename("from", "to");
    w.rename("old", "moved");
    w.write("moved/b", "b");
    bool died = false;
    for (int batch = 0; batch < 3 && !died; ++batch) {
      died = dies_at(name, [&w] {
        const auto done = w.mount.engine().publish_once(false, Context());
        CHECK(done);
      });
    }
    CHECK(died);
    w.mount.kill();
    w.open();
    w.flush();
    CHECK(w.bucket() == std::map<std::string, std::string>{{"d/", ""},
                                                           {"d/f", "text"},
                                                           {"keep", "012X456789"},
                                                           {"moved/a", "a"},
                                                           {"moved/b", "b"},
                                                           {"to", "moves"}});
    CHECK(w.mount.opened().bucket->conflicts() == 0);
  }
}
#endif

TEST_CASE("what objects cannot be is refused") {
  Writer w;
  w.write("a", "x");
  const Ino ino = w.find("a");
  const auto link = w.mount.run([&](Volume& v, Need& n) { return v.link(ino, kRootIno, "b", n); });
  CHECK(link.error().sys_errno() == EPERM);
  const auto fifo = w.mount.run(
      [&](Volume& v, Need& n) { return v.mknod(kRootIno, "p", S_IFIFO | 0600, 0, kCaller, n); });
  CHECK(fifo.error().sys_errno() == EPERM);
  const auto name = w.mount.run(
      [&](Volume& v, Need& n) { return v.create(kRootIno, "%file%x", 0644, kCaller, n); });
  CHECK(name.error().sys_errno() == EINVAL);
  const auto xattr = w.mount.run([&](Volume& v, Need& n) {
    return v.setxattr(ino, "user.x", as_bytes(std::string_view("1")), 0, kCaller, n);
  });
  CHECK(xattr.error().sys_errno() == ENOTSUP);
}

TEST_CASE("a name in the root that the store keeps for itself is refused there, and only there") {
  Writer w;
  REQUIRE(w.mount.close());
  w.mount.options.objects->reserved = ".tmp";
  w.open("/other");
  const auto refused = [&](const auto& operation) {
    const auto done = w.mount.run(operation);
    return done ? 0 : done.error().sys_errno();
  };
  CHECK(refused([&](Volume& v, Need& n) { return v.mkdir(kRootIno, ".tmp", 0755, kCaller, n); }) ==
        EINVAL);
  CHECK(refused([&](Volume& v, Need& n) { return v.symlink(kRootIno, ".tmp", "x", kCaller, n); }) ==
        EINVAL);
  w.mkdir("d");
  w.write("d/.tmp", "x");
  const Ino dir = w.find("d");
  CHECK(refused([&](Volume& v, Need& n) {
          return v.rename(dir, ".tmp", kRootIno, ".tmp", 0, n);
        }) == EINVAL);
  w.write(".tmpx", "y");
  w.flush();
  CHECK(w.keys() == Keys{"d/", "d/.tmp", ".tmpx"});
}

TEST_CASE("symbolic links, modes and times go with the object") {
  Writer w;
  w.must([&](Volume& v, Need& n) { return v.symlink(kRootIno, "link", "to/there", kCaller, n); });
  const std::string far(200, 'x');
  w.must([&](Volume& v, Need& n) { return v.symlink(kRootIno, "far", far, kCaller, n); });
  w.write("f", "text");
  w.flush();
  const auto read_link = [&](const std::string& name) {
    const auto target =
        w.mount.run([&](Volume& v, Need& n) { return v.readlink(w.find(name), n); });
    return target ? *target : "error";
  };
  CHECK(w.object_bytes("link") == "to/there");
  CHECK(attrs_of(w.head("link").headers).mode == (S_IFLNK | 0777));
  CHECK(read_link("link") == "to/there");
  CHECK(read_link("far") == far);
  w.rename("far", "farther");
  AttrChange change;
  change.mode = 0600;
  change.mtime = 1'234'567'890'123'456'789;
  w.must([&](Volume& v, Need& n) { return v.setattr(w.find("f"), change, n); });
  w.flush();
  CHECK(read_link("farther") == far);
  const ObjectAttrs attrs = attrs_of(w.head("f").headers);
  CHECK(attrs.mode == (S_IFREG | 0600));
  CHECK(attrs.mtime_ns == 1'234'567'890'123'456'789);
  CHECK(w.object_bytes("f") == "text");
  const auto attr = w.mount.run([&](Volume& v, Need& n) { return v.getattr(w.find("f"), n); });
  CHECK(attr->mtime == 1'234'567'890'123'456'789);
}
