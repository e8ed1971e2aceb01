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
  for (const char* text : {"", "s3://", "s3:///key", "gopher://x", "a bucket", "file:", "b\nb",
                           "s3://b/a/../c", "s3://b/a//c"}) {
    const auto url = parse_remote_url(text);
    REQUIRE_FALSE(url);
    CHECK_FALSE(url.error().message().empty());
  }
}
