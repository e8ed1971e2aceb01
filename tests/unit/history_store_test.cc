#include "s3/history_store.h"

#include <doctest/doctest.h>

#include <set>

#include "s3/memory_store.h"

using namespace cairn;

namespace {
const std::string kPart = "\x1fpast";
}

TEST_CASE("names of what is past say when and which, keep their endings, and can be read back") {
  constexpr int64_t kTime = 1'795'759'200'123'456'789;  // 2026-11-27T06:00:00Z
  CHECK(format_past_name("report.txt", "3f2a-9b", kTime) ==
        "report@2026-11-27T060000Z-3f2a-9b.txt");
  CHECK(format_past_name("Makefile", "null", kTime) == "Makefile@2026-11-27T060000Z-null");
  CHECK(format_past_name(".hidden", "x.y/z", kTime) == ".hidden@2026-11-27T060000Z-x%2Ey%2Fz");
  CHECK(format_past_name("x", "v", -1) == "x@1969-12-31T235959Z-v");
  for (const char* name :
       {"a", "a.b", "a.b.tar.gz", ".x", "a.", "a.with space", "@", "a@b.c",
        "a@2026-11-27T060000Z-old.txt", "\xc3\xa9.\xc3\xa9", "%41.txt", "long.endingendingending"})
    for (const char* version : {"null", "v1", "aB.c_d-e", "3/L4kq+tJ", "%"}) {
      CAPTURE(name);
      CAPTURE(version);
      CHECK(parse_past_name(format_past_name(name, version, kTime)) == PastName{name, version});
    }
  for (const char* none : {"", "a", "a@b", "a@2026-11-27T06:00:00Z-v", "a@2026-11-27T060000Z-",
                           "a@2026-11-27T060000Z-.txt", "a@2026-11-27T060000Z-%G1"})
    CHECK_FALSE(parse_past_name(none));
}

TEST_CASE("what was overwritten or removed is there below a part of its own, and only read") {
  ThreadExecutor executor("store", 2);
  const auto memory = std::make_shared<MemoryStore>(executor, system_clock());
  memory->keep_versions();
  HistoryStore store(memory, executor, kPart);
  const auto put = [&](const std::string& key, const std::string& bytes) {
    REQUIRE(put_sync(store, key, Body(Buffer::copy(bytes)), {}, Context()));
  };
  put("d/a.txt", "first");
  REQUIRE(put_tags_sync(store, "d/a.txt", {}, {{"of", "first"}}, Context()));
  put("d/a.txt", "second");
  put("d/gone", "was here");
  REQUIRE(remove_sync(store, "d/gone", Context()));
  put("d/sub/x", "below");
  REQUIRE(remove_sync(store, "d/sub/x", Context()));
  put("only", "one version");

  const std::string past = "d/" + kPart + "/";
  for (const uint32_t limit : {1U, 2U, 1000U}) {
    std::map<std::string, std::string> found;
    std::set<std::string> dirs;
    std::string after;
    while (true) {
      const auto page = list_sync(store, ListScope::level(past), after, limit, Context());
      REQUIRE(page);
      for (const ObjectInfo& object : page->objects) {
        const auto name = parse_past_name(object.key.substr(past.size()));
        REQUIRE(name);
        GetRange range = GetRange::all();
        range.if_match = object.etag;
        const auto got = get_sync(store, object.key, range, Context());
        REQUIRE(got);
        CHECK(got->etag == object.etag);
        found[name->name] = to_string(got->bytes);
        const auto head = head_sync(store, object.key, Context());
        REQUIRE(head);
        CHECK(head->info.key == object.key);
        CHECK(head->info.etag == object.etag);
        if (name->name == "a.txt")
          CHECK(get_tags_sync(store, object.key, {}, Context())->front().second == "first");
      }
      dirs.insert(page->prefixes.begin(), page->prefixes.end());
      if (!page->truncated) break;
      after = page->next;
    }
    CHECK(found == std::map<std::string, std::string>{{"a.txt", "first"}, {"gone", "was here"}});
    CHECK(dirs == std::set<std::string>{past + "sub/"});
  }
  const auto below = list_sync(store, ListScope::level(past + "sub/"), "", 1000, Context());
  REQUIRE(below);
  REQUIRE(below->objects.size() == 1);
  CHECK(to_string(get_sync(store, below->objects[0].key, GetRange::all(), Context())->bytes) ==
        "below");
  CHECK(put_sync(store, past + "new", Body(), {}, Context()).error().code() == Errc::kUnsupported);
  CHECK(remove_sync(store, below->objects[0].key, Context()).error().code() == Errc::kUnsupported);
  CHECK(get_sync(store, past + "a.txt", GetRange::all(), Context()).error().code() ==
        Errc::kNotFound);
  // All else is as it is.
  const auto all = list_sync(store, "", "", 1000, Context());
  REQUIRE(all);
  CHECK(all->objects.size() == 2);
  CHECK(list_sync(store, ListScope::level("d/"), "", 1000, Context())->objects.size() == 1);
}
