// Files that --filter-upload holds: they stay here, whatever happens, and go when they may.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/support/holder.h"

using namespace cairn;
using namespace cairn::test;

TEST_CASE("what is held stays here, is said apart, and waits for nothing") {
  Holder w(kNoTmp);
  w.write("a", "uploaded");
  w.write("b.tmp", "held");
  w.write("large.tmp", bytes_of(100'000, 1));
  w.write("large.tmp", "X", 50'000);
  w.flush();
  CHECK(w.keys() == std::set<std::string>{"a"});
  CHECK(w.state("a") == "stored");
  CHECK(w.state("b.tmp") == "held");
  CHECK(w.held() == 2);
  CHECK(w.mount.engine().kept_back().bytes == 100'004);
  CHECK(w.mount.engine().pending().files == 0);
  CHECK(w.mount.engine().pending().bytes == 0);
  CHECK(w.read("b.tmp") == "held");
  std::string large = bytes_of(100'000, 1);
  large[50'000] = 'X';
  CHECK(w.read("large.tmp") == large);
  // The journal does not keep it.
  const uint64_t before = w.mount.engine().cache_bytes();
  for (int i = 0; i < 300; ++i) {
    w.write("a", bytes_of(7000, static_cast<unsigned>(i)));
    w.flush();
  }
  CHECK(w.mount.engine().cache_bytes() < before + (24 << 20));

  for (const bool dies : {false, true, false}) {
    if (dies) {
      w.die_and_mount_with(kNoTmp);
    } else {
      w.mount_with(kNoTmp);
    }
    CHECK(w.held() == 2);
    CHECK(w.state("b.tmp") == "held");
    CHECK(w.read("b.tmp") == "held");
    CHECK(w.read("large.tmp") == large);
    w.settle();
    CHECK(w.keys() == std::set<std::string>{"a"});
  }
  // Another mount sees nothing of it.
  w.mount_with({});
  w.settle();
  CHECK(w.held() == 0);
  CHECK(w.state("b.tmp") == "stored");
  CHECK(w.object_bytes("b.tmp") == "held");
  CHECK(w.object_bytes("large.tmp") == large);
  CHECK(w.read("large.tmp") == large);
  w.die_and_mount_with({});
  CHECK(w.read("large.tmp") == large);
  CHECK(w.read("b.tmp") == "held");
}

TEST_CASE("a held file that gets another name goes, and the other way round") {
  Holder w(kNoTmp);
  w.write("doc.tmp", "new text");
  w.flush();
  w.rename("doc.tmp", "doc");
  w.flush();
  CHECK(w.bucket() == std::map<std::string, std::string>{{"doc", "new text"}});
  CHECK(w.held() == 0);
  // As editors do it, over one that is there.
  w.write("doc.tmp", "newer text");
  w.flush();
  w.rename("doc.tmp", "doc");
  w.flush();
  CHECK(w.bucket() == std::map<std::string, std::string>{{"doc", "newer text"}});
  CHECK(w.read("doc") == "newer text");
  // What the bucket has is renamed there; what is written then is held.
  w.rename("doc", "doc.tmp");
  w.flush();
  CHECK(w.bucket() == std::map<std::string, std::string>{{"doc.tmp", "newer text"}});
  w.write("doc.tmp", "NEWER");
  w.flush();
  CHECK(w.state("doc.tmp") == "held");
  CHECK(w.object_bytes("doc.tmp") == "newer text");
  CHECK(w.read("doc.tmp") == "NEWER text");
  w.rename("doc.tmp", "again.tmp");
  w.flush();
  CHECK(w.bucket() == std::map<std::string, std::string>{{"again.tmp", "newer text"}});
  CHECK(w.read("again.tmp") == "NEWER text");
  w.die_and_mount_with(kNoTmp);
  CHECK(w.read("again.tmp") == "NEWER text");
  w.rename("again.tmp", "done");
  w.flush();
  CHECK(w.bucket() == std::map<std::string, std::string>{{"done", "NEWER text"}});
  CHECK(w.mount.opened().bucket->conflicts() == 0);
}

TEST_CASE("a directory that moves takes what is held in it along, and lets it go") {
  Holder w({"!/tmp/**"});
  w.mkdir("tmp");
  w.mkdir("tmp/d");
  w.write("tmp/d/f", "bytes");
  w.flush();
  CHECK(w.keys() == std::set<std::string>{"tmp/", "tmp/d/"});
  w.rename("tmp/d", "out");
  w.settle();
  CHECK(w.object_bytes("out/f") == "bytes");
  CHECK(w.held() == 0);
  w.write("out/f", "more!");
  w.rename("out", "tmp/in");
  w.settle();
  CHECK(w.read("tmp/in/f") == "more!");
}

TEST_CASE("what may go while its directory moves is not lost") {
  Holder w({"!/tmp/**"});
  w.mkdir("tmp");
  w.mkdir("tmp/d");
  w.write("tmp/d/f", "bytes");
  w.flush();
  CHECK(w.held() == 1);
  for (const bool dies : {true, false}) {
    CAPTURE(dies);
    if (dies) {
      w.die_and_mount_with({});
    } else {
      w.mount_with({});
    }
    w.rename("tmp/d", "out");
    w.settle();
    CHECK(w.object_bytes("out/f") == "bytes");
    CHECK(w.read("out/f") == "bytes");
    CHECK(w.held() == 0);
    w.rename("out", "tmp/d");
    w.mount_with({"!/tmp/**"});
    w.write("tmp/d/f", "BYTES");
    w.flush();
    CHECK(w.held() == 1);
    w.write("tmp/d/f", "bytes");
  }
}

TEST_CASE("what is held can be removed, cut, extended and be a link") {
  Holder w(kNoTmp);
  w.put_by_other("theirs.tmp", bytes_of(600'000, 7));
  w.write("a.tmp", bytes_of(300'000, 1));
  w.write("gone.tmp", "gone");
  const std::string target(3000, 't');
  w.must([&](Volume& v, Need& n) { return v.symlink(kRootIno, "l.tmp", target, kCaller, n); });
  w.write("theirs.tmp", "changed", 500'000);
  w.truncate("theirs.tmp", 550'000);
  w.flush();
  CHECK(w.held() == 4);
  w.truncate("a.tmp", 1000);
  w.truncate("a.tmp", 200'000);
  w.truncate("theirs.tmp", 400'000);
  w.truncate("theirs.tmp", 520'000);
  w.unlink("gone.tmp");
  w.flush();
  CHECK(w.held() == 3);
  w.truncate("a.tmp", 250'000);
  w.truncate("theirs.tmp", 530'000);
  w.die_and_mount_with(kNoTmp);
  w.flush();
  const std::string a = bytes_of(300'000, 1).substr(0, 1000) + std::string(249'000, '\0');
  const std::string theirs = bytes_of(600'000, 7).substr(0, 400'000) + std::string(130'000, '\0');
  CHECK(w.read("a.tmp") == a);
  CHECK(w.read("theirs.tmp") == theirs);
  CHECK(w.object_bytes("theirs.tmp") == bytes_of(600'000, 7));
  w.mount_with({});
  w.settle();
  CHECK(w.object_bytes("a.tmp") == a);
  CHECK(w.object_bytes("theirs.tmp") == theirs);
  CHECK(w.object_bytes("l.tmp") == target);
  CHECK(w.object_bytes("gone.tmp") == "none");
}

TEST_CASE("a name that a held file leaves for another held file is that one's") {
  Holder w(kNoTmp);
  w.write("a.tmp", "first");
  w.flush();
  w.rename("a.tmp", "a");
  w.write("a.tmp", "second");
  w.flush();
  CHECK(w.bucket() == std::map<std::string, std::string>{{"a", "first"}});
  CHECK(w.read("a.tmp") == "second");
  CHECK(w.held() == 1);
  w.die_and_mount_with(kNoTmp);
  CHECK(w.read("a.tmp") == "second");
  w.mount_with({});
  w.settle();
  CHECK(w.object_bytes("a.tmp") == "second");
}

TEST_CASE("a batch that has one name of several sends no file without its content") {
  Holder w(kNoTmp);
  REQUIRE(w.mount.close());
  w.mount.options.engine.fold.records_max = 1;
  w.open();
  w.write("a.tmp", "content");
  w.flush();
  CHECK(w.held() == 1);
  w.rename("a.tmp", "a");
  w.rename("a", "b.tmp");
  w.flush();
  CHECK(w.keys().empty());
  CHECK(w.read("b.tmp") == "content");
  w.rename("b.tmp", "b");
  w.rename("b", "c");
  w.flush();
  CHECK(w.bucket() == std::map<std::string, std::string>{{"c", "content"}});
  w.write("d.tmp", "gone");
  w.flush();
  w.rename("d.tmp", "d");
  w.unlink("d");
  w.flush();
  CHECK(w.keys() == std::set<std::string>{"c"});
  CHECK(w.held() == 0);
}

TEST_CASE("what a held file has in common with others stays when these go") {
  Holder w(kNoTmp);
  const std::string target(300, 't');
  const auto link = [&](const char* name) {
    w.must([&](Volume& v, Need& n) { return v.symlink(kRootIno, name, target, kCaller, n); });
  };
  const auto read_link = [&](const char* name) {
    const auto there =
        w.mount.run([&, ino = w.find(name)](Volume& v, Need& n) { return v.readlink(ino, n); });
    return there ? *there : there.error().message();
  };
  link("a.tmp");
  link("b.tmp");
  w.flush();
  CHECK(w.held() == 2);
  // One that is not held, and one that was.
  link("c");
  w.flush();
  CHECK(w.object_bytes("c") == target);
  CHECK(read_link("a.tmp") == target);
  w.rename("a.tmp", "a");
  w.flush();
  CHECK(w.object_bytes("a") == target);
  CHECK(read_link("b.tmp") == target);
  w.die_and_mount_with(kNoTmp);
  CHECK(read_link("b.tmp") == target);
  w.rename("b.tmp", "b");
  w.flush();
  CHECK(w.object_bytes("b") == target);
}

TEST_CASE("a file that is written all the time goes when it may") {
  Holder w(kNoTmp);
  w.write("log.tmp", bytes_of(20'000, 1));
  w.flush();
  w.rename("log.tmp", "log");
  w.write("log", "tail", 20'000);
  // The batch ends before this, which is in the object all the same, or in the next one.
  w.flush();
  w.write("log", "more", 20'004);
  CHECK(w.held() == 0);
  w.flush();
  CHECK(w.object_bytes("log") == bytes_of(20'000, 1) + "tailmore");
}

TEST_CASE("held bytes count as what waits: writers wait, and are told why") {
  Holder w(kNoTmp);
  REQUIRE(w.mount.close());
  w.mount.options.engine.pending_bytes_max = 4 << 20;
  w.mount.options.engine.stall_timeout = std::chrono::milliseconds(100);
  w.open();
  const std::string bytes = bytes_of(1 << 20, 1);
  for (int i = 0; i < 3; ++i) w.write("f" + std::to_string(i) + ".tmp", bytes);
  w.flush();
  const auto handle = w.open_file("more");
  REQUIRE(handle);
  Status written;
  for (int i = 0; i < 4 && written; ++i)
    written =
        w.mount.run([&](Volume& v, Need& n) { return v.write(*handle, 0, as_bytes(bytes), n); });
  REQUIRE_FALSE(written);
  CHECK(written.error().sys_errno() == ENOSPC);
  CHECK(written.error().message().find("held back by --filter-upload") != std::string::npos);
  w.mount.volume().release_file(*handle);
  REQUIRE(w.mount.run([&](Volume& v, Need& n) { return v.unlink(kRootIno, "f0.tmp", n); }));
  w.flush();
  w.write("more", "fits");
  w.flush();
  CHECK(w.read("f1.tmp") == bytes);
}

TEST_CASE(
    "a cache that holds files is not mounted read-only, nor are their directories forgotten") {
  Holder w(kNoTmp);
  w.put_by_other("d/theirs", "x");
  w.write("d/f.tmp", "held");
  w.flush();
  REQUIRE(w.mount.close());
  w.mount.options.engine.read_only = true;
  CHECK_FALSE(w.mount.open("/cache"));
  w.mount.options.engine.read_only = false;
  w.mount.options.objects->metadata_ttl = std::chrono::seconds(1);
  w.open();
  // Somebody removes all that the directory had.
  REQUIRE(remove_sync(*w.objects, "d/theirs", Context()));
  w.let_ttl_pass();
  w.list();
  CHECK(w.read("d/f.tmp") == "held");
}

TEST_CASE("a mount that cannot tell what is held does not begin") {
  Holder w(kNoTmp);
  w.write("f.tmp", "held");
  w.flush();
  w.mount.engine().live().put_state("kept/f", "?");
  REQUIRE(w.mount.close());
  const Status opened = w.mount.open("/cache");
  REQUIRE_FALSE(opened);
  CHECK(opened.error().code() == Errc::kCorruption);
}

TEST_CASE("eviction leaves what is held") {
  Holder w(kNoTmp);
  REQUIRE(w.mount.close());
  w.mount.options.cache_bytes_max = 64ULL << 20;
  const auto big = [](int i) { return "big" + std::to_string(i); };
  for (int i = 0; i < 5; ++i) w.put_by_other(big(i), std::string(30 << 20, 'x'));
  w.open();
  const std::string bytes = bytes_of(5 << 20, 3);
  w.write("held.tmp", bytes);
  w.write("small.tmp", "small");
  w.flush();
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 5; ++i) {
      const Ino ino = w.find(big(i));
      REQUIRE(ino != 0);
      for (uint64_t at = 0; at < 30; ++at) {
        const auto read = w.read_ino(ino, at << 20, 1 << 20);
        REQUIRE(read);
        CHECK(read->size() == 1 << 20);
      }
    }
    CHECK(w.read_ino(w.find("held.tmp"), 0, 5 << 20).value_or("") == bytes);
    CHECK(w.read("small.tmp") == "small");
    w.die_and_mount_with(kNoTmp);
  }
  w.mount_with({});
  w.settle();
  CHECK(w.object_bytes("held.tmp") == bytes);
}

TEST_CASE("whatever is done, nothing that is held is lost, and what is not held is in the bucket") {
  const char* profile = std::getenv("CAIRN_TEST_PROFILE");
  const unsigned seeds = profile != nullptr && std::string(profile) == "full" ? 300 : 12;
  const std::vector<Rules> rule_sets{
      {"!/**5"}, {"!/**5", "!/**3/**"}, {}, {"!/**4", "/**[hdr:content-length>600]"}};
  for (unsigned seed = 1; seed <= seeds; ++seed) {
    CAPTURE(seed);
    const auto rng = make_seeded_rng(seed);
    Rules rules = rule_sets[rng->below(rule_sets.size())];
    Holder w(rules);
    // Batches may end anywhere, also while nothing of them is done yet.
    REQUIRE(w.mount.close());
    if (rng->below(3) == 0) w.mount.options.engine.fold.records_max = 1 + rng->below(4);
    w.open();
    std::map<std::string, std::string> model;
    std::set<std::string> dirs{""};
    const auto pick = [&](const auto& from) {
      auto it = from.begin();
      std::advance(it, static_cast<long>(rng->below(from.size())));
      return *it;
    };
    const auto fresh = [&] {
      const std::string dir = pick(dirs);
      return dir + (dir.empty() ? "" : "/") + "n" + std::to_string(rng->below(6));
    };
    const auto below = [](const std::string& path, const std::string& dir) {
      return path.starts_with(dir + "/");
    };
    const auto check_reads = [&] {
      for (const auto& [path, bytes] : model) {
        CAPTURE(path);
        CHECK(w.read_ino(w.find(path), 0, 1 << 20).value_or("error") == bytes);
      }
    };
    const auto check_bucket = [&](bool all) {
      w.settle();
      FilterPolicies policies;
      for (const std::string& rule : rules) REQUIRE(policies.upload.add(rule));
      const auto bucket = w.bucket();
      for (const auto& [key, bytes] : bucket) {
        CAPTURE(key);
        if (!key.ends_with('/')) CHECK(model.contains(key));
      }
      for (const auto& [path, bytes] : model) {
        FilterSubject subject{.bucket = {},
                              .key = path,
                              .path = path,
                              .size = bytes.size(),
                              .content_type = nullptr,
                              .metadata = nullptr,
                              .tags = nullptr,
                              .bucket_tags = nullptr};
        CAPTURE(path);
        const bool held = w.state(path) == "held";
        const bool may_go = *policies.upload.ask(subject).included;
        if (may_go || all) CHECK_FALSE(held);
        if (held) continue;
        const auto there = bucket.find(path);
        REQUIRE(there != bucket.end());
        CHECK(there->second == bytes);
      }
    };
    for (int step = 0; step < 150; ++step) {
      switch (rng->below(9)) {
        case 0:
        case 1:
        case 2: {
          const std::string path = fresh();
          if (dirs.contains(path)) break;
          const uint64_t offset = rng->below(3) == 0 ? rng->below(400'000) : 0;
          const std::string bytes = bytes_of(1 + rng->below(20'000), static_cast<unsigned>(step));
          w.write(path, bytes, offset);
          std::string& there = model[path];
          there.resize(std::max<size_t>(there.size(), offset + bytes.size()));
          there.replace(offset, bytes.size(), bytes);
          break;
        }
        case 3: {
          const std::string path = fresh();
          if (dirs.contains(path) || model.contains(path)) break;
          w.mkdir(path);
          dirs.insert(path);
          break;
        }
        case 4: {
          if (model.empty()) break;
          const std::string path = pick(model).first;
          if (rng->below(3) == 0) {
            w.unlink(path);
            model.erase(path);
          } else {
            const uint64_t size = rng->below(30'000);
            w.truncate(path, size);
            model[path].resize(size);
          }
          break;
        }
        case 5: {
          if (model.empty()) break;
          const auto [from, bytes] = pick(model);
          const std::string to = fresh();
          if (dirs.contains(to) || to == from) break;
          w.rename(from, to);
          model.erase(from);
          model[to] = bytes;
          break;
        }
        case 6: {
          const std::string from = pick(dirs);
          const std::string to = fresh();
          if (from.empty() || to == from || below(to, from) || dirs.contains(to) ||
              model.contains(to))
            break;
          w.rename(from, to);
          const auto moved = [&](const std::string& path) { return to + path.substr(from.size()); };
          std::map<std::string, std::string> files;
          for (const auto& [path, bytes] : model)
            files[below(path, from) ? moved(path) : path] = bytes;
          model = files;
          std::set<std::string> there;
          for (const std::string& path : dirs)
            there.insert(path == from || below(path, from) ? moved(path) : path);
          dirs = there;
          break;
        }
        default:
          if (rng->below(3) == 0) w.flush();
          if (rng->below(3) == 0) REQUIRE(w.mount.engine().publish_once(false, Context()));
          if (rng->below(8) == 0) {
            if (rng->below(2) == 0) rules = rule_sets[rng->below(rule_sets.size())];
            if (rng->below(2) == 0) {
              w.die_and_mount_with(rules);
            } else {
              w.mount_with(rules);
            }
            check_reads();
          }
          if (rng->below(12) == 0) check_bucket(false);
      }
    }
    check_reads();
    check_bucket(false);
    rules = {};
    w.die_and_mount_with(rules);
    check_reads();
    check_bucket(true);
    CHECK(w.held() == 0);
    CHECK(w.mount.opened().bucket->conflicts() == 0);
    check_reads();
  }
}
