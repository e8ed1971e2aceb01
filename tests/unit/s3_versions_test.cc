#include "s3/s3_versions.h"

#include <doctest/doctest.h>

#include "s3/s3_store.h"
#include "tests/support/fake_bucket.h"

using namespace cairn;
using namespace cairn::test;

namespace {

struct Listing {
  std::vector<std::string> keys;
  std::vector<std::string> prefixes;
  std::string next_key;  // the page is not the last one when there is one
  std::string next_version;
};

std::string xml_of(const Listing& page) {
  std::string out = "<ListVersionsResult><IsTruncated>";
  out += page.next_key.empty() ? "false" : "true";
  out += "</IsTruncated>";
  for (const std::string& key : page.keys)
    out += "<Version><Key>" + key +
           "</Key><VersionId>v</VersionId><IsLatest>true</IsLatest><Size>1</Size>"
           "<LastModified>2026-11-22T20:47:07Z</LastModified></Version>";
  for (const std::string& prefix : page.prefixes)
    out += "<CommonPrefixes><Prefix>" + prefix + "</Prefix></CommonPrefixes>";
  if (!page.next_key.empty())
    out += "<NextKeyMarker>" + page.next_key + "</NextKeyMarker><NextVersionIdMarker>" +
           page.next_version + "</NextVersionIdMarker>";
  return out + "</ListVersionsResult>";
}

S3Settings below_pre() {
  S3Settings settings;
  settings.prefix = "pre";
  return settings;
}

}  // namespace

TEST_CASE("s3 versions: pages go on where the store says, inside of a key too") {
  Bucket bucket(
      [](const Sent& sent) {
        if (!has(sent.url, "key-marker="))
          return reply(200, xml_of({{"pre/d/a"}, {}, "pre/d/a", "v1"}));
        CHECK(has(sent.url, "key-marker=pre%2Fd%2Fa"));
        if (has(sent.url, "version-id-marker=v1"))
          return reply(200, xml_of({{"pre/d/a"}, {"pre/d/b/"}, "pre/d/a", "v2"}));
        CHECK(has(sent.url, "version-id-marker=v2"));
        return reply(200, xml_of({{"pre/d/c"}, {}, "", ""}));
      },
      below_pre());
  std::string after;
  std::string seen;
  bool more = true;
  for (int pages = 0; more; ++pages) {
    REQUIRE(pages < 10);
    const auto page =
        list_versions_sync(*bucket.store, ListScope::level("d/"), after, 10, Bucket::context());
    REQUIRE_MESSAGE(page, page.error().message());
    for (const ObjectVersion& version : page->versions) seen += version.info.key + " ";
    for (const std::string& prefix : page->prefixes) seen += prefix + " ";
    after = page->next;
    more = page->truncated;
  }
  CHECK(seen == "d/a d/a d/b/ d/c ");
  CHECK(bucket.http->sent().size() == 3);
}

TEST_CASE("s3 versions: what does not fit is refused, with the name of what was listed") {
  const ListScope scope = ListScope::level("d/");
  for (const Listing& bad : {Listing{{"other/a"}, {}, "", ""}, Listing{{"pre/d/b/c"}, {}, "", ""},
                             Listing{{}, {"pre/d/"}, "", ""}, Listing{{}, {"pre/d/b"}, "", ""},
                             Listing{{}, {"pre/d/c/", "pre/d/b/"}, "", ""}}) {
    Bucket liar(always(reply(200, xml_of(bad))), below_pre());
    const auto refused = list_versions_sync(*liar.store, scope, "", 10, Bucket::context());
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == Errc::kIo);
    CHECK(has(refused.error().message(), "list versions of s3://data/pre/d/"));
  }
  // The page behind the first begins where it began itself.
  Bucket liar(always(reply(200, xml_of({{"pre/d/a"}, {}, "pre/d/m", "v1"}))), below_pre());
  const auto first = list_versions_sync(*liar.store, scope, "", 10, Bucket::context());
  REQUIRE_MESSAGE(first, first.error().message());
  const auto second = list_versions_sync(*liar.store, scope, first->next, 10, Bucket::context());
  REQUIRE_FALSE(second);
  CHECK(has(second.error().message(), "does not come forward"));
}

TEST_CASE("who may not see versions or tags is told which right is missing") {
  Bucket bucket(always(error_reply(403, "AccessDenied")));
  const auto text = [](const auto& refused) {
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == Errc::kPermission);
    return refused.error().message();
  };
  const Context context = Bucket::context();
  CHECK(has(text(list_versions_sync(*bucket.store, "", "", 10, context)),
            "allow s3:ListBucketVersions on bucket data"));
  CHECK(has(text(keeps_versions_sync(*bucket.store, context)), "s3:GetBucketVersioning"));
  CHECK(has(text(get_tags_sync(*bucket.store, "k", {}, context)), "s3:GetObjectTagging"));
  CHECK(has(text(get_tags_sync(*bucket.store, {}, {}, context)), "s3:GetBucketTagging"));
  CHECK(has(text(put_tags_sync(*bucket.store, "k", {}, {}, context)), "s3:PutObjectTagging"));
  CHECK(has(text(head_version_sync(*bucket.store, "k", "v", context)), "s3:GetObjectVersion"));
  GetRange range = GetRange::all();
  range.version = "v";
  CHECK(has(text(get_sync(*bucket.store, "k", range, context)), "s3:GetObjectVersion"));
  CHECK(has(text(get_tags_sync(*bucket.store, "k", "v", context)), "s3:GetObjectVersionTagging"));
}
