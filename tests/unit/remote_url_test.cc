#include "tools/remote_url.h"

#include <doctest/doctest.h>

using namespace cairn;

TEST_CASE("a remote is a bucket unless it is spelled as a path") {
  const auto bucket = parse_remote_url("s3://data/a/b/");
  REQUIRE(bucket);
  CHECK(bucket->bucket == "data");
  CHECK(bucket->prefix == "a/b");
  CHECK(bucket->text() == "s3://data/a/b");
  CHECK(parse_remote_url("data:a/b")->text() == "s3://data/a/b");
  CHECK(parse_remote_url("data")->text() == "s3://data");
  CHECK(parse_remote_url("/srv/v/")->text() == "file:///srv/v");
  CHECK(parse_remote_url("file:///srv/./v")->text() == "file:///srv/v");
  CHECK(parse_remote_url("file:/srv/v")->directory == "/srv/v");
  CHECK(parse_remote_url("./v")->kind == RemoteUrl::Kind::kFile);
  CHECK(parse_remote_url("../v")->kind == RemoteUrl::Kind::kFile);
}

TEST_CASE("a URL of a file is decoded, and its text is read back") {
  CHECK(parse_remote_url("file://localhost/srv/v")->directory == "/srv/v");
  CHECK(parse_remote_url("file:///srv/a%20b%C3%A9")->directory == "/srv/a b\xc3\xa9");
  CHECK(parse_remote_url("file:///srv/100%/%zz%2")->directory == "/srv/100%/%zz%2");
  CHECK(parse_remote_url("/srv/a%20b")->directory == "/srv/a%20b");
  for (const char* path : {"/srv/a%20b", "/srv/100%", "/srv/%25%", "/srv/a b", "/%41%%41"}) {
    const auto url = parse_remote_url(path);
    REQUIRE(url);
    CHECK(parse_remote_url(url->text())->directory == path);
  }
  CHECK(parse_remote_url("/srv/100% of b")->text() == "file:///srv/100% of b");
}

TEST_CASE("all buckets are a remote where that makes sense") {
  const auto all = parse_remote_url("s3://", true);
  REQUIRE(all);
  CHECK(all->is_all_buckets());
  CHECK(all->text() == "s3://");
  CHECK_FALSE(parse_remote_url("s3://data", true)->is_all_buckets());
  CHECK_FALSE(parse_remote_url("./data", true)->is_all_buckets());
  CHECK_FALSE(parse_remote_url("s3:///key", true));
}

TEST_CASE("what is no remote is refused and named") {
  for (const char* text :
       {"", "s3://", "s3:///key", "gopher://x", "a bucket", "file:", "b\nb", "file://host/dir",
        "file://dir", "file:///a%00b", "s3://b/a/../c", "s3://b/a//c"}) {
    const auto url = parse_remote_url(text);
    REQUIRE_FALSE(url);
    CHECK_FALSE(url.error().message().empty());
  }
}
