// Filters on a mount of objects: what is shown, cached, pinned and fetched whole.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <cerrno>
#include <set>
#include <string>
#include <vector>

#include "cache/wait.h"
#include "tests/support/bucket_world.h"

using namespace cairn;
using namespace cairn::test;

namespace {

using Rules = std::vector<std::string>;

struct Filtered : Writer {
  explicit Filtered(const std::function<void(FilterPolicies&)>& set) { mount_with(set); }
  void mount_with(const std::function<void(FilterPolicies&)>& set,
                  const std::string& cache = "/filtered") {
    REQUIRE(mount.close());
    FilterPolicies policies;
    set(policies);
    mount.options.objects->filters.policies = std::make_shared<const FilterPolicies>(policies);
    mount.options.objects->filters.bucket = "photos";
    open(cache);
  }
  static void add(Filter& filter, const Rules& rules) {
    for (const std::string& rule : rules) {
      const Status added = filter.add(rule);
      REQUIRE_MESSAGE(added, (added ? "" : added.error().message()));
    }
  }
  std::set<std::string> names(const std::string& path = "") {
    std::set<std::string> out;
    for (const auto& [name, size] : list(path)) out.insert(name);
    return out;
  }
  FileStatus status(const std::string& path) {
    const auto found = mount.engine().file_status(find(path));
    REQUIRE(found);
    return *found;
  }
  HandleId open_handle(const std::string& path) {
    const auto handle = open_file(path);
    REQUIRE_MESSAGE(handle, path);
    return *handle;
  }
  void read_all(HandleId handle, uint64_t size) {
    for (uint64_t at = 0; at < size; at += 1 << 20)
      must([&](Volume& v, Need& n) { return v.read(handle, at, 1 << 20, n); });
  }
  uint64_t cached(const std::string& path) { return status(path).cached_bytes; }
  template <class Done>
  void wait_for(const Done& done) {
    for (int i = 0; i < 2000 && !done(); ++i)
      REQUIRE(pause(io, system_clock(), std::chrono::milliseconds(10), Context()));
    CHECK(done());
  }
  int refused(const std::string& path, bool makes_dir) {
    const auto made = mount.run([&](Volume& v, Need& n) -> Status {
      const Ino dir = dir_of(path);
      const std::string name = split(path).second;
      if (makes_dir) {
        TRY(v.mkdir(dir, name, 0755, kCaller, n));
      } else {
        TRY_ASSIGN(const auto created, v.create(dir, name, 0644, kCaller, n));
        v.release_file(created.handle);
      }
      return {};
    });
    return made ? 0 : made.error().sys_errno();
  }
};

}  // namespace

TEST_CASE("what a rule excludes is not there, and directories above what is are") {
  Filtered w([](FilterPolicies& p) {
    Filtered::add(p.visible, {"/a/b/*.txt", "/small/**[hdr:content-length<10]", "!/**/secret*"});
  });
  for (const char* key :
       {"a/b/x.txt", "a/b/x.jpg", "a/c/x.txt", "other/x.txt", "small/s", "a/b/secret.txt", "top"})
    w.put_by_other(key, "bytes");
  w.put_by_other("small/large", "more than ten bytes");
  CHECK(w.names() == std::set<std::string>{"a/", "small/"});
  CHECK(w.names("a") == std::set<std::string>{"b/"});
  CHECK(w.names("a/b") == std::set<std::string>{"x.txt"});
  CHECK(w.names("small") == std::set<std::string>{"s"});
  CHECK(w.read("a/b/x.txt") == "bytes");
  for (const char* path : {"top", "other", "a/c", "a/b/x.jpg", "a/b/secret.txt", "small/large"})
    CHECK_MESSAGE(w.find(path) == 0, path);
}

TEST_CASE("a listing of many names that are hidden has those that are not") {
  Filtered w([](FilterPolicies& p) { Filtered::add(p.visible, {"!/d/*[hdr:content-length>0]"}); });
  for (int i = 0; i < 1500; ++i) w.put_by_other("d/" + std::to_string(i), i % 500 == 7 ? "" : "x");
  CHECK(w.names("d") == std::set<std::string>{"7", "507", "1007"});
}

TEST_CASE("nothing is made under a name that would be hidden, and what is hidden is not empty") {
  Filtered w([](FilterPolicies& p) {
    Filtered::add(p.visible, {"!/**/*.tmp", "!/no/**", "!/**[hdr:content-length>100]"});
  });
  w.put_by_other("d/x.tmp", "hidden");
  w.put_by_other("d/seen", "seen");
  w.put_by_other("d/big", std::string(200, 'b'));
  CHECK(w.names("d") == std::set<std::string>{"seen"});
  CHECK(w.refused("y.tmp", false) == EPERM);
  CHECK(w.refused("d/y.tmp", false) == EPERM);
  CHECK(w.refused("no", true) == EPERM);
  CHECK(w.refused("d/big", false) == EPERM);  // another one is there
  CHECK(w.refused("fine", false) == 0);
  const auto rename = [&](const std::string& to) {
    return w.mount.run(
        [&](Volume& v, Need& n) { return v.rename(kRootIno, "fine", kRootIno, to, 0, n); });
  };
  CHECK(rename("f.tmp").error().sys_errno() == EPERM);
  CHECK(rename("also-fine"));
  // Also below directories that are not published, whatever they were called before.
  w.mkdir("new");
  w.mkdir("new/deep");
  CHECK(w.refused("new/deep/z.tmp", false) == EPERM);
  CHECK(w.refused("new/deep/z", false) == 0);
  w.rename("new", "renamed");
  CHECK(w.refused("renamed/deep/z.tmp", false) == EPERM);
  w.mount.kill();
  w.open("/filtered");
  CHECK(w.refused("renamed/deep/z.tmp", false) == EPERM);
  w.flush();
  CHECK(w.refused("renamed/deep/z.tmp", false) == EPERM);
  CHECK(w.refused("renamed/deep/zz", false) == 0);
  // The directory holds what is hidden.
  w.unlink("d/seen");
  CHECK(w.names("d").empty());
  const auto removed = w.mount.run([&](Volume& v, Need& n) { return v.rmdir(kRootIno, "d", n); });
  REQUIRE_FALSE(removed);
  CHECK(removed.error().sys_errno() == ENOTEMPTY);
  w.flush();
  CHECK(w.object_bytes("d/x.tmp") == "hidden");
  CHECK(w.object_bytes("d/big").size() == 200);
}

TEST_CASE("rules that ask what an object says of itself, which is asked for once") {
  Filtered w([](FilterPolicies&) {});
  w.mount.options.objects->full_attrs = true;
  w.mount_with([](FilterPolicies& p) {
    Filtered::add(p.visible, {"!/**[md:draft=yes]", "!/**[hdr:content-type='image/*']"});
  });
  ObjectHeaders draft;
  draft.metadata = {{"draft", "yes"}};
  w.put_by_other("draft", "x", draft);
  ObjectHeaders image;
  image.content_type = "image/png";
  w.put_by_other("image", "x", image);
  w.put_by_other("plain", "x");
  CHECK(w.names() == std::set<std::string>{"plain"});
  CHECK(w.find("draft") == 0);
  const uint64_t heads = w.store->counts().head;
  CHECK(w.names() == std::set<std::string>{"plain"});
  CHECK(w.store->counts().head == heads);
}

TEST_CASE("what is not to stay in the cache goes when it is closed, and pushes nothing out") {
  Filtered w([](FilterPolicies& p) { Filtered::add(p.cache, {"!/pass/**"}); });
  const std::string bytes = bytes_of(3 << 20, 1);
  w.put_by_other("pass/a", bytes);
  w.put_by_other("stay", bytes);
  CHECK(w.read_ino(w.find("stay"), 0, 3 << 20).value_or("") == bytes);
  CHECK(w.cached("stay") == bytes.size());
  const HandleId first = w.open_handle("pass/a");
  const HandleId second = w.open_handle("pass/a");
  w.read_all(first, bytes.size());
  w.mount.volume().release_file(first);
  CHECK(w.cached("pass/a") == bytes.size());  // somebody still reads
  w.mount.volume().release_file(second);
  CHECK(w.cached("pass/a") == 0);
  CHECK(w.cached("stay") == bytes.size());
  CHECK(w.read_ino(w.find("pass/a"), 0, 3 << 20).value_or("") == bytes);

  // A stream of more than the cache takes the place of itself.
  REQUIRE(w.mount.close());
  w.mount.options.cache_bytes_max = 64ULL << 20;
  w.open("/filtered");
  CHECK(w.cached("stay") == bytes.size());
  const std::string large = bytes_of(48 << 20, 2);
  for (const char* key : {"pass/1", "pass/2", "pass/3"}) w.put_by_other(key, large);
  w.mount.options.objects->metadata_ttl = std::chrono::hours(1);
  for (const char* key : {"pass/1", "pass/2", "pass/3"}) {
    const HandleId handle = w.open_handle(key);
    w.read_all(handle, large.size());
    w.mount.volume().release_file(handle);
  }
  CHECK(w.cached("stay") == bytes.size());
}

TEST_CASE("what is opened is pinned, until another rule says that it is not") {
  const auto pins = [](FilterPolicies& p) { Filtered::add(p.pin, {"/keep/**"}); };
  Filtered w(pins);
  w.put_by_other("keep/a", "bytes");
  w.put_by_other("other", "bytes");
  w.put_by_other("huge", "bytes");
  CHECK(w.read("keep/a") == "bytes");
  CHECK(w.read("other") == "bytes");
  CHECK(w.status("keep/a").pinned);
  CHECK_FALSE(w.status("other").pinned);
  w.mount_with(pins);
  CHECK(w.status("keep/a").pinned);
  w.mount_with([](FilterPolicies&) {});
  CHECK(w.status("keep/a").pinned);
  CHECK(w.read("keep/a") == "bytes");
  CHECK_FALSE(w.status("keep/a").pinned);
  // What somebody pinned stays.
  Need need;
  REQUIRE(w.mount.engine().pin(w.find("other"), 5, need));
  CHECK(w.read("other") == "bytes");
  CHECK(w.status("other").pinned);
  // Also what a rule pinned before.
  w.mount_with(pins);
  CHECK(w.read("keep/a") == "bytes");
  REQUIRE(w.mount.engine().pin(w.find("keep/a"), 5, need));
  w.mount_with([](FilterPolicies&) {});
  CHECK(w.read("keep/a") == "bytes");
  CHECK(w.status("keep/a").pinned);
}

TEST_CASE("more is opened than may be pinned: it is opened all the same") {
  Filtered w([](FilterPolicies& p) { Filtered::add(p.pin, {"/**"}); });
  const uint64_t most = w.mount.engine().pinnable_bytes();
  w.put_by_other("a", std::string(most / 2, 'a'));
  w.put_by_other("b", std::string(most / 2, 'b'));
  w.put_by_other("c", std::string(most / 2, 'c'));
  for (const char* key : {"a", "b", "c"}) CHECK(w.read_ino(w.find(key), 0, 5)->size() == 5);
  CHECK(w.status("a").pinned);
  CHECK(w.status("b").pinned);
  CHECK_FALSE(w.status("c").pinned);
}

TEST_CASE("a file is fetched whole when it is opened, whether it is read or not") {
  Filtered w(
      [](FilterPolicies& p) { Filtered::add(p.prefetch, {"/whole/**[hdr:content-length<20M]"}); });
  const std::string bytes = bytes_of((9 << 20) + 5, 3);
  w.put_by_other("whole/a", bytes);
  w.put_by_other("whole/b", std::string(21 << 20, 'b'));
  w.put_by_other("whole/c", std::string(19 << 20, 'c'));
  w.put_by_other("other", bytes);
  for (const char* key : {"whole/a", "whole/b", "other"})
    w.mount.volume().release_file(w.open_handle(key));
  w.wait_for([&] { return w.cached("whole/a") == bytes.size(); });
  CHECK(w.cached("whole/b") == 0);
  CHECK(w.cached("other") == 0);
  const uint64_t gets = w.store->counts().get;
  CHECK(w.read_ino(w.find("whole/a"), 0, 1 << 20)->size() == 1 << 20);
  CHECK(w.store->counts().get == gets);
  // One that has just begun holds the end of the mount up for nothing.
  w.mount.volume().release_file(w.open_handle("whole/c"));
  CHECK(w.mount.close());
  w.open("/filtered");
}

TEST_CASE("tags that are known are not asked for again, whoever asks") {
  Filtered w([](FilterPolicies& p) { Filtered::add(p.pin, {"/**[tag:keep=yes]"}); });
  w.put_by_other("f", "bytes");
  REQUIRE(put_tags_sync(*w.objects, "f", "", {{"keep", "yes"}}, Context()));
  CHECK(w.xattr("f", "user.s3.tag.keep") == "yes");
  // From now on nobody would be told.
  w.refuse(StoreOp::kTags);
  CHECK(w.read("f") == "bytes");
  CHECK(w.status("f").pinned);
  // And the other way round, also by the next mount.
  w.mount_with([](FilterPolicies& p) { Filtered::add(p.pin, {"/**[tag:keep=yes]"}); });
  CHECK(w.read("f") == "bytes");
  CHECK(w.xattr("f", "user.s3.tag.keep") == "yes");
}

TEST_CASE("rules that ask for tags, and tags that outrank rules") {
  Filtered w([](FilterPolicies&) {});
  w.mount.options.objects->full_attrs = true;
  w.mount_with([](FilterPolicies& p) {
    Filtered::add(p.visible, {"!/**[tag:secret=yes]"});
    Filtered::add(p.pin, {"/**[tag:keep=yes]"});
    Filtered::add(p.upload, {"!/**[tag:hold=yes]"});
  });
  const auto put = [&](const std::string& key, const ObjectTags& tags) {
    w.put_by_other(key, "bytes");
    if (!tags.empty()) REQUIRE(put_tags_sync(*w.objects, key, "", tags, Context()));
  };
  put("kept", {{"keep", "yes"}});
  put("plain", {});
  put("secret", {{"keep", "yes"}, {"secret", "yes"}});
  put("own", {{"s3d.cache", "pin"}});
  put("hold", {{"hold", "yes"}});
  put("sent", {{"hold", "yes"}, {"s3d.upload", "true"}});
  put("stays", {{"s3d.upload", "false"}});
  CHECK(w.names() == std::set<std::string>{"kept", "plain", "own", "hold", "sent", "stays"});
  for (const char* key : {"kept", "plain", "own"}) CHECK(w.read(key) == "bytes");
  CHECK(w.status("kept").pinned);
  CHECK(w.status("own").pinned);
  CHECK_FALSE(w.status("plain").pinned);
  for (const char* key : {"hold", "sent", "stays", "plain"}) w.write(key, "BYTES");
  w.flush();
  CHECK(w.object_bytes("plain") == "BYTES");
  CHECK(w.object_bytes("sent") == "BYTES");
  CHECK(w.object_bytes("hold") == "bytes");
  CHECK(w.object_bytes("stays") == "bytes");
  CHECK(w.read("hold") == "BYTES");
  CHECK(w.status("stays").state == FileStatus::State::kHeld);
}

TEST_CASE("rules ask for the tags of the bucket: once, and for all that is in it") {
  const auto rules = [](FilterPolicies& p) {
    Filtered::add(p.visible, {"!photos[tag:kind=scratch]/logs/**"});
    Filtered::add(p.upload, {"!photos[tag:kind=scratch]/**", "photos[tag:kind=other]/**"});
  };
  Filtered w([](FilterPolicies&) {});
  w.objects->set_bucket_tags({{"kind", "scratch"}});
  w.put_by_other("logs/a", "x");
  w.put_by_other("data/b", "x");
  w.mount_with(rules, "/tagged");
  CHECK(w.names() == std::set<std::string>{"data/"});
  CHECK(w.find("logs") == 0);
  const uint64_t before = w.requests();
  CHECK(w.read("data/b") == "x");
  CHECK(w.requests() == before + 1);  // its bytes
  w.write("data/new", "held");
  w.flush();
  CHECK(w.bucket() == std::map<std::string, std::string>{{"data/b", "x"}, {"logs/a", "x"}});
  CHECK(w.mount.engine().kept_back().files == 1);

  // Other tags, when they are asked for again.
  w.objects->set_bucket_tags({{"kind", "other"}});
  CHECK(w.find("logs") == 0);
  w.mount.options.objects->metadata_ttl = std::chrono::seconds(1);
  w.mount_with(rules, "/fresh");
  CHECK(w.names() == std::set<std::string>{"data/", "logs/"});
  w.write("data/sent", "sent");
  w.flush();
  CHECK(w.bucket().at("data/sent") == "sent");
  w.objects->set_bucket_tags({{"kind", "scratch"}});
  w.let_ttl_pass();
  CHECK(w.names() == std::set<std::string>{"data/"});
}
