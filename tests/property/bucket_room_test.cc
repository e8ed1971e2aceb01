// Names of a bucket that fill their place, and directories that are looked through for longer than
// what was listed counts.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cerrno>

#include "tests/support/bucket_world.h"

using namespace cairn;
using namespace cairn::test;

namespace {

std::string name_of(int n) {
  return fmt::format("object {:05}", n);
}

void fill(World& w, const std::string& dir, int count) {
  for (int n = 0; n < count; ++n) w.put(dir + "/" + name_of(n), "bytes of " + std::to_string(n));
}

void limit_names(World& w) {
  w.mount.tables_faults.bytes_max["names"] = 2ULL << 20;
}

// What listing it all says; 0: it worked.
int list_errno(World& w, const std::string& dir) {
  const auto handle =
      w.mount.run([&, ino = w.find(dir)](Volume& v, Need& n) { return v.open_dir(ino, n); });
  REQUIRE(handle);
  const auto page =
      w.mount.run([&](Volume& v, Need& n) { return v.readdir(*handle, 0, 100, false, n); });
  w.mount.volume().release_dir(*handle);
  return page ? 0 : page.error().sys_errno();
}

}  // namespace

TEST_CASE("a directory with too many names for the cache is not listed, and does no harm") {
  Writer w;
  REQUIRE(w.mount.close());
  limit_names(w);
  fill(w, "large", 20'000);
  fill(w, "small", 500);
  w.open();
  CHECK(w.list("small").size() == 500);
  for (int again = 0; again < 2; ++again) {
    CHECK(list_errno(w, "large") == ENOSPC);
    CHECK(w.read("large/" + name_of(19'000)) == "bytes of 19000");
    CHECK(w.read("large/" + name_of(3)) == "bytes of 3");
    CHECK(w.find("large/none") == 0);
    CHECK(w.list("small").size() == 500);
  }
  w.write("large/new", "made here");
  w.write("large/" + name_of(7), "changed here");
  w.unlink("large/" + name_of(8));
  w.rename("large/" + name_of(9), "large/moved");
  w.flush();
  CHECK(w.object_bytes("large/new") == "made here");
  CHECK(w.object_bytes("large/" + name_of(7)) == "changed here");
  CHECK(w.object_bytes("large/moved") == "bytes of 9");
  CHECK(w.find("large/" + name_of(8)) == 0);
  CHECK(list_errno(w, "large") == ENOSPC);
  CHECK(w.read("large/new") == "made here");
}

TEST_CASE("names that were listed before make room for others") {
  Writer w;
  REQUIRE(w.mount.close());
  limit_names(w);
  constexpr int kDirs = 20;
  for (int d = 0; d < kDirs; ++d) fill(w, "d" + std::to_string(d), 1500);
  w.open();
  const std::string kept = "d0/" + name_of(1), open = "d0/" + name_of(2);
  AttrChange mode;
  mode.mode = 0600;
  w.must([&](Volume& v, Need& n) { return v.setattr(w.find(kept), mode, n); });
  w.flush();
  const Ino kept_ino = w.find(kept);
  const auto handle = w.open_file(open);
  REQUIRE(handle);
  w.write("d0/held back", "not in the bucket yet");
  for (int round = 0; round < 2; ++round)
    for (int d = 0; d < kDirs; ++d) {
      const std::string dir = "d" + std::to_string(d);
      CHECK_MESSAGE(w.list(dir).size() == (d == 0 ? 1501U : 1500U), dir);
      CHECK(w.read(dir + "/" + name_of(1400)) == "bytes of 1400");
    }
  // What was set here, is open, or waits is what it was.
  const auto attr = w.lookup(w.find("d0"), name_of(1));
  REQUIRE(attr);
  CHECK(attr->ino == kept_ino);
  CHECK((attr->mode & 07777) == 0600);
  const auto bytes = w.mount.run([&](Volume& v, Need& n) { return v.read(*handle, 0, 100, n); });
  REQUIRE(bytes);
  CHECK(to_string(*bytes) == "bytes of 2");
  w.mount.volume().release_file(*handle);
  w.flush();
  CHECK(w.object_bytes("d0/held back") == "not in the bucket yet");
}

TEST_CASE("who looks at all names of a large directory asks for many at a time") {
  World w;
  constexpr int kNames = 12'000;
  fill(w, "d", kNames);
  w.mount.options.objects->metadata_ttl = std::chrono::seconds(1);
  w.open();
  CHECK(w.list("d").size() == kNames);
  const Ino dir = w.find("d");
  w.let_ttl_pass();
  w.objects->put_foreign("d/" + name_of(5000) + " between", Buffer::copy("new"));
  REQUIRE(remove_sync(*w.objects, "d/" + name_of(6000), Context()));
  const uint64_t before = w.requests();
  int found = 0;
  for (int n = 0; n < kNames; ++n) found += w.lookup(dir, name_of(n)) ? 1 : 0;
  CHECK(found == kNames - 1);
  const uint64_t once = w.requests() - before;
  // The first name alone, the others by the page; a little more when that takes longer than a
  // second.
  CHECK(once <= kNames / 1000 + 8);
  CHECK(w.lookup(dir, name_of(5000) + " between"));
}
