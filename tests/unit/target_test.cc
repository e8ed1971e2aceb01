#include "tools/target.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>

#include "cache/base/executor.h"
#include "cache/volume_format.h"
#include "s3/memory_store.h"
#include "tests/support/temp_dir.h"
#include "tools/commands.h"

using namespace cairn;

namespace {

// "root text | key"
std::string seen(const std::string& text, bool is_new = false) {
  const auto target = find_target(text, is_new);
  if (!target) return "refused";
  CHECK_FALSE(target->mount);
  return target->root.text() + " | " + target->key;
}

}  // namespace

TEST_CASE("a target in a bucket: the key is taken as it stands") {
  CHECK(seen("s3://b/k") == "s3://b | k");
  CHECK(seen("s3://b") == "s3://b | ");
  CHECK(seen("s3://b/") == "s3://b | ");
  CHECK(seen("s3://b/dir/") == "s3://b | dir/");
  CHECK(seen("s3://b//a/../x") == "s3://b | /a/../x");
  CHECK(seen("b:k/l") == "s3://b | k/l");
  CHECK(seen("b") == "s3://b | ");
  CHECK(seen("s3://") == "s3:// | ");
  for (const char* text : {"", "s3:///k", "http://b/k", "a b", "x/y"})
    CHECK(seen(text) == "refused");
  CHECK(seen("s3://b/" + std::string(1025, 'k')) == "refused");
  const auto target = find_target("s3://b/dir/name.txt");
  CHECK(target->name() == "name.txt");
  CHECK(target->text() == "s3://b/dir/name.txt");
  CHECK(target->text_of("dir") == "s3://b/dir");
}

TEST_CASE("a target in a directory: the store is what is known as one") {
  const TempDir temp;
  const std::string top = temp.path();
  std::filesystem::create_directories(top + "/plain/sub");
  std::filesystem::create_directories(top + "/store/.tmp");
  std::filesystem::create_directories(top + "/store/sub");
  std::filesystem::create_directories(top + "/volume/inner");
  std::ofstream(top + "/volume/cairn.json") << "{}";
  const std::string url = "file://" + top;
  CHECK(seen(url + "/plain") == url + "/plain | ");
  CHECK(seen(top + "/plain/sub") == url + "/plain/sub | ");
  CHECK(seen(top + "/plain/file") == url + "/plain | file");
  CHECK(seen(top + "/plain/new/file", true) == url + "/plain | new/file");
  CHECK(seen(top + "/store/sub/file") == url + "/store | sub/file");
  CHECK(seen(top + "/store/sub/") == url + "/store | sub/");
  CHECK(seen(top + "/volume/inner/file") == url + "/volume | inner/file");
  // What is put goes into a directory, and what is looked at is called as it is written.
  CHECK(seen(top + "/store/sub") == url + "/store | sub");
  CHECK(seen(top + "/store/sub", true) == url + "/store | sub/");
  CHECK(seen(top + "/store/none", true) == url + "/store | none");
}

TEST_CASE("options that would do nothing are refused") {
  const auto refused = [](const std::string& option, const std::string& text, StoreUse use) {
    const auto target = find_target(text, true);
    REQUIRE(target);
    const Status fine = check_store_options({"json", option}, *target, use);
    if (!fine) CHECK(fine.error().code() == Errc::kInvalid);
    return !fine;
  };
  const TempDir temp;
  const std::string dir = "file://" + temp.path() + "/x";
  for (const char* option : {"acl", "sse", "sse-kms-key-id", "storage-class"}) {
    CHECK(refused(option, "s3://b/k", StoreUse::kRead));
    CHECK_FALSE(refused(option, "s3://b/k", StoreUse::kWritten));
    CHECK(refused(option, dir, StoreUse::kWritten));
  }
  for (const char* option : {"region", "profile", "endpoint-url", "sse-c-key-file"}) {
    CHECK_FALSE(refused(option, "s3://b/k", StoreUse::kRead));
    CHECK(refused(option, dir, StoreUse::kRead));
  }
  CHECK_FALSE(refused("objects", "s3://b/k", StoreUse::kRead));
  CHECK_FALSE(refused("objects", dir, StoreUse::kRead));
}

TEST_CASE("a volume is found from the keys in it") {
  ThreadExecutor executor("io", 2);
  MemoryStore store(executor, system_clock());
  VolumeFile file;
  file.uuid = "0";
  file.created = "2026-11-22T20:47:07Z";
  file.chunk_size = 1 << 18;
  file.links_per_node = 174;
  file.fanout_bits = 2;
  store.put_foreign("a/b/cairn.json", Buffer::copy(file.encode()));
  store.put_foreign("c/cairn.json", Buffer::copy("something else"));
  const auto volume_of = [&](const std::string& key) {
    const auto found = find_volume(store, key, Context());
    REQUIRE(found);
    return *found ? "'" + **found + "'" : "none";
  };
  CHECK(volume_of("a/b") == "'a/b'");
  CHECK(volume_of("a/b/") == "'a/b'");
  CHECK(volume_of("a/b/tree/file") == "'a/b'");
  CHECK(volume_of("a") == "none");
  CHECK(volume_of("a/bc") == "none");
  CHECK(volume_of("") == "none");
  CHECK(volume_of("c/x") == "none");
  CHECK(volume_of(std::string(1024, 'k')) == "none");
  store.put_foreign("cairn.json", Buffer::copy(file.encode()));
  CHECK(volume_of("x/y") == "''");
}
