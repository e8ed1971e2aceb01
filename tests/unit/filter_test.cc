// The language of filters: globs, predicates, order, what is unknown, and errors that point.
#include <doctest/doctest.h>

#include <string>
#include <string_view>
#include <vector>

#include "cache/filter.h"

using namespace cairn;

namespace {

bool key_matches(const std::string& pattern, const std::string& key) {
  const auto glob = Glob::parse(pattern, Glob::Kind::kOfKey);
  REQUIRE_MESSAGE(glob, pattern);
  return glob->matches(key);
}

Filter filter_of(const std::vector<std::string>& rules, bool without_rules = true) {
  Filter filter(without_rules);
  for (const std::string& rule : rules) {
    const Status added = filter.add(rule);
    REQUIRE_MESSAGE(added, (added ? "" : added.error().message()));
  }
  return filter;
}

FilterSubject subject_of(std::string_view key) {
  return {.bucket = "photos",
          .key = key,
          .path = key,
          .size = {},
          .content_type = nullptr,
          .metadata = nullptr,
          .tags = nullptr,
          .bucket_tags = nullptr};
}

// 'y', 'n' or '?'.
char ask(const Filter& filter, const FilterSubject& subject) {
  const auto answer = filter.ask(subject);
  CHECK(answer.included.has_value() != answer.needs.any());
  return !answer.included ? '?' : *answer.included ? 'y' : 'n';
}

std::string error_of(const std::string& rule) {
  const auto parsed = FilterRule::parse(rule);
  return parsed ? "none" : parsed.error().message();
}

}  // namespace

TEST_CASE("globs of keys: '*' stays in its part, '**' does not") {
  CHECK(key_matches("a/*.txt", "a/b.txt"));
  CHECK(key_matches("a/*.txt", "a/.txt"));
  CHECK_FALSE(key_matches("a/*.txt", "a/b/c.txt"));
  CHECK(key_matches("a/**.txt", "a/b/c.txt"));
  CHECK(key_matches("a/**.txt", "a/c.txt"));
  CHECK(key_matches("?", "x"));
  CHECK_FALSE(key_matches("?", "/"));
  CHECK_FALSE(key_matches("?", ""));
  CHECK(key_matches("**/x", "x"));
  CHECK(key_matches("**/x", "a/x"));
  CHECK(key_matches("**/x", "a/b/x"));
  CHECK_FALSE(key_matches("**/x", "ax"));
  CHECK_FALSE(key_matches("**/x", "a/bx"));
  CHECK(key_matches("a/**/x", "a/x"));
  CHECK(key_matches("a/**/x", "a/b/c/x"));
  CHECK(key_matches("a/**/x", "a//x"));
  CHECK_FALSE(key_matches("a**/x", "ax"));
  CHECK(key_matches("a**/x", "ab/c/x"));
  CHECK(key_matches("tmp/", "tmp/a/b"));
  CHECK(key_matches("tmp/", "tmp/"));
  CHECK_FALSE(key_matches("tmp/", "tmp"));
  CHECK(key_matches("\\*\\[", "*["));
  CHECK_FALSE(key_matches("\\*", "a"));
  CHECK(key_matches("x\\/", "x/"));
  CHECK_FALSE(key_matches("x\\/", "x/y"));
  CHECK(key_matches("", ""));
  CHECK_FALSE(key_matches("", "a"));
}

TEST_CASE("a match takes no time that anybody would notice, whatever is matched") {
  std::string pattern, text;
  for (int i = 0; i < 250; ++i) pattern += "**a*";
  for (int i = 0; i < 1024; ++i) text += 'a';
  text.back() = 'b';
  pattern += "c";
  CHECK_FALSE(key_matches(pattern, text));  // naively this is never done
}

TEST_CASE("what begins with a prefix: none of it, some, all") {
  const auto below = [](const std::string& pattern, const std::string& prefix) {
    return Glob::parse(pattern, Glob::Kind::kOfKey)->below(prefix);
  };
  CHECK(below("a/b/*.txt", "a/") == Glob::Below::kSome);
  CHECK(below("a/b/*.txt", "b/") == Glob::Below::kNone);
  CHECK(below("a/**", "a/") == Glob::Below::kAll);
  CHECK(below("a/**", "a/b/c/") == Glob::Below::kAll);
  CHECK(below("a/", "a/x/") == Glob::Below::kAll);
  CHECK(below("a/*", "a/x/") == Glob::Below::kNone);
  CHECK(below("**/*.tmp", "a/") == Glob::Below::kSome);
}

TEST_CASE("the last rule that matches decides, and the first says what the rest is") {
  const Filter out = filter_of({"!/tmp/**", "/tmp/keep/**"});
  CHECK(ask(out, subject_of("a")) == 'y');
  CHECK(ask(out, subject_of("tmp/a")) == 'n');
  CHECK(ask(out, subject_of("tmp/keep/a")) == 'y');
  const Filter in = filter_of({"photos/2024/**", "!*/**.raw"});
  CHECK(ask(in, subject_of("2024/a.jpg")) == 'y');
  CHECK(ask(in, subject_of("2024/a.raw")) == 'n');
  CHECK(ask(in, subject_of("2023/a.jpg")) == 'n');
  CHECK(ask(filter_of({}), subject_of("a")) == 'y');
  CHECK(ask(filter_of({}, false), subject_of("a")) == 'n');
  CHECK(ask(filter_of({"other/**"}), subject_of("a")) == 'n');
}

TEST_CASE("a rule with a bucket is about the key, one without about the path in the mount") {
  FilterSubject subject = subject_of("2024/a");
  subject.path = "a";
  CHECK(ask(filter_of({"photos/2024/a"}), subject) == 'y');
  CHECK(ask(filter_of({"photos/a"}), subject) == 'n');
  CHECK(ask(filter_of({"/a"}), subject) == 'y');
  CHECK(ask(filter_of({"/2024/a"}), subject) == 'n');
  CHECK(ask(filter_of({"ph*/2024/"}), subject) == 'y');
}

TEST_CASE("predicates: sizes, types, metadata, tags, all of them together") {
  FilterSubject subject = subject_of("a");
  const std::string type = "Video/mp4; codecs=x";
  const FilterPairs metadata{{"colour", "dark blue"}, {"count", "12"}};
  const FilterPairs tags{{"my key", "v]"}, {"n", "3K"}};
  subject.size = 100;
  subject.content_type = &type;
  subject.metadata = &metadata;
  subject.tags = &tags;
  for (const char* rule :
       {"/**[hdr:content-length=100]", "/**[hdr:content-length<1K]", "/**[hdr:content-length>=100]",
        "/**[hdr:content-length!=99]", "/**[hdr:content-type='video/*']",
        "/**[hdr:content-type=video/mp4]", "/**[hdr:Content-Type=\"*codecs=?\"]",
        "/**[md:Colour=dark blue]", "/**[md:colour='dark*']", "/**[md:count<13]",
        "/**[md:absent!=x]", "/**[tag:'my key'='v]']", "/**[tag:my\\ key=v\\]]",
        "/**[tag:n>3071] [tag:n<=3072]", "  photos/a  [ md:count = 12 ]  "})
    CHECK_MESSAGE(ask(filter_of({rule}, false), subject) == 'y', rule);
  for (const char* rule :
       {"/**[hdr:content-length<100]", "/**[hdr:content-type!='video/*']", "/**[md:absent=*]",
        "/**[md:colour<5]", "/**[md:absent<5]", "/**[md:count=12][md:count=13]", "/**[tag:n=4K]"})
    CHECK_MESSAGE(ask(filter_of({rule}, false), subject) == 'n', rule);
}

TEST_CASE("what is not known makes the answer unknown only where it matters") {
  FilterSubject subject = subject_of("a");
  const Filter filter = filter_of({"!/b", "!/a[tag:x=1][hdr:content-length<5]"});
  CHECK(ask(filter, subject) == '?');
  CHECK(filter.ask(subject).needs.tags);
  CHECK(filter.ask(subject).needs.size);
  CHECK_FALSE(filter.ask(subject).needs.headers);
  subject.size = 7;
  CHECK(ask(filter, subject) == 'y');  // whatever its tags are
  subject.size = 4;
  CHECK(ask(filter, subject) == '?');
  CHECK(ask(filter, subject_of("b")) == 'n');
  // It would say what is so anyway.
  CHECK(ask(filter_of({"/a", "/a[tag:x=1]"}), subject_of("a")) == 'y');
  CHECK(ask(filter_of({"!/**[tag:x=1]", "/a"}), subject_of("a")) == 'y');
  CHECK(filter_of({"b[tag:x=1]/**"}).needs().bucket_tags);
  CHECK(ask(filter_of({"photos[tag:x=1]/**"}), subject_of("a")) == '?');
  const FilterPairs tags{{"x", "1"}};
  subject.bucket_tags = &tags;
  CHECK(ask(filter_of({"photos[tag:x=1]/**"}), subject) == 'y');
}

TEST_CASE("a directory is there when something below it may be") {
  const auto shows = [](const Filter& filter, std::string_view prefix) {
    const auto answer = filter.any_below(subject_of(prefix));
    REQUIRE(answer.included);
    return *answer.included;
  };
  const Filter filter = filter_of({"/a/b/*.txt", "/c/**[hdr:content-length<5]", "!/c/d/**"});
  CHECK(shows(filter, "a/"));
  CHECK(shows(filter, "a/b/"));
  CHECK_FALSE(shows(filter, "a/c/"));
  CHECK(shows(filter, "c/"));
  CHECK_FALSE(shows(filter, "c/d/"));
  CHECK_FALSE(shows(filter, "e/"));
  CHECK(shows(filter_of({"!/c/**[tag:x=1]"}), "c/"));
  CHECK_FALSE(shows(filter_of({"!/c/"}), "c/"));
  CHECK(shows(filter_of({"!/c/", "/c/x"}), "c/"));
}

TEST_CASE("whether a bucket is there depends on its tags, where rules ask for them") {
  const auto below = [](const std::vector<std::string>& rules, const FilterPairs* tags) {
    FilterSubject bucket = subject_of("");
    bucket.bucket_tags = tags;
    const auto answer = filter_of(rules).any_below(bucket);
    CHECK(answer.needs.bucket_tags == !answer.included);
    return !answer.included ? '?' : *answer.included ? 'y' : 'n';
  };
  const FilterPairs one{{"x", "1"}}, two{{"x", "2"}};
  for (const std::string rule :
       {"photos[tag:x=1]/**", "photos[tag:x=1]/a/*[hdr:content-length<5]"}) {
    CHECK(below({rule}, nullptr) == '?');
    CHECK(below({rule}, &one) == 'y');
    CHECK(below({rule}, &two) == 'n');
  }
  CHECK(below({"!photos[tag:x=1]/**"}, nullptr) == '?');
  CHECK(below({"!photos[tag:x=1]/**"}, &one) == 'n');
  CHECK(below({"!photos[tag:x=1]/**"}, &two) == 'y');
  // Whatever they are.
  CHECK(below({"!photos[tag:x=1]/a/**"}, nullptr) == 'y');
  CHECK(below({"other[tag:x=1]/**"}, nullptr) == 'n');
  CHECK(below({"/**", "photos[tag:x=1]/**"}, nullptr) == 'y');
}

TEST_CASE("an error names what is wrong and points at it") {
  CHECK(error_of("photos") ==
        "a rule is BUCKET/KEY or /PATH: the '/' is missing (all of a bucket is BUCKET/)\n"
        "  photos\n"
        "        ^");
  CHECK(error_of("photos/**[tag:k v]") ==
        "a comparison is missing: = != < <= > >=\n"
        "  photos/**[tag:k v]\n"
        "                   ^");
  CHECK(error_of("!/é[hdr:etag=x]") ==
        "the headers that can be asked for are content-type and content-length\n"
        "  !/é[hdr:etag=x]\n"
        "          ^");
  const auto points_at = [](const std::string& rule) {
    const std::string error = error_of(rule);
    REQUIRE_MESSAGE(error.ends_with('^'), rule << ": " << error);
    return error.size() - error.rfind('\n') - 4;
  };
  CHECK(points_at("/a[size=3]") == 3);
  CHECK(points_at("/a[size:x=3]") == 3);
  CHECK(points_at("b[hdr:content-type=x]/a") == 2);
  CHECK(points_at("[tag:x=1]/a") == 0);
  CHECK(points_at("/a[tag:=1]") == 7);
  CHECK(points_at("/a[tag:x='1]") == 9);
  CHECK(points_at("/a[tag:x=1") == 10);
  CHECK(points_at("/a[tag:x='1' y]") == 13);
  CHECK(points_at("/a[tag:x=1]b") == 11);
  CHECK(points_at("/a[hdr:content-length<x]") == 22);
  CHECK(points_at("/a[hdr:content-length='*']") == 22);
  CHECK(points_at("/a[hdr:content-type<5]") == 20);
  CHECK(points_at("/a\\") == 2);
  CHECK(points_at(std::string("/a\0b", 4)) == 2);
  CHECK(error_of("/" + std::string(1500, 'x')).starts_with("a pattern has at most 1024 bytes"));
  CHECK(error_of("/" + std::string(5000, 'x')).starts_with("a rule has at most 4096 bytes"));
  std::string many = "/a";
  for (int i = 0; i < 33; ++i) many += "[tag:x=1]";
  CHECK(error_of(many).starts_with("there are at most 32 predicates"));
}

TEST_CASE("a list: a rule a line, without comments, and not without an end") {
  Filter filter(true);
  REQUIRE(filter.add("# a comment\r\n\n  !/a\n/a/b"));
  CHECK(filter.rules().size() == 2);
  for (size_t i = 2; i < Filter::kRulesMost; ++i) REQUIRE(filter.add("/x"));
  CHECK_FALSE(filter.add("/x"));
  CHECK_FALSE(filter.add("nothing"));
}
