// What objects say beside their bytes: as attributes (--attrs=full), and as xattrs.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <cerrno>
#include <string>

#include "cache/object_attrs.h"
#include "tests/support/bucket_world.h"

using namespace cairn;
using namespace cairn::test;

namespace {

ObjectHeaders headers_of(uint32_t mode, uint32_t uid, uint32_t gid, const std::string& mtime) {
  ObjectHeaders headers;
  headers.content_type = "text/x-test";
  headers.metadata = {{"mode", std::to_string(mode)},
                      {"uid", std::to_string(uid)},
                      {"gid", std::to_string(gid)},
                      {"mtime", mtime},
                      {"colour", "blue"}};
  return headers;
}

// Mounted anew, with the attributes of the objects.
struct FullWriter : Writer {
  FullWriter() { mount_again("/full"); }
  void mount_again(const std::string& cache) {
    REQUIRE(mount.close());
    mount.options.objects->full_attrs = true;
    open(cache);
  }
  Attr attr(const std::string& path) {
    const auto got =
        mount.run([&, ino = find(path)](Volume& v, Need& n) { return v.getattr(ino, n); });
    REQUIRE_MESSAGE(got, path);
    return *got;
  }
  uint64_t heads() const { return store->counts().head; }
};

Status set_xattr(World& w, const std::string& path, const std::string& name,
                 const std::string& value) {
  return w.mount.run([&, ino = w.find(path)](Volume& v, Need& n) {
    return v.setxattr(ino, name, as_bytes(value), 0, kCaller, n);
  });
}

std::vector<std::string> xattrs(World& w, const std::string& path) {
  const auto names = w.mount.run(
      [&, ino = w.find(path)](Volume& v, Need& n) { return v.listxattr(ino, kCaller, n); });
  REQUIRE(names);
  return *names;
}

}  // namespace

TEST_CASE("with --attrs=full mode, owner and time are those of the object") {
  FullWriter w;
  w.put_by_other("d/", "", headers_of(S_IFDIR | 0711, 7, 8, "1"));
  w.put_by_other("d/f", "bytes", headers_of(S_IFREG | 0640, 1234, 567, "1700000000.25"));
  w.put_by_other("d/plain", "no metadata");
  w.put_by_other("d/link", "somewhere/else", headers_of(S_IFLNK | 0777, 5, 6, "3"));
  const Attr f = w.attr("d/f");
  CHECK(f.mode == (S_IFREG | 0640));
  CHECK(f.uid == 1234);
  CHECK(f.gid == 567);
  CHECK(f.mtime == 1'700'000'000'250'000'000);
  CHECK(w.attr("d").mode == (S_IFDIR | 0711));
  CHECK(w.attr("d/plain").mode == (S_IFREG | 0644));
  const Attr link = w.attr("d/link");
  CHECK(S_ISLNK(link.mode));
  const auto target =
      w.mount.run([&, ino = w.find("d/link")](Volume& v, Need& n) { return v.readlink(ino, n); });
  REQUIRE(target);
  CHECK(*target == "somewhere/else");
  CHECK(w.read("d/f") == "bytes");

  // Asked for once, however often one looks, also by the next mount of this cache.
  const uint64_t before = w.heads();
  w.attr("d/f");
  w.list("d");
  w.mount_again("/full");
  CHECK(w.attr("d/f").uid == 1234);
  CHECK(w.heads() == before);
}

TEST_CASE("a directory of many costs one request an object, and what changes is asked for again") {
  FullWriter w;
  constexpr int kFiles = 700;
  for (int i = 0; i < kFiles; ++i)
    w.put_by_other("d/" + std::to_string(i), "x", headers_of(S_IFREG | 0600, 42, 1, "1"));
  const uint64_t before = w.heads();
  CHECK(w.list("d").size() == kFiles);
  for (int i = 0; i < kFiles; ++i) CHECK(w.attr("d/" + std::to_string(i)).uid == 42);
  CHECK(w.heads() - before <= kFiles + 1);  // and the directory

  w.put_by_other("d/5", "another", headers_of(S_IFREG | 0600, 43, 1, "1"));
  REQUIRE(w.mount.close());
  w.mount.options.objects->metadata_ttl = std::chrono::seconds(1);
  w.open("/full");
  w.let_ttl_pass();
  const uint64_t then = w.heads();
  CHECK(w.attr("d/5").uid == 43);
  CHECK(w.attr("d/6").uid == 42);
  CHECK(w.heads() - then == 1);
}

TEST_CASE("attributes that cannot be asked for are those of the listing for a while") {
  FullWriter w;
  w.put_by_other("f", "bytes", headers_of(S_IFREG | 0600, 42, 1, "1"));
  w.refuse(StoreOp::kHead);
  CHECK(w.attr("f").mode == (S_IFREG | 0644));
  CHECK(w.read("f") == "bytes");
  const uint64_t before = w.heads();
  w.attr("f");
  CHECK(w.heads() == before);
  // What stood in is not written over what is there, by a change and whatever is asked for after
  // it.
  w.write("f", "other");
  w.faults->clear();
  CHECK(w.list("").size() == 1);
  w.flush();
  CHECK(w.object_bytes("f") == "other");
  CHECK(attrs_of(w.head("f").headers).mode == (S_IFREG | 0600));
  CHECK(w.attr("f").uid == 42);
}

TEST_CASE("metadata and content type are xattrs, asked for when somebody wants one") {
  Writer w;
  w.put_by_other("f", "bytes", headers_of(S_IFREG | 0600, 42, 1, "1"));
  CHECK(xattrs(w, "f") == std::vector<std::string>{"user.s3.etag", "user.s3.key"});
  const uint64_t before = w.store->counts().head;
  CHECK(w.xattr("f", "user.s3.meta.colour") == "blue");
  CHECK(w.xattr("f", "user.s3.content-type") == "text/x-test");
  CHECK(w.xattr("f", "user.s3.meta.absent") == "none");
  CHECK(w.store->counts().head == before + 1);
  // That shows no other mode all of a sudden.
  CHECK(w.mount.run([&](Volume& v, Need& n) { return v.getattr(w.find("f"), n); })->mode ==
        (S_IFREG | 0644));
  CHECK(xattrs(w, "f").size() == 9);
}

TEST_CASE("metadata and content type can be set and taken away") {
  Writer w;
  w.put_by_other("f", "bytes", headers_of(S_IFREG | 0600, 42, 1, "1"));
  REQUIRE(set_xattr(w, "f", "user.s3.meta.taste", "sweet"));
  REQUIRE(set_xattr(w, "f", "user.s3.content-type", "image/png"));
  w.write("new.html", "<p>");
  REQUIRE(set_xattr(w, "new.html", "user.s3.meta.author", "me"));
  CHECK(w.xattr("f", "user.s3.meta.taste") == "sweet");
  w.flush();
  const auto metadata = [&w](const std::string& key, const std::string& name) {
    return object_xattr(w.head(key).headers, "user.s3.meta." + name).value_or("none");
  };
  CHECK(metadata("f", "taste") == "sweet");
  CHECK(metadata("f", "colour") == "blue");
  CHECK(w.head("f").headers.content_type == "image/png");
  CHECK(w.object_bytes("f") == "bytes");
  CHECK(metadata("new.html", "author") == "me");
  CHECK(w.head("new.html").headers.content_type == "text/html");
  CHECK(w.xattr("f", "user.s3.meta.taste") == "sweet");

  REQUIRE(w.mount.run([&, ino = w.find("f")](Volume& v, Need& n) {
    return v.removexattr(ino, "user.s3.meta.colour", n);
  }));
  w.write("f", "other");
  w.flush();
  CHECK(metadata("f", "colour") == "none");
  CHECK(metadata("f", "taste") == "sweet");
  CHECK(w.object_bytes("f") == "other");
}

TEST_CASE("what metadata cannot be is refused") {
  Writer w;
  w.write("f", "bytes");
  w.mkdir("d");
  const auto refused = [&](const std::string& name, const std::string& value) {
    const Status set = set_xattr(w, "f", name, value);
    return set ? 0 : set.error().sys_errno();
  };
  CHECK(refused("user.s3.meta.mode", "0") == EPERM);
  CHECK(refused("user.s3.etag", "x") == EPERM);
  CHECK(refused("user.s3.meta.Upper", "x") == EINVAL);
  CHECK(refused("user.s3.meta.x", "two\nlines") == EINVAL);
  CHECK(refused("user.s3.meta.x", " blank") == EINVAL);
  CHECK(refused("user.other", "x") == ENOTSUP);
  CHECK(set_xattr(w, "d", "user.s3.meta.x", "y").error().sys_errno() == ENOTSUP);
  // No more than a store takes.
  REQUIRE(set_xattr(w, "f", "user.s3.meta.a", std::string(1500, 'a')));
  CHECK(refused("user.s3.meta.b", std::string(1500, 'b')) == ENOSPC);
  REQUIRE(w.mount.run([&, ino = w.find("f")](Volume& v, Need& n) {
    return v.removexattr(ino, "user.s3.meta.a", n);
  }));
  CHECK(refused("user.s3.meta.0", std::string(1500, 'b')) == 0);
  w.flush();
  CHECK_FALSE(object_xattr(w.head("f").headers, "user.s3.meta.a").has_value());
  CHECK(object_xattr(w.head("f").headers, "user.s3.meta.0").has_value());
}

TEST_CASE("what only stood in for attributes that nobody looked at is not written") {
  Writer w;
  w.put_by_other("f", "bytes", headers_of(S_IFREG | 0600, 42, 7, "5"));
  w.put_by_other("d/", "", headers_of(S_IFDIR | 0700, 42, 7, "5"));
  w.list("d");
  REQUIRE(set_xattr(w, "f", "user.s3.meta.taste", "sweet"));
  w.write("d/new", "x");
  w.flush();
  const ObjectAttrs attrs = attrs_of(w.head("f").headers);
  CHECK(attrs.mode == (S_IFREG | 0600));
  CHECK(attrs.uid == 42);
  CHECK(attrs.mtime_ns == 5'000'000'000);
  CHECK(attrs_of(w.head("d/").headers).mode == (S_IFDIR | 0700));
  w.unlink("d/new");
  w.flush();
  CHECK(attrs_of(w.head("d/").headers).mode == (S_IFDIR | 0700));
}

TEST_CASE("names of metadata that are no xattrs hold nothing back") {
  FullWriter w;
  ObjectHeaders headers;
  headers.metadata = {{std::string(250, 'n'), "x"}, {std::string(1500, 'm'), "y"}};
  w.put_by_other("f", "bytes", headers);
  CHECK(xattrs(w, "f") == std::vector<std::string>{"user.s3.content-type", "user.s3.etag",
                                                   "user.s3.key", "user.s3.storage-class"});
  w.write("f", "other");
  w.flush();
  CHECK(object_xattr(w.head("f").headers, "user.s3.meta." + std::string(250, 'n')) == "x");
  w.unlink("f");
  w.flush();
  CHECK(w.keys().empty());
}

TEST_CASE("a directory whose object changed shows what it has now") {
  FullWriter w;
  w.put_by_other("d/", "", headers_of(S_IFDIR | 0700, 1, 1, "5"));
  w.put_by_other("d/f", "x");
  CHECK(w.attr("d").mode == (S_IFDIR | 0700));
  w.list("d");
  const uint64_t heads = w.heads();
  CHECK(w.attr("d").mode == (S_IFDIR | 0700));
  CHECK(w.heads() == heads);
  REQUIRE(w.mount.close());
  w.mount.options.objects->metadata_ttl = std::chrono::seconds(1);
  w.open("/full");
  w.let_ttl_pass();
  w.put_by_other("d/", "", headers_of(S_IFDIR | 0750, 1, 1, "5"));
  w.list("d");
  CHECK(w.attr("d").mode == (S_IFDIR | 0750));
}

namespace {

using Pairs = std::vector<std::pair<std::string, std::string>>;
// What others say of an object for caches, browsers and web sites.
ObjectHeaders served_headers() {
  ObjectHeaders headers;
  headers.content_type = "text/css";
  headers.kept = {{"cache-control", "max-age=60"},
                  {"content-encoding", "gzip"},
                  {"x-amz-website-redirect-location", "/there"}};
  return headers;
}

}  // namespace

TEST_CASE("what others say of an object for caches and browsers outlives every change of it") {
  Writer w;
  SUBCASE("attributes of the listing") {}
  SUBCASE("attributes of the objects") {
    REQUIRE(w.mount.close());
    w.mount.options.objects->full_attrs = true;
    w.open("/full");
  }
  SUBCASE("a store that ignores conditions") {
    w.faults->add({.ops = StoreOp::kPut, .prefix = ".cairn-probe", .code = Errc::kUnsupported});
  }
  const Pairs kept = served_headers().kept;
  const auto kept_of = [&w](const std::string& key) { return w.head(key).headers.kept; };
  w.put_by_other("d/f", std::string(12 << 20, 'x'), served_headers());
  w.put_by_other("d/", "", served_headers());
  const auto chmod = [&](const std::string& path, uint32_t mode) {
    AttrChange change;
    change.mode = mode;
    w.must([&](Volume& v, Need& n) { return v.setattr(w.find(path), change, n); });
  };
  const std::vector<std::function<void()>> changes{
      [&] { chmod("d/f", 0600); },
      [&] { REQUIRE(set_xattr(w, "d/f", "user.s3.meta.z", "1")); },
      [&] { REQUIRE(set_xattr(w, "d/f", "user.s3.storage-class", "STANDARD_IA")); },
      [&] { w.write("d/f", "end", 12 << 20); },
      [&] { w.write("d/f", "in", 0); },
      [&] { w.truncate("d/f", 6 << 20); },
      [&] { w.truncate("d/f", 0); },
      [&] { chmod("d/f", 0640); },
      [&] { w.write("d/f", "anew"); },
      [&] { chmod("d", 0700); },
  };
  for (size_t i = 0; i < changes.size(); ++i) {
    CAPTURE(i);
    changes[i]();
    w.flush();
    CHECK(kept_of("d/f") == kept);
    CHECK(kept_of("d/") == kept);
  }
  w.rename("d/f", "d/g");
  w.flush();
  CHECK(kept_of("d/g") == kept);
  w.rename("d", "e");
  w.flush();
  CHECK(kept_of("e/g") == kept);
  // Also when what is known is from an earlier mount of this cache.
  const Status closed = w.mount.close();
  REQUIRE(closed);
  w.open("/cache");
  w.rename("e/g", "e/h");
  w.flush();
  CHECK(kept_of("e/h") == kept);
  // What is renamed over it is another object.
  w.write("new", "other bytes");
  w.rename("new", "e/h");
  w.flush();
  CHECK(w.object_bytes("e/h") == "other bytes");
  CHECK(kept_of("e/h").empty());
}

TEST_CASE("in a ring of renames each object keeps what is said of it") {
  Writer w;
  w.put_by_other("a", "of a", served_headers());
  w.put_by_other("b", "of b");
  w.rename("a", "c");
  w.rename("b", "a");
  w.rename("c", "b");
  w.flush();
  CHECK(w.object_bytes("b") == "of a");
  CHECK(w.head("b").headers.content_type == "text/css");
  CHECK(w.head("b").headers.kept == served_headers().kept);
  CHECK(w.head("a").headers.kept.empty());
}
