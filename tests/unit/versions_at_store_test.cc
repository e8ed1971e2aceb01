#include "s3/versions_at_store.h"

#include <doctest/doctest.h>

#include <map>
#include <set>

#include "cache/base/random.h"
#include "s3/memory_store.h"
#include "s3/metered_store.h"
#include "tests/support/manual_clock.h"

using namespace cairn;
using namespace cairn::test;

namespace {

using Objects = std::map<std::string, std::string>;

struct Past {
  Past() { memory->keep_versions(); }
  void put(const std::string& key, const std::string& bytes) {
    REQUIRE(put_sync(*memory, key, Body(Buffer::copy(bytes)), {}, Context()));
    model[key] = bytes;
    step();
  }
  void remove(const std::string& key) {
    REQUIRE(remove_sync(*memory, key, Context()));
    model.erase(key);
    step();
  }
  // What was there from now on, until something else happens.
  void step() {
    was[clock.wall_ns()] = model;
    clock.advance(std::chrono::seconds(1));
  }
  std::shared_ptr<VersionsAtStore> at(int64_t ns) {
    return std::make_shared<VersionsAtStore>(metered, executor, ns);
  }

  ThreadExecutor executor{"store", 2};
  ManualClock clock;
  std::shared_ptr<MemoryStore> memory = std::make_shared<MemoryStore>(executor, clock);
  std::shared_ptr<MeteredStore> metered = std::make_shared<MeteredStore>(memory);
  Objects model;
  std::map<int64_t, Objects> was;
};

std::string bytes_of(ObjectStore& store, const ObjectInfo& object) {
  GetRange range = GetRange::all();
  range.if_match = object.etag;
  const auto got = get_sync(store, object.key, range, Context());
  REQUIRE_MESSAGE(got, got.error().message());
  CHECK(got->etag == object.etag);
  return to_string(got->bytes);
}

Objects flat(ObjectStore& store, uint32_t limit) {
  Objects out;
  std::string after;
  for (int pages = 0; pages < 10'000; ++pages) {
    const auto page = list_sync(store, "", after, limit, Context());
    REQUIRE_MESSAGE(page, page.error().message());
    CHECK(page->objects.size() <= limit);
    for (const ObjectInfo& object : page->objects) {
      CHECK(object.key > after);
      after = object.key;
      out[object.key] = bytes_of(store, object);
    }
    if (!page->truncated) return out;
    REQUIRE_FALSE(page->objects.empty());
  }
  FAIL("the listing does not end");
  return out;
}

// The same by levels, as a mount sees it: directories are there only with something in them.
void walk(ObjectStore& store, const std::string& prefix, uint32_t limit, Objects& out) {
  std::set<std::string> below;
  std::string after;
  for (int pages = 0; pages < 10'000; ++pages) {
    const auto page = list_sync(store, ListScope::level(prefix), after, limit, Context());
    REQUIRE_MESSAGE(page, page.error().message());
    for (const ObjectInfo& object : page->objects)
      CHECK(out.emplace(object.key, bytes_of(store, object)).second);
    for (const std::string& each : page->prefixes) CHECK(below.insert(each).second);
    if (!page->truncated) break;
    REQUIRE(page->next != after);
    after = page->next;
  }
  for (const std::string& each : below) {
    const size_t before = out.size();
    walk(store, each, limit, out);
    CHECK_MESSAGE(out.size() > before, "nothing in " << each);
  }
}

}  // namespace

TEST_CASE("a store as of a time shows what was there then, whatever happened since") {
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    CAPTURE(seed);
    Past past;
    const auto rng = make_seeded_rng(seed);
    const std::vector<std::string> keys{"a",     "a-b",   "a/b",   "a/c/d", "a/c/e",
                                        "a/c.d", "e/f/g", "e/f/h", "z",     "\xc3\xa9 %+"};
    const int64_t before = past.clock.wall_ns() - 1;
    for (int i = 0; i < 60; ++i) {
      const std::string& key = keys[rng->below(keys.size())];
      if (rng->below(3) == 0)
        past.remove(key);
      else
        past.put(key, "bytes " + std::to_string(i));
    }
    CHECK(flat(*past.at(before), 1000).empty());
    for (const auto& [time, objects] : past.was) {
      if (rng->below(4) != 0) continue;
      const auto store = past.at(time + static_cast<int64_t>(rng->below(999'999'999)));
      const auto limit = static_cast<uint32_t>(1 + rng->below(4));
      CAPTURE(limit);
      CHECK(flat(*store, limit) == objects);
      Objects walked;
      walk(*store, "", limit, walked);
      CHECK(walked == objects);
      for (const std::string& key : keys) {
        // Without a listing before, too.
        const auto fresh = past.at(time);
        const auto head = head_sync(*fresh, key, Context());
        CHECK(head.has_value() == objects.contains(key));
        if (!head) CHECK(head.error().code() == Errc::kNotFound);
        if (head) CHECK(head->info.size == objects.at(key).size());
        const auto got = get_sync(*fresh, key, GetRange::all(), Context());
        CHECK((got ? to_string(got->bytes) : "") == (objects.contains(key) ? objects.at(key) : ""));
      }
    }
  }
}

TEST_CASE(
    "a store as of a time costs a request a page, one a directory, and none for known versions") {
  Past past;
  for (int i = 0; i < 50; ++i) past.put("d/" + std::to_string(i), "x");
  for (int i = 0; i < 5; ++i) past.put("e" + std::to_string(i) + "/x", "x");
  past.put("e0/x", "newer");
  const auto store = past.at(past.clock.wall_ns() - 1'500'000'000);
  auto before = past.metered->counts();
  const auto top = list_sync(*store, ListScope::level(""), "", 1000, Context());
  REQUIRE(top);
  CHECK(top->prefixes.size() == 6);
  CHECK(past.metered->counts().list - before.list == 7);
  before = past.metered->counts();
  const auto page = list_sync(*store, ListScope::level("d/"), "", 1000, Context());
  REQUIRE(page);
  CHECK(page->objects.size() == 50);
  for (const ObjectInfo& object : page->objects) {
    REQUIRE(head_sync(*store, object.key, Context()));
    CHECK(bytes_of(*store, object) == "x");
  }
  const auto after = past.metered->counts();
  CHECK(after.list - before.list == 1);
  CHECK(after.head - before.head == 50);
  CHECK(after.get - before.get == 50);
  CHECK(to_string(get_sync(*store, "e0/x", GetRange::all(), Context())->bytes) == "x");
}

TEST_CASE("a store as of a time reads past newer versions in large pages") {
  Past past;
  past.put("a", "x");
  past.put("b", "x");
  const int64_t time = past.clock.wall_ns() - 1;
  for (int i = 0; i < 300; ++i) past.put("a", "newer");
  const auto store = past.at(time);
  auto before = past.metered->counts().list;
  const auto page = list_sync(*store, "", "", 1, Context());
  REQUIRE(page);
  REQUIRE(page->objects.size() == 1);
  CHECK(page->objects[0].key == "a");
  CHECK(past.metered->counts().list - before == 1);
  // One key: a small page, which says nothing here, then a large one.
  const auto fresh = past.at(time);
  before = past.metered->counts().list;
  CHECK(to_string(get_sync(*fresh, "a", GetRange::all(), Context())->bytes) == "x");
  CHECK(past.metered->counts().list - before == 2);
}

TEST_CASE("a store as of a time takes no change, and says the errors of the store below") {
  Past past;
  past.put("a", "x");
  const auto store = past.at(past.clock.wall_ns());
  CHECK(put_sync(*store, "a", Body(Buffer::copy("y")), {}, Context()).error().code() ==
        Errc::kUnsupported);
  CHECK(remove_sync(*store, "a", Context()).error().code() == Errc::kUnsupported);
  CHECK(put_tags_sync(*store, "a", {}, {}, Context()).error().code() == Errc::kUnsupported);
  CHECK(list_sync(*store, "", "", 0, Context()).error().code() == Errc::kInvalid);
  CHECK(flat(*store, 1000) == Objects{{"a", "x"}});
}
