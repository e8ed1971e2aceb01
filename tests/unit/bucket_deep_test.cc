#include "cache/bucket_deep.h"

#include <doctest/doctest.h>

#include "tests/support/manual_clock.h"

using namespace cairn;
using namespace cairn::test;

namespace {

struct Deep {
  static constexpr auto kTtl = std::chrono::seconds(10);
  ManualClock clock;
  BucketTree tree{make_memory_meta_store(), clock};
  DeepPages pages{tree, kTtl};

  static ListPage page(const std::vector<std::string>& keys, bool truncated) {
    ListPage out;
    for (const std::string& key : keys) out.objects.push_back({key, 1, "etag", 1});
    out.truncated = truncated;
    return out;
  }
  // The root, up to "d/b".
  uint64_t begin() {
    const DeepPages::Next asked{DeepPages::How::kDeep, {}, tree.now_ns(), 0, 0};
    const auto taken =
        pages.take(BucketTree::kRoot, "", asked, page({"a/x", "d/a", "d/b"}, true), tree.now_ns());
    REQUIRE(taken);
    CHECK_FALSE(taken->complete);
    const auto entry = tree.entry(BucketTree::kRoot, "d");
    REQUIRE(entry);
    REQUIRE(*entry);
    return (*entry)->ino;
  }
};

}  // namespace

TEST_CASE("what a page ends in goes on from there, and is as old as its beginning") {
  Deep w;
  const uint64_t d = w.begin();
  w.clock.advance(std::chrono::seconds(6));
  const auto next = w.pages.first(d, "d/", true);
  REQUIRE(next);
  CHECK(next->how == DeepPages::How::kLevel);
  CHECK(next->after == level_behind_key("d/b"));
  CHECK(next->pages == 1);
  REQUIRE(w.tree.finish_listing(d, next->started_ns, 2, next->idle_ns));
  const auto listing = w.tree.listing(d);
  REQUIRE(listing);
  REQUIRE(*listing);
  CHECK((*listing)->listed_ns == w.tree.now_ns() - 6'000'000'000);
  const auto names = w.tree.entries(d, "", 10);
  REQUIRE(names);
  CHECK(names->size() == 2);
  CHECK(w.pages.first(d, "d/", true)->after.empty());  // once
}

TEST_CASE("a listing is begun anew when it was begun too long ago, or elsewhere") {
  Deep w;
  const auto begins_anew = [&](uint64_t dir, const std::string& prefix) {
    const auto next = w.pages.first(dir, prefix, true);
    REQUIRE(next);
    return next->after.empty() && next->pages == 0;
  };
  uint64_t d = w.begin();
  w.clock.advance(Deep::kTtl);
  CHECK(begins_anew(d, "d/"));
  d = w.begin();
  CHECK(begins_anew(d, "moved/"));
}

TEST_CASE("a page says nothing of a directory that was made here since it was asked for") {
  Deep w;
  const uint64_t d = w.begin();
  const int64_t asked_ns = w.tree.now_ns();
  w.clock.advance(std::chrono::seconds(1));
  REQUIRE(w.tree.drop(d));
  BucketNode made;
  made.kind = BucketNode::Kind::kDirectory;
  made.part = "d";
  made.parent = BucketTree::kRoot;
  const uint64_t own = (uint64_t{kOwnSlot} << 48) + 7;
  REQUIRE(w.tree.place(BucketTree::kRoot, "d", own, made));
  const DeepPages::Next asked{DeepPages::How::kDeep, {}, asked_ns, 0, 0};
  const auto taken =
      w.pages.take(BucketTree::kRoot, "", asked, Deep::page({"d/a", "d/b"}, false), asked_ns);
  REQUIRE(taken);
  CHECK(taken->complete);
  CHECK(w.tree.entries(own, "", 10)->empty());
}

TEST_CASE("a name that turned out to be another is not taken for gone by a listing under way") {
  Deep w;
  const int64_t started_ns = w.tree.now_ns();
  REQUIRE(w.tree.note_page(BucketTree::kRoot, "", Deep::page({"a", "b"}, true), started_ns));
  const auto a = w.tree.entry(BucketTree::kRoot, "a");
  REQUIRE(a);
  REQUIRE(*a);
  w.clock.advance(std::chrono::seconds(1));
  REQUIRE(w.tree.expire((*a)->ino));
  w.clock.advance(std::chrono::seconds(1));
  REQUIRE(w.tree.note_page(BucketTree::kRoot, "", Deep::page({"c"}, false), w.tree.now_ns()));
  REQUIRE(w.tree.finish_listing(BucketTree::kRoot, started_ns, 2));
  CHECK(w.tree.entries(BucketTree::kRoot, "", 10)->size() == 3);
  CHECK((*w.tree.entry(BucketTree::kRoot, "a"))->seen_ns == 0);  // it is asked for again
}
