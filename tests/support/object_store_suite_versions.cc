// The part of object_store_suite about tags, storage classes and versions.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>

#include "tests/support/object_store_part.h"

namespace cairn::suite {

namespace {

using TagMap = std::map<std::string, std::string>;

Result<TagMap> tags_of(const Part& part, const std::string& name, const std::string& version = {}) {
  TRY_ASSIGN(const ObjectTags tags, get_tags_sync(part.store, part.key(name), version, within()));
  TagMap out(tags.begin(), tags.end());
  CHECK(out.size() == tags.size());
  return out;
}

Status set_tags(const Part& part, const std::string& name, const TagMap& tags,
                const std::string& version = {}) {
  return put_tags_sync(part.store, part.key(name), version, {tags.begin(), tags.end()}, within());
}

const TagMap kMany{
    {"k", "v"}, {"empty", ""}, {"path/like:x@y", "a b+c-d=e._"}, {"upper Case", "Other Case"}};

void keeps_tags(const StoreUnderTest& subject) {
  Part part(subject, "tags");
  const auto etag = part.put("a", "text");
  REQUIRE_MESSAGE(etag, etag.error().message());
  CHECK(code_of(tags_of(part, "missing")) == Errc::kNotFound);
  CHECK(code_of(set_tags(part, "missing", {{"a", "b"}})) == Errc::kNotFound);
  auto tags = tags_of(part, "a");
  REQUIRE_MESSAGE(tags, tags.error().message());
  CHECK(tags->empty());
  if (!subject.keeps_headers) {
    CHECK(code_of(set_tags(part, "a", kMany)) == Errc::kUnsupported);
    return;
  }
  const auto set = set_tags(part, "a", kMany);
  REQUIRE_MESSAGE(set, set.error().message());
  CHECK(*tags_of(part, "a") == kMany);
  const auto head = head_sync(part.store, part.key("a"), within());
  REQUIRE(head);
  CHECK(head->info.etag == *etag);  // it is the same version
  if (head->tag_count) CHECK(*head->tag_count == kMany.size());
  REQUIRE(set_tags(part, "a", {{"k", "other"}}));
  CHECK(*tags_of(part, "a") == TagMap{{"k", "other"}});
  REQUIRE(set_tags(part, "a", {}));
  CHECK(tags_of(part, "a")->empty());
  // S3 takes letters of all kinds, MinIO those of ASCII.
  if (subject.takes_any_bytes) {
    const TagMap letters{{"\xc3\xa9t\xc3\xa9", "\xe6\x97\xa5"}};
    REQUIRE(set_tags(part, "a", letters));
    CHECK(*tags_of(part, "a") == letters);
  }
  // Those that come with a put; and a put without any has none.
  PutHow how;
  how.tags = ObjectTags(kMany.begin(), kMany.end());
  const auto put = part.put("b", "text", how);
  REQUIRE_MESSAGE(put, put.error().message());
  CHECK(*tags_of(part, "b") == kMany);
  REQUIRE(part.put("b", "text"));
  CHECK(tags_of(part, "b")->empty());
}

void refuses_tags_no_store_keeps(const StoreUnderTest& subject) {
  Part part(subject, "tag rules");
  REQUIRE(part.put("a", "text"));
  std::string wide;
  for (int i = 0; i < 129; ++i) wide += "\xc3\xa9";
  TagMap eleven;
  for (int i = 0; i < 11; ++i) eleven["k" + std::to_string(i)] = "v";
  for (const TagMap& tags : {TagMap{{"", "v"}}, TagMap{{"a*b", "v"}}, TagMap{{"k", "a&b"}},
                             TagMap{{"k", "\n"}}, TagMap{{"aws:x", "v"}}, TagMap{{wide, "v"}},
                             TagMap{{"k", std::string(257, 'v')}}, TagMap{{"k", "\xff"}}, eleven}) {
    CHECK(code_of(set_tags(part, "a", tags)) == Errc::kInvalid);
    PutHow how;
    how.tags = ObjectTags(tags.begin(), tags.end());
    CHECK(code_of(part.put("a", "text", how)) == Errc::kInvalid);
  }
  CHECK(code_of(put_tags_sync(part.store, part.key("a"), "", {{"k", "1"}, {"k", "2"}}, within())) ==
        Errc::kInvalid);
  if (!subject.keeps_headers) return;
  // The most that there may be.
  wide.resize(wide.size() - 2);
  eleven.erase("k0");
  eleven.erase("k1");
  eleven[subject.takes_any_bytes ? wide : std::string(128, 'n')] = std::string(256, 'v');
  const auto most = set_tags(part, "a", eleven);
  REQUIRE_MESSAGE(most, most.error().message());
  CHECK(*tags_of(part, "a") == eleven);
}

// The tags of an object go with a copy of the whole, whichever way it is copied.
void copies_keep_tags(const StoreUnderTest& subject) {
  if (!subject.keeps_headers) return;
  Part part(subject, "tag copies");
  PutHow how;
  how.tags = ObjectTags(kMany.begin(), kMany.end());
  const std::string text(6 << 20, 'x');
  for (const size_t size : {size_t{5}, text.size()}) {
    const std::string from = "from" + std::to_string(size);
    const auto etag = part.put(from, std::string_view(text).substr(0, size), how);
    REQUIRE_MESSAGE(etag, etag.error().message());
    Body whole;
    whole.add(ObjectRange{part.key(from), *etag, size, {0, size}});
    const auto copy = [&](const std::string& to, PutHow as) {
      const auto put = put_sync(part.store, part.key(to), whole, std::move(as), within());
      REQUIRE_MESSAGE(put, put.error().message());
    };
    copy(from + "-plain", {});
    CHECK(*tags_of(part, from + "-plain") == kMany);
    copy(from + "-new", PutCondition::kIfAbsent);
    CHECK(*tags_of(part, from + "-new") == kMany);
    PutHow other;
    other.tags = ObjectTags{{"only", "this"}};
    copy(from + "-other", other);
    CHECK(*tags_of(part, from + "-other") == TagMap{{"only", "this"}});
    other.tags->clear();
    copy(from + "-none", other);
    CHECK(tags_of(part, from + "-none")->empty());
    other.condition = PutCondition::kIfAbsent;
    copy(from + "-new-none", other);
    CHECK(tags_of(part, from + "-new-none")->empty());
    // Onto itself, with other headers.
    PutHow headers;
    headers.headers.content_type = "text/plain";
    copy(from, headers);
    CHECK(*tags_of(part, from) == kMany);
  }
}

// All versions below the part, in pages of `limit`.
std::vector<ObjectVersion> versions_of(const Part& part, ListScope scope, uint32_t limit,
                                       std::vector<std::string>* prefixes = nullptr) {
  std::vector<ObjectVersion> out;
  std::string after;
  for (int pages = 0; pages < 1000; ++pages) {
    const auto page = list_versions_sync(part.store, scope, after, limit, within());
    REQUIRE_MESSAGE(page, page.error().message());
    CHECK(page->versions.size() + page->prefixes.size() <= limit);
    out.insert(out.end(), page->versions.begin(), page->versions.end());
    if (prefixes != nullptr)
      prefixes->insert(prefixes->end(), page->prefixes.begin(), page->prefixes.end());
    if (!page->truncated) return out;
    CHECK(page->next != after);
    after = page->next;
  }
  FAIL("the versions do not end");
  return out;
}

std::vector<uint32_t> limits_of(const StoreUnderTest& subject) {
  if (subject.pages_versions) return {1, 2, 3, 1000};
  return {1000};
}

void lists_one_version_of_each(const StoreUnderTest& subject) {
  Part part(subject, "one version");
  CHECK(*keeps_versions_sync(part.store, within()) == subject.keeps_versions);
  CHECK(versions_of(part, part.prefix, 1000).empty());
  std::map<std::string, std::string> etags;
  for (const char* name : {"a", "a+b%20 \xc3\xa9", "dir/one", "dir/two", "z"})
    etags[part.key(name)] = part.put(name, name).value();
  for (const uint32_t limit : limits_of(subject)) {
    const auto versions = versions_of(part, part.prefix, limit);
    CHECK(versions.size() == etags.size());
    for (const ObjectVersion& version : versions) {
      CHECK(etags.at(version.info.key) == version.info.etag);
      CHECK(version.latest);
      CHECK_FALSE(version.deleted);
      GetRange whole = GetRange::all();
      whole.version = version.version_id;
      const auto got = get_sync(part.store, version.info.key, whole, within());
      REQUIRE_MESSAGE(got, got.error().message());
      CHECK(part.prefix + to_string(got->bytes) == version.info.key);
      if (!subject.pages_versions) continue;  // a HEAD of version "null" is none for it either
      const auto head =
          head_version_sync(part.store, version.info.key, version.version_id, within());
      REQUIRE_MESSAGE(head, head.error().message());
      CHECK(head->info.etag == version.info.etag);
    }
    std::vector<std::string> prefixes;
    const auto level = versions_of(part, ListScope::level(part.prefix), limit, &prefixes);
    CHECK(level.size() == 3);
    CHECK(prefixes == std::vector<std::string>{part.key("dir/")});
  }
}

void keeps_what_was_there(const StoreUnderTest& subject) {
  if (!subject.keeps_versions) return;
  Part part(subject, "versions");
  std::vector<std::string> etags;
  for (const char* text : {"first", "second", "third"}) etags.push_back(*part.put("a", text));
  REQUIRE(set_tags(part, "a", {{"of", "third"}}));
  REQUIRE(part.put("b", "alone"));
  REQUIRE(remove_sync(part.store, part.key("b"), within()));
  REQUIRE(part.put("dir/c", "below"));
  for (const uint32_t limit : limits_of(subject)) {
    const auto all = versions_of(part, part.prefix, limit);
    REQUIRE(all.size() == 6);
    for (size_t i = 0; i < 3; ++i) {
      CHECK(all[i].info.key == part.key("a"));
      CHECK(all[i].info.etag == etags[2 - i]);
      CHECK(all[i].latest == (i == 0));
      CHECK_FALSE(all[i].deleted);
      if (i > 0) CHECK(all[i].info.mtime_ns <= all[i - 1].info.mtime_ns);
    }
    CHECK(all[3].info.key == part.key("b"));
    CHECK(all[3].deleted);
    CHECK(all[3].latest);
    CHECK_FALSE(all[4].deleted);
    CHECK_FALSE(all[4].latest);
    CHECK(all[5].info.key == part.key("dir/c"));
  }
  const auto all = versions_of(part, part.prefix, 1000);
  GetRange range = GetRange::from(1, 3);
  range.version = all[2].version_id;
  CHECK(*part.get("a", range) == "irs");
  range.if_match = etags[0];
  CHECK(*part.get("a", range) == "irs");
  range.if_match = etags[1];
  CHECK(code_of(part.get("a", range)) == Errc::kPrecondition);
  range = GetRange::all();
  range.version = all[3].version_id;
  CHECK(code_of(part.get("b", range)) == Errc::kNotFound);
  CHECK(code_of(part.get("b")) == Errc::kNotFound);
  CHECK(code_of(head_version_sync(part.store, part.key("b"), all[3].version_id, within())) ==
        Errc::kNotFound);
  range.version = all[4].version_id;
  CHECK(*part.get("b", range) == "alone");
  const auto head = head_version_sync(part.store, part.key("a"), all[1].version_id, within());
  REQUIRE_MESSAGE(head, head.error().message());
  CHECK(head->info.etag == etags[1]);
  CHECK(head->version_id == all[1].version_id);
  CHECK(head_sync(part.store, part.key("a"), within())->version_id == all[0].version_id);
  CHECK(*tags_of(part, "a") == TagMap{{"of", "third"}});
  CHECK(tags_of(part, "a", all[2].version_id)->empty());
  REQUIRE(set_tags(part, "a", {{"of", "first"}}, all[2].version_id));
  CHECK(*tags_of(part, "a", all[2].version_id) == TagMap{{"of", "first"}});
  CHECK(*tags_of(part, "a") == TagMap{{"of", "third"}});
}

}  // namespace

}  // namespace cairn::suite

namespace cairn {

void object_version_suite(const StoreUnderTest& subject) {
  suite::keeps_tags(subject);
  suite::refuses_tags_no_store_keeps(subject);
  suite::copies_keep_tags(subject);
  suite::lists_one_version_of_each(subject);
  suite::keeps_what_was_there(subject);
}

}  // namespace cairn
