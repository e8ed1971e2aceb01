#include "cache/bucket_pages.h"

#include <doctest/doctest.h>

#include <set>

#include "cache/base/random.h"
#include "s3/memory_store.h"

using namespace cairn;

namespace {

struct Bucket {
  ThreadExecutor executor{"store", 1};
  MemoryStore store{executor, system_clock()};

  void put(const std::string& key) { store.put_foreign(key, Buffer::copy("x")); }
  // One level of it, behind `after`: objects and prefixes.
  std::set<std::string> level(const std::string& prefix, std::string after = {}) {
    std::set<std::string> out;
    int pages = 0;
    for (bool more = true; more; ++pages) {
      REQUIRE(pages < 10);
      const auto page = list_sync(store, ListScope::level(prefix), after, 1000, Context());
      REQUIRE(page);
      for (const ObjectInfo& object : page->objects) out.insert(object.key);
      out.insert(page->prefixes.begin(), page->prefixes.end());
      after = page->next;
      more = page->truncated;
    }
    return out;
  }
};

std::set<std::string> names_in(const ListPage& level) {
  std::set<std::string> out(level.prefixes.begin(), level.prefixes.end());
  for (const ObjectInfo& object : level.objects) out.insert(object.key);
  CHECK(out.size() == level.prefixes.size() + level.objects.size());
  return out;
}

ListPage page_of(const std::vector<std::string>& keys) {
  ListPage page;
  for (const std::string& key : keys) page.objects.push_back({key, 1, "e", 0});
  return page;
}

}  // namespace

TEST_CASE("a page of keys of any depth says of each directory what listing it would") {
  const auto rng = make_seeded_rng(11);
  const std::vector<std::string> parts{"a", "a-", "a.b", "b", "", ".", "z\x7f", "longer"};
  for (int round = 0; round < 60; ++round) {
    Bucket bucket;
    const uint64_t count = 1 + rng->below(60);
    for (uint64_t i = 0; i < count; ++i) {
      std::string key = "p/";
      for (uint64_t depth = rng->below(4); depth > 0; --depth)
        key += parts[rng->below(parts.size())] + "/";
      bucket.put(key + parts[rng->below(parts.size())]);
    }
    for (const uint32_t limit : {1U, 2U, 7U, 30U, 1000U}) {
      const auto page = list_sync(bucket.store, "p/", "", limit, Context());
      REQUIRE(page);
      const auto pages = directories_of("p/", *page);
      REQUIRE(pages);
      REQUIRE_FALSE(pages->empty());
      CHECK(pages->front().prefix == "p/");
      CHECK(pages->front().complete == !page->truncated);
      size_t objects = 0;
      std::set<std::string> seen;
      for (const DirectoryPage& each : *pages) {
        CAPTURE(each.prefix);
        CHECK(seen.insert(each.prefix).second);
        objects += each.level.objects.size();
        auto names = names_in(each.level);
        if (!each.complete) names.merge(bucket.level(each.prefix, each.behind));
        CHECK(names == bucket.level(each.prefix));
        if (each.prefix == "p/") continue;
        CHECK(seen.contains(std::string(prefix_above(each.prefix))));
        CHECK(std::string(prefix_above(each.prefix)) + std::string(part_in_prefix(each.prefix)) +
                  "/" ==
              each.prefix);
      }
      CHECK(objects == page->objects.size());
    }
  }
}

TEST_CASE("a hostile page is refused, and a deep one makes no more directories than are of use") {
  CHECK_FALSE(directories_of("p/", page_of({"p/b", "p/a"})));
  CHECK_FALSE(directories_of("p/", page_of({"p/a/b", "p/a/b"})));
  CHECK_FALSE(directories_of("p/", page_of({"q/a"})));
  CHECK(directories_of("p/", page_of({}))->size() == 1);

  std::string deep = "p/";
  for (int i = 0; i < 400; ++i) deep += "d/";
  auto page = page_of({deep + "x", deep + "y", "p/e"});
  const auto pages = directories_of("p/", page);
  REQUIRE(pages);
  CHECK(pages->size() == 17);
  CHECK(pages->back().complete);
  CHECK(pages->back().level.prefixes == std::vector<std::string>{pages->back().prefix + "d/"});
  page.objects.pop_back();
  page.truncated = true;
  const auto cut = directories_of("p/", page);
  REQUIRE(cut);
  CHECK_FALSE(cut->back().complete);
  CHECK(cut->back().behind == level_behind_prefix(cut->back().prefix + "d/"));
}
