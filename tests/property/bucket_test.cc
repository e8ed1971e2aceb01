// The objects of a bucket as a tree of files: what is shown, what it costs, what a reader gets when
// an object is replaced under it.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <cerrno>
#include <functional>
#include <future>
#include <map>
#include <thread>

#include "cache/bucket_tree.h"
#include "cache/wait.h"
#include "tests/support/bucket_world.h"

using namespace cairn;
using namespace cairn::test;

namespace {

using Names = std::map<std::string, uint64_t>;

}  // namespace

TEST_CASE("objects are files, what their keys have in common are directories") {
  World w;
  w.put("a.txt", "hello");
  w.put("dir/b", "12");
  w.put("dir/sub/c", "");
  w.put("empty/", "");
  w.put("a-", "x");
  w.open();
  CHECK(w.list() == Names{{"a-", 1}, {"a.txt", 5}, {"dir/", 0}, {"empty/", 0}});
  CHECK(w.requests() == 1);
  CHECK(w.list("dir") == Names{{"b", 2}, {"sub/", 0}});
  CHECK(w.list("empty").empty());
  CHECK(w.requests() == 1);  // the first one had all that is below, too
  CHECK(w.read("a.txt") == "hello");
  CHECK(w.read("dir/sub/c").empty());
  CHECK(w.find("dir/none") == 0);
  CHECK(w.find("dir/b/c") == 0);
  const uint64_t before = w.requests();
  CHECK(w.read("a.txt") == "hello");
  CHECK(w.list() == Names{{"a-", 1}, {"a.txt", 5}, {"dir/", 0}, {"empty/", 0}});
  CHECK(w.requests() == before);

  const auto attr = w.lookup(kRootIno, "a.txt");
  REQUIRE(attr);
  CHECK(attr->mode == (S_IFREG | 0644));
  CHECK(attr->nlink == 1);
  CHECK(attr->allocated == 4096);
  CHECK(attr->mtime > 1'500'000'000'000'000'000);
  CHECK(w.xattr("dir/b", "user.s3.key") == "dir/b");
  CHECK(w.xattr("dir/b", "user.s3.etag") == "m2");
  CHECK(w.xattr("dir/b", "user.cairn.cid") == "none");
  CHECK(w.xattr("dir/b", "user.cairn.state") == "stored");
  CHECK(w.xattr("dir", "user.s3.key") == "none");
  const Status made = w.mount.run(
      [](Volume& v, Need& n) { return v.unlink(kRootIno, "a.txt", n); });
  REQUIRE_FALSE(made);
  CHECK(made.error().sys_errno() == EROFS);
}

TEST_CASE(
    "what is on its way for read-ahead is waited for, and what came meanwhile is not asked for") {
  World w;
  const std::string bytes = bytes_of(3 << 20, 5);
  w.put("file", bytes);
  w.open();
  const Ino ino = w.find("file");
  Engine& engine = w.mount.engine();
  const auto look = [&] {
    Need need;
    const auto read = engine.read(ino, {}, bytes.size(), 0, 64 << 10, need);
    CHECK_FALSE(read);
    REQUIRE(need.chunks.size() == 1);
    return need;
  };
  Need early = look();
  Need late = early;
  StoreFault hold;
  hold.kind = FaultKind::kHold;
  hold.ops = StoreOp::kGet;
  w.faults->add(hold);
  const uint64_t before = w.requests();
  engine.prefetch(ino, {}, 0, bytes.size());
  while (w.faults->held() == 0) std::this_thread::yield();
  std::promise<Status> read;
  engine.satisfy(std::move(early), Context(),
                 [&](Status done) { read.set_value(std::move(done)); });
  // Who loses patience does not wait for it.
  Context brief;
  brief.cancel.cancel();
  std::promise<Status> gave_up;
  engine.satisfy(look(), brief, [&](Status done) { gave_up.set_value(std::move(done)); });
  const Status lost = gave_up.get_future().get();
  REQUIRE_FALSE(lost);
  CHECK(lost.error().code() == Errc::kCancelled);
  w.faults->release();
  CHECK(read.get_future().get());
  CHECK(w.read_ino(ino, 0, bytes.size()) == bytes);
  CHECK(w.requests() - before == 1);

  std::promise<Status> again;
  engine.satisfy(std::move(late), Context(),
                 [&](Status done) { again.set_value(std::move(done)); });
  CHECK(again.get_future().get());
  CHECK(w.requests() - before == 1);
}

TEST_CASE("who waits for what another gave up asks for it") {
  World w;
  const std::string bytes = bytes_of(100 << 10, 6);
  w.put("file", bytes);
  w.open();
  const Ino ino = w.find("file");
  Engine& engine = w.mount.engine();
  Need need;
  CHECK_FALSE(engine.read(ino, {}, bytes.size(), 0, 64 << 10, need));
  StoreFault hold;
  hold.kind = FaultKind::kHold;
  hold.ops = StoreOp::kGet;
  w.faults->add(hold);
  Context first;
  std::promise<Status> gave_up;
  engine.satisfy(need, first, [&](Status done) { gave_up.set_value(std::move(done)); });
  while (w.faults->held() == 0) std::this_thread::yield();
  std::promise<Status> waited;
  engine.satisfy(need, Context(), [&](Status done) { waited.set_value(std::move(done)); });
  first.cancel.cancel();
  CHECK_FALSE(gave_up.get_future().get());
  CHECK(waited.get_future().get());  // to look again
  CHECK(w.read_ino(ino) == bytes);
}

TEST_CASE("keys that cannot be names are shown all the same, and read by what is shown") {
  World w;
  const std::string long_part(300, 'x');
  const std::string odd = "odd\x01\xff\n";
  const std::map<std::string, std::string> keys{
      {"/lead", "1"},       {"d//e", "22"},          {"d/./f", "333"},        {"d/../g", "4444"},
      {"a", "55555"},       {"a/b", "666666"},       {"m/", "marker"},        {"m/x", "7"},
      {"%key%.", "88"},     {odd, "999"},            {long_part, "ten"},      {"tail//", "eleven"},
      {long_part + "/y", "twelve"}};
  for (const auto& [key, bytes] : keys) w.put(key, bytes);
  w.open();
  std::map<std::string, std::string> seen;  // key to bytes
  const std::function<void(const std::string&)> walk = [&](const std::string& path) {
    for (const auto& [name, size] : w.list(path)) {
      const bool is_dir = name.back() == '/';
      const std::string below =
          (path.empty() ? "" : path + "/") + (is_dir ? name.substr(0, name.size() - 1) : name);
      if (is_dir) {
        walk(below);
      } else {
        seen[w.xattr(below, "user.s3.key")] = w.read(below);
      }
    }
  };
  walk("");
  CHECK(seen == keys);
  CHECK(w.read("%file%a") == "55555");
  CHECK(w.read("a/b") == "666666");
  CHECK(w.read("m/%marker%") == "marker");
  CHECK(w.read("d/%key%../g") == "4444");
}

TEST_CASE("a directory of many objects costs one request a thousand, and a single name costs one") {
  World w;
  for (int i = 0; i < 2500; ++i) w.put("d/" + std::to_string(10'000 + i), "x");
  w.put("d/z/x", "");
  w.open();
  CHECK(w.list("d").size() == 2501);
  CHECK(w.requests() == 3);  // the first one looked for its name
  CHECK(w.read("d/12000") == "x");
  CHECK(w.requests() == 4);
  w.mount.kill();

  // Unknown: the first name alone, the second one with the first page of names, which says that
  // there are more.
  w.open("/other");
  const uint64_t before = w.requests();
  CHECK(w.find("d/12499") != 0);
  CHECK(w.requests() == before + 2);
  CHECK(w.find("d/12499") != 0);
  CHECK(w.find("d/10001") != 0);  // beside the first ones below "d"
  CHECK(w.requests() == before + 2);
  CHECK(w.find("d/z/x") != 0);
  CHECK(w.requests() == before + 4);  // the next page of "d", then the name: x is with it
  CHECK(w.find("d/none") == 0);
  CHECK(w.find("d/none") == 0);
  CHECK(w.requests() == before + 5);
}

TEST_CASE("the rest of a very large directory is listed in several places at once") {
  World w;
  Names all;
  const auto rng = make_seeded_rng(3);
  const auto put = [&](std::string name) {
    w.put("d/" + name, "x");
    const size_t slash = name.find('/');
    all[name.substr(0, std::min(slash, name.size() - 1) + 1)] = slash == name.npos ? 1 : 0;
  };
  SUBCASE("of names that count up") {
    for (int i = 0; i < 40'000; ++i) put("img_" + std::to_string(100'000 + i) + ".jpg");
  }
  SUBCASE("of names from everywhere, directories among them") {
    const std::string characters = "0123456789abcdefXYZ-é";
    for (int i = 0; i < 38'000; ++i) {
      std::string name;
      for (int n = 0; n < 8; ++n) name += characters[rng->below(characters.size() - 2)];
      put(name + (i % 7 == 0 ? "/in" : i % 5 == 0 ? "é" : ""));
    }
  }
  w.open();
  CHECK(w.list("d") == all);
  const auto pages = (all.size() + 999) / 1000;
  CHECK(w.requests() > pages + 1);  // some guesses were wrong
  CHECK(w.requests() <= pages + 27);
  const uint64_t before = w.requests();
  CHECK(w.find("d/" + all.rbegin()->first.substr(0, all.rbegin()->first.find('/'))) != 0);
  CHECK(w.requests() == before);
  // Several are under way at once: the first one that waits keeps no other from waiting.
  w.mount.kill();
  w.open("/held");
  w.faults->add({.kind = FaultKind::kHold, .ops = StoreOp::kList, .skip = 33, .count = 3});
  auto lists = std::async(std::launch::async, [&] { return w.list("d"); });
  for (int i = 0; i < 3000 && w.faults->held() < 3; ++i)
    REQUIRE(pause(w.io, system_clock(), std::chrono::milliseconds(10), Context()));
  CHECK(w.faults->held() == 3);
  w.faults->release();
  CHECK(lists.get() == all);
  // One that is late while others are answered is asked again.
  w.mount.kill();
  w.open("/late");
  w.faults->add({.ops = StoreOp::kList,
                 .skip = 36,
                 .delay = std::chrono::milliseconds(200),
                 .code = Errc::kTimeout});
  const uint64_t hits = w.faults->hits();
  CHECK(w.list("d") == all);
  CHECK(w.faults->hits() == hits + 1);
  // An error of one of them is the listing's.
  w.mount.kill();
  w.open("/other");
  w.faults->add({.ops = StoreOp::kList, .skip = 36, .code = Errc::kPermission});
  const auto dir =
      w.mount.run([ino = w.find("d")](Volume& v, Need& n) { return v.open_dir(ino, n); });
  REQUIRE(dir);
  const auto page =
      w.mount.run([&](Volume& v, Need& n) { return v.readdir(*dir, 0, 100, true, n); });
  CHECK_FALSE(page);
  w.mount.volume().release_dir(*dir);
  CHECK(w.list("d") == all);
}

TEST_CASE("who walks a tree of small directories asks once for a thousand objects") {
  World w;
  const auto folder = [](int n) { return "t/" + std::to_string(100 + n); };
  for (int n = 0; n < 60; ++n)
    for (int i = 0; i < 45; ++i) w.put(folder(n) + "/" + std::to_string(10 + i), "x");
  w.put("u/x", "");
  w.open();
  const auto walk = [&] {
    const uint64_t before = w.requests();
    CHECK(w.list("t").size() == 60);
    for (int n = 0; n < 60; ++n) {
      CHECK(w.list(folder(n)).size() == 45);
      CHECK(w.find(folder(n) + "/54") != 0);
    }
    return w.requests() - before;
  };
  CHECK(walk() == 3);
  CHECK(walk() == 0);

  // A walk that begins in the middle: from the second small directory on they come together.
  w.mount.kill();
  w.open("/other");
  const uint64_t before = w.requests();
  for (int n = 10; n < 60; ++n) CHECK(w.list(folder(n)).size() == 45);
  CHECK(w.requests() - before <= 5);

  // What others do in the meantime is seen when the TTL has passed, as with any listing.
  w.mount.kill();
  w.mount.options.objects->metadata_ttl = std::chrono::seconds(1);
  w.open("/fresh");
  walk();
  w.put(folder(3) + "/new", "xy");
  w.put("t/1005/y", "");
  for (int i = 0; i < 45; ++i)
    REQUIRE(remove_sync(*w.objects, folder(7) + "/" + std::to_string(10 + i), Context()));
  w.let_ttl_pass();
  CHECK(w.list("t").size() == 60);
  CHECK(w.list(folder(3)).size() == 46);
  CHECK(w.find(folder(7)) == 0);
  CHECK(w.find("t/1005/y") != 0);
}

TEST_CASE("a replaced object is another file; who reads the old one gets ESTALE, never a mixture") {
  World w;
  const std::string first(3'000'000, 'a');
  const std::string second(3'000'000, 'b');
  w.put("f", first);
  w.open();
  const Ino ino = w.find("f");
  CHECK(w.read_ino(ino, 0, 10) == std::string(10, 'a'));
  w.put("f", second);
  CHECK(w.read_ino(ino, 0, 10) == std::string(10, 'a'));  // it is here
  const auto rest = w.read_ino(ino, 2'500'000, 10);
  REQUIRE_FALSE(rest);
  CHECK(rest.error().sys_errno() == ESTALE);
  // It was noticed: the next look finds the new one, whatever the TTL.
  const Ino now = w.find("f");
  CHECK(now != 0);
  CHECK(now != ino);
  CHECK(w.read_ino(now, 2'999'990) == std::string(10, 'b'));
  CHECK_FALSE(w.read_ino(ino, 0, 10));
  const auto changes = w.mount.engine().remote().follow(Context());
  REQUIRE(changes);
  CHECK(changes->moved);
}

TEST_CASE("what comes, goes and changes its kind is seen after the TTL") {
  World w;
  w.mount.options.objects->metadata_ttl = std::chrono::seconds(1);
  w.put("a", "1");
  w.put("b/x", "2");
  w.put("c", "3");
  w.open();
  CHECK(w.list() == Names{{"a", 1}, {"b/", 0}, {"c", 1}});
  const Ino same = w.find("c");
  REQUIRE(remove_sync(*w.objects, "b/x", Context()));
  REQUIRE(remove_sync(*w.objects, "a", Context()));
  w.put("a/y", "44");
  w.put("b", "555");
  w.put("c/z", "6");
  w.let_ttl_pass();
  CHECK(w.list() == Names{{"a/", 0}, {"b", 3}, {"c/", 0}, {"%file%c", 1}});
  CHECK(w.find("%file%c") == same);
  CHECK(w.read("a/y") == "44");
  REQUIRE(remove_sync(*w.objects, "c/z", Context()));
  w.let_ttl_pass();
  CHECK(w.list() == Names{{"a/", 0}, {"b", 3}, {"c", 1}});
  CHECK(w.find("c") == same);
}

TEST_CASE("names and content outlive the mount, and the store's absence") {
  World w;
  w.mount.options.objects->metadata_ttl = std::chrono::seconds(1);
  w.put("dir/f", "content");
  w.open();
  CHECK(w.read("dir/f") == "content");
  const Ino ino = w.find("dir/f");
  REQUIRE(w.mount.close());
  w.let_ttl_pass();
  w.faults->add({.kind = FaultKind::kFail, .count = FaultyStore::kForever});
  w.open();
  CHECK(w.find("dir/f") == ino);
  CHECK(w.list("dir") == Names{{"f", 7}});
  w.faults->clear();
  w.mount.kill();
}

TEST_CASE("what the store refuses is said, and asked for again next time") {
  World w;
  for (int i = 0; i < 3; ++i) w.put("d/" + std::to_string(i), "x");
  w.open();
  w.faults->add({.kind = FaultKind::kFail, .count = 1, .code = Errc::kPermission});
  const auto refused = w.lookup(kRootIno, "d");
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == Errc::kPermission);
  CHECK(w.list("d").size() == 3);
}

TEST_CASE("a clock that is set back during a listing takes no name away") {
  struct SteppingClock final : Clock {
    MonotonicTime now() override { return MonotonicTime(Duration(++ticks)); }
    int64_t wall_ns() override { return wall + ticks; }
    int64_t ticks = 0;
    int64_t wall = 1'700'000'000'000'000'000;
  } clock;
  BucketTree tree(make_memory_meta_store(), clock);
  const auto list = [&](const std::vector<std::string>& keys) {
    const int64_t started = tree.now_ns();
    ListPage page;
    for (const std::string& key : keys) page.objects.push_back({key, 1, "etag", 1});
    REQUIRE(tree.note_page(BucketTree::kRoot, "", page, tree.now_ns()));
    clock.wall -= 3'600'000'000'000;
    REQUIRE(tree.finish_listing(BucketTree::kRoot, started, 1));
    std::vector<std::string> names;
    const auto entries = tree.entries(BucketTree::kRoot, "", 10);
    REQUIRE(entries);
    for (const auto& each : *entries) names.push_back(each.name);
    return names;
  };
  CHECK(list({"a", "b"}) == std::vector<std::string>{"a", "b"});
  CHECK(list({"b", "c"}) == std::vector<std::string>{"b", "c"});
}
