#include "s3/file_store.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

#include "cache/await.h"
#include "cache/base/digest.h"
#include "tests/support/object_store_suite.h"
#include "tests/support/temp_dir.h"

using namespace cairn;
namespace fs = std::filesystem;

namespace {

struct Fixture {
  TempDir dir;
  ThreadExecutor executor{"store", 4};
  std::shared_ptr<FileStore> store = open();

  std::shared_ptr<FileStore> open() {
    auto opened = FileStore::open({posix_env(), executor, system_clock(), os_rng()}, dir / "root",
                                  FileStore::Create::kIfMissing);
    REQUIRE_MESSAGE(opened, opened.error().message());
    return *opened;
  }
  Result<std::string> put(const std::string& key, const std::string& text,
                          PutCondition condition = PutCondition::kAlways) {
    return put_sync(*store, key, Body(Buffer::copy(text)), condition, {});
  }
  Result<GetResult> get(const std::string& key) {
    return get_sync(*store, key, GetRange::all(), {});
  }
  // Does the filesystem of the test keep extended attributes?
  bool keeps_headers() {
    const std::string path = dir / "attributes";
    REQUIRE(posix_env().open(path, OpenMode::kCreate));
    return posix_env().set_attribute(path, "a", "b").has_value();
  }
  std::vector<std::string> keys() {
    std::vector<std::string> all;
    const auto page = list_sync(*store, "", "", 1000, {});
    REQUIRE(page);
    for (const ObjectInfo& object : page->objects) all.push_back(object.key);
    return all;
  }
  size_t temporaries() {
    const auto names = posix_env().list_dir(dir / "root/.tmp");
    if (!names) return 0;
    // Locks stay.
    return static_cast<size_t>(std::count_if(
        names->begin(), names->end(), [](const auto& name) { return !name.starts_with("lock-"); }));
  }
};

template <class T>
Errc code_of(const Result<T>& result) {
  REQUIRE_FALSE(result.has_value());
  return result.error().code();
}

}  // namespace

TEST_CASE("a file store passes the conformance suite") {
  Fixture fixture;
  object_store_suite(
      {.store = fixture.store, .prefix = "", .keeps_headers = fixture.keeps_headers()});
  CHECK(fixture.temporaries() == 0);
}

TEST_CASE("a file store below a long prefix passes the conformance suite") {
  Fixture fixture;
  object_store_suite({.store = fixture.store,
                      .prefix = "a-b/some/prefix/",
                      .takes_any_bytes = true,
                      .keeps_headers = fixture.keeps_headers(),
                      .large_bytes = 1000});
}

TEST_CASE("a file store says when its directory is missing, is none, or can be made") {
  const TempDir dir;
  ThreadExecutor executor("store", 1);
  const FileStore::Parts parts{posix_env(), executor, system_clock(), os_rng()};
  const std::string path = dir / "new/deep/root";
  CHECK(code_of(FileStore::open(parts, path, FileStore::Create::kMustExist)) == Errc::kNotFound);
  CHECK_FALSE(fs::exists(path));
  CHECK(FileStore::open(parts, path + "//", FileStore::Create::kIfMissing).value()->description() ==
        "file://" + path);
  CHECK(fs::is_directory(path));
  CHECK(FileStore::open(parts, path, FileStore::Create::kMustExist));
  REQUIRE(posix_env().open(dir / "file", OpenMode::kCreate));
  CHECK(code_of(FileStore::open(parts, dir / "file", FileStore::Create::kIfMissing)) ==
        Errc::kInvalid);
  CHECK(code_of(FileStore::open(parts, "", FileStore::Create::kIfMissing)) == Errc::kInvalid);
}

TEST_CASE("a file store whose directory is gone, with its disk, is away and not empty") {
  Fixture fixture;
  REQUIRE(fixture.put("c/1", "one", PutCondition::kIfAbsent));
  const std::string root = fixture.dir / "root";
  fs::rename(root, fixture.dir / "elsewhere");
  CHECK(code_of(fixture.put("c/2", "two", PutCondition::kIfAbsent)) == Errc::kTransient);
  CHECK(code_of(fixture.put("d/", "", PutCondition::kAlways)) == Errc::kTransient);
  CHECK(code_of(get_sync(*fixture.store, "c/1", GetRange::all(), {})) == Errc::kTransient);
  CHECK(code_of(list_sync(*fixture.store, "c/", "", 10, {})) == Errc::kTransient);
  CHECK_FALSE(fs::exists(root));
  fs::rename(fixture.dir / "elsewhere", root);
  CHECK(fixture.put("c/2", "two", PutCondition::kIfAbsent));
}

TEST_CASE("a file store keeps objects for the next one, also for another open beside it") {
  Fixture fixture;
  REQUIRE(fixture.put("c/1", "one", PutCondition::kIfAbsent));
  const auto other = fixture.open();
  CHECK(code_of(put_sync(*other, "c/1", Body(Buffer::copy("two")), PutCondition::kIfAbsent, {})) ==
        Errc::kPrecondition);
  CHECK(as_chars(get_sync(*other, "c/1", GetRange::all(), {})->bytes) == "one");
}

TEST_CASE("of puts over one version through several opens of a directory exactly one wins") {
  Fixture fixture;
  std::vector<std::shared_ptr<FileStore>> stores;
  for (int i = 0; i < 4; ++i) stores.push_back(fixture.open());
  for (int round = 0; round < 20; ++round) {
    const auto etag = fixture.put("k", "base " + std::to_string(round));
    REQUIRE(etag);
    std::vector<Awaited<std::string>> answers(stores.size() * 2);
    for (size_t i = 0; i < answers.size(); ++i)
      stores[i % stores.size()]->put("k", Body(Buffer::copy(std::to_string(i))),
                                     PutHow::over(*etag), {}, answers[i].callback());
    std::vector<size_t> winners;
    for (size_t i = 0; i < answers.size(); ++i)
      if (answers[i].get()) winners.push_back(i);
    REQUIRE(winners.size() == 1);
    CHECK(as_chars(fixture.get("k")->bytes) == std::to_string(winners.front()));
  }
}

TEST_CASE("a put over a version waits for nobody who holds the key's lock, and loses nothing") {
  Fixture fixture;
  const auto etag = fixture.put("k", "base");
  REQUIRE(etag);
  const std::string name = "root/.tmp/lock-" + sha256(as_bytes("k")).hex().substr(0, 2);
  {
    const auto lock = posix_env().lock_file(fixture.dir / name);
    REQUIRE(lock);
    const auto put =
        put_sync(*fixture.store, "k", Body(Buffer::copy("new")), PutHow::over(*etag), {});
    CHECK(code_of(put) == Errc::kTransient);
    CHECK(put.error().no_effect());
    CHECK(fixture.put("k2", "others go on"));
  }
  CHECK(as_chars(fixture.get("k")->bytes) == "base");
  CHECK(put_sync(*fixture.store, "k", Body(Buffer::copy("new")), PutHow::over(*etag), {}));
}

TEST_CASE("a file's headers are attributes that other tools read and write") {
  Fixture fixture;
  if (!fixture.keeps_headers()) return;
  PutHow how;
  how.headers = {"image/png", {{"mode", "33188"}}, {{"content-encoding", "gzip"}}};
  REQUIRE(put_sync(*fixture.store, "k", Body(Buffer::copy("x")), how, {}));
  const std::string path = fixture.dir / "root/k";
  CHECK(posix_env().attributes(path).value() ==
        FileAttributes{{"mime_type", "image/png"},
                       {"s3.header.content-encoding", "gzip"},
                       {"s3.meta.mode", "33188"}});
  // What breaks the port's rules is not given back.
  for (const auto& [name, value] : FileAttributes{{"s3.meta.more", "1"},
                                                  {"s3.meta.Upper", "2"},
                                                  {"s3.meta.line", "a\r\nb"},
                                                  {"s3.header.x-amz-acl", "public-read"},
                                                  {"other", "3"}})
    REQUIRE(posix_env().set_attribute(path, name, value));
  const auto head = head_sync(*fixture.store, "k", {});
  REQUIRE(head);
  CHECK(head->headers.content_type == "image/png");
  using Pairs = std::vector<std::pair<std::string, std::string>>;
  CHECK(head->headers.metadata == Pairs{{"mode", "33188"}, {"more", "1"}});
  CHECK(head->headers.kept == Pairs{{"content-encoding", "gzip"}});
}

TEST_CASE("a file store hides its temporaries and sweeps only those that are a day old") {
  Fixture fixture;
  REQUIRE(fixture.put("k", "v"));
  for (const char* key : {".tmp", ".tmp/x", ".tmp/x/y"}) {
    CHECK(code_of(fixture.put(key, "v")) == Errc::kInvalid);
    CHECK(code_of(fixture.get(key)) == Errc::kInvalid);
    CHECK(code_of(remove_sync(*fixture.store, key, {})) == Errc::kInvalid);
  }
  CHECK(fixture.put(".tmpx/x", "v"));
  CHECK(fixture.put("a/.tmp", "v"));
  const std::string temporaries = "root/.tmp/";
  const std::string young = temporaries + "01234567-89ab-4cde-8f01-000000000001";
  const std::string old = temporaries + "01234567-89ab-4cde-8f01-000000000002";
  const std::string foreign = temporaries + "notes";  // of somebody whose directory this is
  for (const std::string& name : {young, old, foreign})
    REQUIRE(posix_env().open(fixture.dir / name, OpenMode::kCreateNew));
  for (const std::string& name : {old, foreign})
    fs::last_write_time(fixture.dir / name,
                        fs::file_time_type::clock::now() - std::chrono::hours(25));
  CHECK(fixture.keys() == std::vector<std::string>{".tmpx/x", "a/.tmp", "k"});
  CHECK(list_sync(*fixture.store, ".tmp/", "", 10, {})->objects.empty());
  CHECK(fixture.temporaries() == 3);
  const auto again = fixture.open();
  CHECK(get_sync(*again, "k", GetRange::all(), {}));
  CHECK(fixture.temporaries() == 3);  // who only reads takes nothing away
  CHECK(put_sync(*again, "k", Body(), PutCondition::kAlways, {}));
  CHECK(fixture.temporaries() == 2);
  CHECK(fs::exists(fixture.dir / young));
  CHECK(fs::exists(fixture.dir / foreign));
}

TEST_CASE("a file store never leaves its root and follows no links") {
  Fixture fixture;
  REQUIRE(fixture.put("in/side", "v"));
  REQUIRE(posix_env().open(fixture.dir / "outside", OpenMode::kCreateNew));
  for (const char* prefix : {"../", "in/../../", "..", "/", "//", "./in/"})
    CHECK(list_sync(*fixture.store, prefix, "", 10, {})->objects.empty());
  fs::create_symlink(fixture.dir / "outside", fixture.dir / "root/link");
  fs::create_symlink(fixture.dir.path(), fixture.dir / "root/up");
  fs::create_symlink("nowhere", fixture.dir / "root/dangling");
  CHECK(fixture.keys() == std::vector<std::string>{"in/side"});
  CHECK(code_of(fixture.get("link")) == Errc::kUnsupported);
  CHECK(code_of(fixture.put("link", "v", PutCondition::kIfAbsent)) == Errc::kPrecondition);
  REQUIRE(fixture.put("link", "replaced"));
  CHECK(as_chars(fixture.get("link")->bytes) == "replaced");
  CHECK(fs::file_size(fixture.dir / "outside") == 0);
  REQUIRE(::mkfifo((fixture.dir / "root/fifo").c_str(), 0600) == 0);
  CHECK(code_of(fixture.get("fifo")) == Errc::kNotFound);
}

TEST_CASE("a file store says that a key cannot be an object and a folder") {
  Fixture fixture;
  REQUIRE(fixture.put("a/b", "v"));
  CHECK(code_of(fixture.put("a", "v")) == Errc::kUnsupported);
  CHECK(code_of(fixture.put("a", "v", PutCondition::kIfAbsent)) == Errc::kUnsupported);
  CHECK(code_of(fixture.put("a/b/c", "v")) == Errc::kUnsupported);
  CHECK(code_of(fixture.get("a")) == Errc::kNotFound);
  CHECK(code_of(fixture.get("a/b/c")) == Errc::kNotFound);
  CHECK(remove_sync(*fixture.store, "a/b/c", {}));
  CHECK(fixture.temporaries() == 0);
  CHECK(code_of(fixture.put(std::string(256, 'x'), "v")) == Errc::kInvalid);
  CHECK(fixture.put(std::string(255, 'x'), "v"));
}

TEST_CASE("a file store goes on when its directories are removed behind its back") {
  Fixture fixture;
  REQUIRE(fixture.put("p/aa/x", "v"));
  fs::remove_all(fixture.dir / "root/p");
  fs::remove_all(fixture.dir / "root/.tmp");
  CHECK(fixture.put("p/aa/y", "v", PutCondition::kIfAbsent));
  fs::remove_all(fixture.dir / "root/p");
  CHECK(fixture.put("p/aa/y", "v"));
  CHECK(fixture.keys() == std::vector<std::string>{"p/aa/y"});
}

TEST_CASE("a body whose file is too short fails its put and leaves nothing") {
  Fixture fixture;
  auto file = posix_env().open(fixture.dir / "short", OpenMode::kCreateNew);
  REQUIRE(file);
  REQUIRE((*file)->write_at(0, as_bytes("1234")));
  Body body;
  body.add(std::shared_ptr<File>(*std::move(file)), {2, 4});
  const auto etag = put_sync(*fixture.store, "k", body, PutCondition::kAlways, {});
  CHECK(code_of(etag) == Errc::kCorruption);
  CHECK_FALSE(outcome_unknown(etag.error()));
  CHECK(fixture.keys().empty());
  CHECK(fixture.temporaries() == 0);
}
