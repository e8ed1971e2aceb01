// Where a tree of files has what a bucket has no word for: its root, keys that no path can say,
// names that are a file's and then a directory's.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <cerrno>
#include <map>
#include <set>
#include <string>

#include "cache/base/coding.h"
#include "tests/support/bucket_world.h"

using namespace cairn;
using namespace cairn::test;

TEST_CASE("what is set of the mounted directory itself stays, and is no object") {
  Writer w;
  w.write("f", "x");
  const auto attr = [&w] {
    return w.mount.run([](Volume& v, Need& n) { return v.getattr(kRootIno, n); });
  };
  CHECK(attr()->mtime > 0);
  AttrChange change;
  change.mode = 0700;
  change.mtime = 1'577'836'800'000'000'000;
  w.must([&](Volume& v, Need& n) { return v.setattr(kRootIno, change, n); });
  w.flush();
  CHECK(attr()->mode == (S_IFDIR | 0700));
  CHECK(attr()->mtime == 1'577'836'800'000'000'000);
  CHECK(w.keys() == std::set<std::string>{"f"});
  REQUIRE(w.mount.close());
  w.open();
  CHECK(attr()->mode == (S_IFDIR | 0700));
}

TEST_CASE("a key that is only read holds nothing else back") {
  Writer w;
  w.put("a//b", "old b");
  w.put("a//gone", "old gone");
  w.put("c/./d", "old d");
  w.write("a/%key%/b", "new b");
  w.mkdir("a/%key%/dir");
  w.write("a/%key%/dir/e", "e");
  w.rename("c/%key%./d", "moved");
  w.unlink("a/%key%/gone");
  w.write("plain", "plain");
  w.flush();
  std::map<std::string, std::string> below_top;
  for (const auto& [key, bytes] : w.bucket()) {
    if (!key.starts_with("recovered-")) below_top.emplace(key, bytes);
  }
  CHECK(below_top == std::map<std::string, std::string>{{"a//b", "old b"},
                                                        {"a//gone", "old gone"},
                                                        {"c/./d", "old d"},
                                                        {"moved", "old d"},
                                                        {"plain", "plain"}});
  std::set<std::string> recovered;
  for (const auto& [key, bytes] : w.bucket())
    if (key.starts_with("recovered-") && !key.ends_with('/')) recovered.insert(bytes);
  CHECK(recovered == std::set<std::string>{"new b", "e"});
}

TEST_CASE("a name that something leaves can be a directory's at once") {
  Writer w;
  w.write("f", "in itself");
  w.flush();
  w.rename("f", "aside");
  w.mkdir("f");
  w.rename("aside", "f/f");
  // Not every store keeps an object beside others below its key: it is gone before they come.
  w.refuse(StoreOp::kPut, "f/");
  CHECK_FALSE(w.try_flush());
  CHECK(w.keys() == std::set<std::string>{"aside"});
  w.faults->clear();
  w.flush();
  CHECK(w.bucket() == std::map<std::string, std::string>{{"f/", ""}, {"f/f", "in itself"}});
}

TEST_CASE("keys that are longer than a row's are written, moved and removed like all others") {
  Writer w;
  const std::string dir = std::string(250, 'd');
  const std::string deep = dir + "/" + dir + "/" + dir;
  w.mkdir(dir);
  w.mkdir(dir + "/" + dir);
  w.mkdir(deep);
  w.write(deep + "/one", "1");
  w.write(deep + "/two", "2");
  w.flush();
  CHECK(w.object_bytes(deep + "/one") == "1");
  w.rename(deep + "/one", deep + "/first");
  w.rename(deep + "/two", "two");
  w.unlink("two");
  w.flush();
  w.rename(dir, "short");
  w.flush();
  const std::string moved = "short/" + dir + "/" + dir;
  CHECK(w.keys() ==
        std::set<std::string>{"short/", "short/" + dir + "/", moved + "/", moved + "/first"});
  w.look_from_elsewhere([&] { CHECK(w.read(moved + "/first") == "1"); });
}

TEST_CASE("where keys are UTF-8 no other name is made") {
  Writer w;
  REQUIRE(w.mount.close());
  w.mount.options.objects->only_utf8 = true;
  w.open();
  w.write("caf\xc3\xa9", "text");
  const std::string latin = "caf\xe9";
  const auto refused = [&](const auto& op) {
    const auto done = w.mount.run(op);
    return done ? 0 : done.error().sys_errno();
  };
  // Nothing is asked for.
  const uint64_t before = w.requests();
  CHECK(w.find(latin) == 0);
  CHECK(w.requests() == before);
  CHECK(refused([&](Volume& v, Need& n) { return v.create(kRootIno, latin, 0644, kCaller, n); }) ==
        EILSEQ);
  CHECK(refused([&](Volume& v, Need& n) { return v.mkdir(kRootIno, latin, 0755, kCaller, n); }) ==
        EILSEQ);
  CHECK(refused([&](Volume& v, Need& n) {
          return v.symlink(kRootIno, latin, "target", kCaller, n);
        }) == EILSEQ);
  CHECK(w.try_rename("caf\xc3\xa9", latin) == EILSEQ);
  w.flush();
  CHECK(w.keys() == std::set<std::string>{"caf\xc3\xa9"});
}

TEST_CASE("a name that is not UTF-8 and was taken before holds nothing back") {
  Writer w;
  w.mkdir("d\xff");
  w.write("d\xff/below", "of a directory");
  w.write("caf\xe9", "latin");
  w.write("plain", "plain");
  w.mount.kill();
  w.mount.options.objects->only_utf8 = true;
  w.open();
  w.flush();
  std::map<std::string, std::string> files;
  for (const auto& [key, bytes] : w.bucket()) {
    CHECK(is_utf8(key));
    if (!key.ends_with('/')) files[bytes] = key;
  }
  CHECK(files.at("plain") == "plain");
  CHECK(files.at("latin").ends_with("-caf%E9"));
  CHECK(files.at("of a directory").ends_with("-d%FF/below"));
}

TEST_CASE("a long name beside theirs is cut between characters") {
  std::string name;
  while (name.size() < 240) name += "\xc3\xa9";
  for (const std::string& first : {std::string(), std::string("x")}) {
    Writer w;
    w.write(first + name + ".txt", "ours");
    w.put_by_other(first + name + ".txt", "theirs");
    w.flush();
    CHECK(w.keys().size() == 2);
    for (const std::string& key : w.keys()) {
      CHECK(is_utf8(key));
      CHECK(key.ends_with(".txt"));
    }
  }
}
