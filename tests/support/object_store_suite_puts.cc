// The part of object_store_suite about heads, headers, versions and ranges of objects.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <thread>

#include "cache/await.h"
#include "cache/base/coding.h"
#include "cache/base/digest.h"
#include "cache/base/random.h"
#include "cache/if_match_probe.h"
#include "tests/support/object_store_part.h"

namespace cairn::suite {

namespace {

std::string bytes_of(uint64_t seed, size_t size) {
  const auto rng = make_seeded_rng(seed);
  std::string out(size, '\0');
  auto* data = reinterpret_cast<std::byte*>(out.data());
  for (size_t i = 0; i + 8 <= size; i += 8) put_be64(data + i, rng->next());
  return out;
}

// A short failure message instead of megabytes.
bool same(const Result<std::string>& got, const std::string& wanted) {
  return got && got->size() == wanted.size() && *got == wanted;
}

ObjectRange range_of(const Part& part, const std::string& name, const std::string& etag,
                     uint64_t object_size, ByteRange range) {
  return {part.key(name), etag, object_size, range};
}

std::map<std::string, std::string> metadata_of(const ObjectHead& head) {
  return {head.headers.metadata.begin(), head.headers.metadata.end()};
}

// MinIO keeps no redirect of a website.
using Pairs = std::vector<std::pair<std::string, std::string>>;
Pairs kept_headers() {
  return {{"cache-control", "max-age=60, public"},
          {"content-disposition", "attachment; filename=\"a b\""},
          {"content-encoding", "gzip"},
          {"content-language", "de"},
          {"expires", "Wed, 01 Jan 2031 00:00:00 GMT"}};
}

// What other tools write: s3fs's mode and owner, rclone's time; and what headers cannot carry as it
// is.
ObjectHeaders many_headers() {
  std::string accents;  // over the bound of one encoded word, cut inside a character by none
  for (int i = 0; i < 50; ++i) accents += "\xc3\xa9";
  return {"text/plain; charset=utf-8",
          {{"mode", "33188"},
           {"uid", "1000"},
           {"mtime", "1795380427.250000001"},
           {"s3fs-x.y_z", "a=b; c, \"d\"  'e' (f) <g> %41+\\"},
           {"empty-is-something", "0"},
           {"blanks", " around  and inside "},
           {"euro", "\xe2\x82\xac 5 \xc3\xa9t\xc3\xa9"},
           {"long", std::string(300, 'x') + "\xf0\x9f\xaa\xa8" + accents},
           {"looks-encoded", "=?UTF-8?B?eA==?="}},
          kept_headers()};
}

std::map<std::string, std::string> kept_of(const ObjectHead& head) {
  return {head.headers.kept.begin(), head.headers.kept.end()};
}

std::map<std::string, std::string> wanted_of(const Pairs& pairs) {
  return {pairs.begin(), pairs.end()};
}

void heads_tell_what_lists_tell(const StoreUnderTest& subject) {
  Part part(subject, "head");
  CHECK(code_of(head_sync(part.store, part.key("missing"), within())) == Errc::kNotFound);
  CHECK(code_of(head_sync(part.store, part.key("not/even/near"), within())) == Errc::kNotFound);
  for (const auto& [name, text] : {std::pair<std::string, std::string>("a", "12345"),
                                   {"empty", ""},
                                   {"b c+d%/\xc3\xa9", "x"}}) {
    const auto etag = part.put(name, text);
    REQUIRE_MESSAGE(etag, etag.error().message());
    const auto head = head_sync(part.store, part.key(name), within());
    REQUIRE_MESSAGE(head, head.error().message());
    CHECK(head->info.key == part.key(name));
    CHECK(head->info.size == text.size());
    CHECK(head->info.etag == *etag);
    CHECK(head->headers.content_type == kDefaultContentType);
    CHECK(head->headers.metadata.empty());
    const auto page = list_sync(part.store, part.key(name), "", 1, within());
    REQUIRE(page);
    REQUIRE(page->objects.size() == 1);
    CHECK(page->objects[0].etag == head->info.etag);
    // A head's time may be in whole seconds.
    const int64_t apart = page->objects[0].mtime_ns - head->info.mtime_ns;
    CHECK(std::abs(apart) <= 1'000'000'000);
  }
  REQUIRE(part.put("dir/inner", "x"));
  CHECK(code_of(head_sync(part.store, part.key("dir"), within())) == Errc::kNotFound);
  REQUIRE(remove_sync(part.store, part.key("a"), within()));
  CHECK(code_of(head_sync(part.store, part.key("a"), within())) == Errc::kNotFound);
}

void keeps_headers(const StoreUnderTest& subject) {
  Part part(subject, "headers");
  PutHow how;
  how.headers = many_headers();
  const auto put = put_sync(part.store, part.key("a"), body_of("text"), how, within());
  REQUIRE_MESSAGE(put, put.error().message());
  auto head = head_sync(part.store, part.key("a"), within());
  REQUIRE_MESSAGE(head, head.error().message());
  if (!subject.keeps_headers) {
    CHECK(head->headers.content_type == kDefaultContentType);
    CHECK(head->headers.metadata.empty());
    return;
  }
  CHECK(head->headers.content_type == how.headers.content_type);
  std::map<std::string, std::string> wanted(how.headers.metadata.begin(),
                                            how.headers.metadata.end());
  const auto got = metadata_of(*head);
  for (const auto& [name, value] : wanted) {
    CAPTURE(name);
    REQUIRE(got.contains(name));
    CHECK(got.at(name) == value);
  }
  CHECK(got.size() == wanted.size());
  CHECK(kept_of(*head) == wanted_of(kept_headers()));
  // A put keeps nothing of what was there.
  REQUIRE(part.put("a", "other"));
  head = head_sync(part.store, part.key("a"), within());
  REQUIRE(head);
  CHECK(head->headers.content_type == kDefaultContentType);
  CHECK(head->headers.metadata.empty());
  CHECK(head->headers.kept.empty());
}

void refuses_headers_that_break_out(const StoreUnderTest& subject) {
  Part part(subject, "injection");
  const auto refused = [&](ObjectHeaders headers) {
    PutHow how;
    how.headers = std::move(headers);
    return code_of(put_sync(part.store, part.key("a"), body_of("x"), how, within())) ==
           Errc::kInvalid;
  };
  CHECK(refused({"text/plain\r\nx-amz-acl: public-read", {}}));
  CHECK(refused({"text/\xc3\xa9", {}}));
  CHECK(refused({"", {{"a", "b\r\nx-amz-acl: public-read"}}}));
  CHECK(refused({"", {}, {{"cache-control", "no-store\r\nx-amz-acl: public-read"}}}));
  CHECK(refused({"", {}, {{"x-amz-acl", "public-read"}}}));
  CHECK(refused({"", {{"a", "b\n"}}}));
  CHECK(refused({"", {{"a", std::string("b\0c", 3)}}}));
  CHECK(refused({"", {{"a", "\xff\xfe"}}}));
  CHECK(refused({"", {{"a: b\r\nx", "y"}}}));
  CHECK(refused({"", {{"", "y"}}}));
  CHECK(refused({"", {{"Upper", "y"}}}));
  CHECK(refused({"", {{"with blank", "y"}}}));
  CHECK(refused({"", {{"twice", "y"}, {"twice", "z"}}}));
  CHECK(refused({"", {{"large", std::string(9000, 'y')}}}));
  CHECK(code_of(part.put("a", "x", PutHow::over(""))) == Errc::kInvalid);
  CHECK(code_of(part.put("a", "x", PutHow::over("\"e\"\r\nx: y"))) == Errc::kInvalid);
  CHECK(code_of(part.get("a")) == Errc::kNotFound);
}

void puts_over_one_version_only(const StoreUnderTest& subject) {
  Part part(subject, "over");
  CHECK(code_of(part.put("a", "x", PutHow::over("\"0123456789abcdef0123456789abcdef\""))) ==
        Errc::kPrecondition);
  CHECK(code_of(part.get("a")) == Errc::kNotFound);
  const auto first = part.put("a", "first");
  REQUIRE(first);
  const auto second = part.put("a", "second", PutHow::over(*first));
  REQUIRE_MESSAGE(second, second.error().message());
  CHECK(*second != *first);
  CHECK(code_of(part.put("a", "third", PutHow::over(*first))) == Errc::kPrecondition);
  CHECK(part.get("a").value() == "second");
  REQUIRE(part.put("a", "third", PutHow::over(*second)));
  CHECK(part.get("a").value() == "third");
  REQUIRE(remove_sync(part.store, part.key("a"), within()));
  CHECK(code_of(part.put("a", "back", PutHow::over(*second))) == Errc::kPrecondition);
  CHECK(code_of(part.get("a")) == Errc::kNotFound);
}

void one_of_many_puts_over_a_version_wins(const StoreUnderTest& subject) {
  Part part(subject, "race");
  constexpr int kRounds = 8;
  constexpr size_t kRacers = 16;
  auto etag = part.put("a", "base");
  REQUIRE(etag);
  for (int round = 0; round < kRounds; ++round) {
    std::vector<Awaited<std::string>> answers(kRacers);
    const auto text = [&](size_t i) { return std::to_string(round) + "." + std::to_string(i); };
    for (size_t i = 0; i < kRacers; ++i)
      part.store.put(part.key("a"), body_of(text(i)), PutHow::over(*etag), within(),
                     answers[i].callback());
    std::vector<size_t> winners;
    std::string newest;
    for (size_t i = 0; i < kRacers; ++i) {
      const auto answer = answers[i].get();
      if (answer) {
        winners.push_back(i);
        newest = *answer;
      } else {
        CHECK_MESSAGE(answer.error().code() == Errc::kPrecondition, answer.error().message());
      }
    }
    REQUIRE(winners.size() == 1);
    CHECK(part.get("a").value() == text(winners.front()));
    etag = newest;
  }
  const auto honoured = probe_if_match(part.store, if_match_probe_key(os_rng()), within());
  REQUIRE_MESSAGE(honoured, honoured.error().message());
  CHECK(*honoured);
}

// Copies of whole objects, from and to names that every encoding has its view of.
void copies_whole_objects(const StoreUnderTest& subject) {
  Part part(subject, "copy");
  std::vector<std::string> names = awkward_names(subject.takes_any_bytes);
  PutHow how;
  how.headers = {"text/x", {{"of", "the copy"}}};
  for (const std::string& name : names) {
    CAPTURE(name);
    const auto etag = part.put("from/" + name, name + "!");
    REQUIRE_MESSAGE(etag, etag.error().message());
    Body body;
    body.add(range_of(part, "from/" + name, *etag, name.size() + 1, {0, name.size() + 1}));
    const auto copied = put_sync(part.store, part.key("to/" + name), body, how, within());
    REQUIRE_MESSAGE(copied, copied.error().message());
    CHECK(part.get("to/" + name).value() == name + "!");
  }
  const auto head = head_sync(part.store, part.key("to/" + names.front()), within());
  REQUIRE(head);
  if (subject.keeps_headers) {
    CHECK(head->headers.content_type == "text/x");
    CHECK(metadata_of(*head) == std::map<std::string, std::string>{{"of", "the copy"}});
  }
}

// Onto itself, for other headers: with and without a condition.
void changes_headers_by_a_copy_onto_itself(const StoreUnderTest& subject) {
  Part part(subject, "itself");
  for (const bool large : {false, true}) {
    const std::string text = large ? bytes_of(3, size_t{6} << 20) : std::string("small");
    auto etag = part.put("a", text);
    REQUIRE(etag);
    for (const bool conditional : {false, true}) {
      CAPTURE(conditional);
      Body body;
      body.add(range_of(part, "a", *etag, text.size(), {0, text.size()}));
      PutHow how = conditional ? PutHow::over(*etag) : PutHow();
      how.headers = {"text/y", {{"mode", conditional ? "1" : "2"}}, kept_headers()};
      const auto changed = put_sync(part.store, part.key("a"), body, how, within());
      REQUIRE_MESSAGE(changed, changed.error().message());
      const auto head = head_sync(part.store, part.key("a"), within());
      REQUIRE_MESSAGE(head, head.error().message());
      CHECK(head->info.etag == *changed);
      if (subject.keeps_headers) {
        CHECK(head->headers.content_type == "text/y");
        CHECK(metadata_of(*head).at("mode") == (conditional ? "1" : "2"));
        CHECK(kept_of(*head) == wanted_of(kept_headers()));
      }
      CHECK(same(part.get("a"), text));
      etag = changed;
    }
  }
}

void copies_only_the_version_named(const StoreUnderTest& subject) {
  Part part(subject, "source");
  const auto old = part.put("a", "first one");
  REQUIRE(old);
  REQUIRE(part.put("a", "second"));
  const auto refuses = [&](const std::string& name, const std::string& etag, const PutHow& how) {
    Body body;
    body.add(range_of(part, name, etag, 9, {0, 9}));
    auto put = put_sync(part.store, part.key("b"), body, how, within());
    // versitygw removes what the upload before had begun while this one begins, and may fail then.
    for (int again = 0; again < 5 && !put && put.error().code() == Errc::kTransient; ++again)
      put = put_sync(part.store, part.key("b"), body, how, within());
    CAPTURE(name);
    REQUIRE_FALSE(put);
    CHECK_MESSAGE(put.error().code() == Errc::kPrecondition, put.error().message());
  };
  refuses("a", *old, {});
  refuses("a", *old, PutCondition::kIfAbsent);
  refuses("missing", *old, {});
  refuses("missing", *old, PutCondition::kIfAbsent);
  CHECK(code_of(part.get("b")) == Errc::kNotFound);

  // The condition of a copy is about its target.
  const auto here = part.put("b", "here already");
  const auto source = part.put("a", "123456789");
  REQUIRE(here);
  REQUIRE(source);
  refuses("a", *source, PutCondition::kIfAbsent);
  refuses("a", *source, PutHow::over(*old));
  CHECK(part.get("b").value() == "here already");
  Body body;
  body.add(range_of(part, "a", *source, 9, {0, 9}));
  REQUIRE(put_sync(part.store, part.key("b"), body, PutHow::over(*here), within()));
  CHECK(part.get("b").value() == "123456789");
  REQUIRE(put_sync(part.store, part.key("c"), body, PutCondition::kIfAbsent, within()));
  CHECK(part.get("c").value() == "123456789");
}

// What a changed file becomes: parts of what it was around what is new.
void joins_ranges_and_bytes(const StoreUnderTest& subject) {
  Part part(subject, "join");
  constexpr size_t kMiB = size_t{1} << 20;
  const std::string old = bytes_of(1, 17 * kMiB + 11);
  const std::string fresh = bytes_of(2, 6 * kMiB);
  const std::string other = bytes_of(4, 5 * kMiB);
  const auto etag = part.put("a", old);
  const auto other_etag = part.put("b", other);
  REQUIRE(etag);
  REQUIRE(other_etag);
  const auto range = [&](uint64_t offset, uint64_t length) {
    return range_of(part, "a", *etag, old.size(), {offset, length});
  };
  struct Case {
    const char* name;
    Body body;
    std::string wanted;
  };
  std::vector<Case> cases(5);
  cases[0].name = "a changed middle";
  cases[0].body.add(range(0, 5 * kMiB + 1));
  cases[0].body.add(Buffer::copy(fresh));
  cases[0].body.add(range(11 * kMiB + 1, old.size() - 11 * kMiB - 1));
  cases[0].wanted = old.substr(0, 5 * kMiB + 1) + fresh + old.substr(11 * kMiB + 1);
  cases[1].name = "appended a few bytes";
  cases[1].body.add(range(0, old.size()));
  cases[1].body.add(Buffer::copy("tail"));
  cases[1].wanted = old + "tail";
  cases[2].name = "new bytes before, in two pieces";
  cases[2].body.add(Buffer::copy(fresh.substr(0, 3)));
  cases[2].body.add(Buffer::copy(fresh.substr(3)));
  cases[2].body.add(range(3, 7));
  cases[2].wanted = fresh + old.substr(3, 7);
  cases[3].name = "truncated";
  cases[3].body.add(range(0, 100));
  cases[3].wanted = old.substr(0, 100);
  cases[4].name = "of two objects";
  cases[4].body.add(range_of(part, "b", *other_etag, other.size(), {0, other.size()}));
  cases[4].body.add(range(1, 6 * kMiB));
  cases[4].body.add(Buffer::copy("end"));
  cases[4].wanted = other + old.substr(1, 6 * kMiB) + "end";
  for (const Case& each : cases) {
    CAPTURE(each.name);
    PutHow how(PutCondition::kIfAbsent);
    how.headers = {"video/x", {{"of", "joined"}}, kept_headers()};
    const std::string name = std::string("to ") + each.name;
    CHECK(each.body.size() == each.wanted.size());
    const auto joined = put_sync(part.store, part.key(name), each.body, how, within());
    REQUIRE_MESSAGE(joined, joined.error().message());
    CHECK(same(part.get(name), each.wanted));
    const auto head = head_sync(part.store, part.key(name), within());
    REQUIRE(head);
    CHECK(head->info.etag == *joined);
    if (!subject.keeps_headers) continue;
    CHECK(head->headers.content_type == "video/x");
    CHECK(kept_of(*head) == wanted_of(kept_headers()));
  }
  // Over what it is made of; and not over what somebody put there meanwhile.
  const auto over =
      put_sync(part.store, part.key("a"), cases[0].body, PutHow::over(*etag), within());
  REQUIRE_MESSAGE(over, over.error().message());
  CHECK(same(part.get("a"), cases[0].wanted));
  CHECK(code_of(put_sync(part.store, part.key("a"), cases[0].body, PutHow::over(*etag),
                         within())) == Errc::kPrecondition);
  CHECK(code_of(put_sync(part.store, part.key("new"), cases[0].body, {}, within())) ==
        Errc::kPrecondition);
  CHECK(code_of(part.get("new")) == Errc::kNotFound);
  CHECK(same(part.get("a"), cases[0].wanted));
}

void refuses_bodies_no_store_joins(const StoreUnderTest& subject) {
  Part part(subject, "rules");
  constexpr uint64_t kMiB = 1 << 20;
  const auto refused = [&](const Body& body) {
    return code_of(put_sync(part.store, part.key("a"), body, {}, within())) == Errc::kInvalid;
  };
  const auto range = [&](uint64_t size, ByteRange part_of) {
    return range_of(part, "x", "\"e\"", size, part_of);
  };
  Body small_first;
  small_first.add(range(20 * kMiB, {0, kMiB}));
  small_first.add(range(20 * kMiB, {2 * kMiB, 6 * kMiB}));
  CHECK(refused(small_first));
  Body small_between;
  small_between.add(range(20 * kMiB, {0, 6 * kMiB}));
  small_between.add(Buffer::copy("small"));
  small_between.add(range(20 * kMiB, {7 * kMiB, 6 * kMiB}));
  CHECK(refused(small_between));
  Body part_of_small;
  part_of_small.add(range(kMiB, {1, 100}));
  CHECK(refused(part_of_small));
  Body outside;
  outside.add(range(20 * kMiB, {19 * kMiB, 2 * kMiB}));
  CHECK(refused(outside));
  Body no_version;
  no_version.add(range_of(part, "x", "", 20 * kMiB, {0, 20 * kMiB}));
  CHECK(refused(no_version));
}

}  // namespace

void put_suite(const StoreUnderTest& subject) {
  heads_tell_what_lists_tell(subject);
  keeps_headers(subject);
  refuses_headers_that_break_out(subject);
  puts_over_one_version_only(subject);
  one_of_many_puts_over_a_version_wins(subject);
  copies_whole_objects(subject);
  changes_headers_by_a_copy_onto_itself(subject);
  copies_only_the_version_named(subject);
  joins_ranges_and_bytes(subject);
  refuses_bodies_no_store_joins(subject);
}

}  // namespace cairn::suite
