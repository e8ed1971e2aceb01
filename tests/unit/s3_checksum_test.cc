// Which of two sums a body is sent with: a signed SHA-256, or a CRC32C of which the store was seen
// to know.
#include <doctest/doctest.h>

#include <utility>

#include "cache/base/digest.h"
#include "tests/support/fake_bucket.h"

using namespace cairn;
using namespace cairn::test;

namespace {
constexpr const char* kCrc = "x-amz-checksum-crc32c";
constexpr const char* kHash = "x-amz-content-sha256";

S3Settings at(const std::string& url) {
  S3Settings settings;
  settings.endpoint_url = url;
  return settings;
}

HttpResponse put_done(const std::string& crc) {
  std::vector<HttpHeader> headers = {{"ETag", "\"e\""}};
  if (!crc.empty()) headers.push_back({"x-amz-checksum-crc32c", crc});
  return reply(200, "", headers);
}

// A store that says the checksum back.
HttpResponse checks(const Sent& sent) {
  return put_done(sent.header(kCrc));
}

bool is_signed(const Sent& sent) {
  return sent.header(kHash) == sha256(as_bytes(sent.body)).hex();
}
bool has_crc(const Sent& sent) {
  return !sent.header(kCrc).empty();
}
}  // namespace

TEST_CASE("s3 checksum: a store that says it back gets no signed hash any more") {
  for (const char* url : {"https://store.test", "http://127.0.0.1:9000", "http://localhost:9000",
                          "http://[::1]:9000"}) {
    CAPTURE(url);
    Bucket bucket(checks, at(url));
    REQUIRE(bucket.put("a", "first"));
    REQUIRE(bucket.put("b", "second"));
    const std::vector<Sent> sent = bucket.http->sent();
    REQUIRE(sent.size() == 2);
    CHECK(is_signed(sent[0]));
    CHECK(has_crc(sent[0]));
    CHECK(sent[1].header(kHash) == "UNSIGNED-PAYLOAD");
    CHECK(has_crc(sent[1]));
  }
}

TEST_CASE("s3 checksum: where somebody may be on the way every body is signed") {
  for (const char* url : {"http://store.test:9000", "http://127.example.com", "http://10.0.0.1"}) {
    CAPTURE(url);
    Bucket bucket(checks, at(url));
    REQUIRE(bucket.put("a", "first"));
    REQUIRE(bucket.put("b", "second"));
    for (const Sent& sent : bucket.http->sent()) {
      CHECK(is_signed(sent));
      CHECK_FALSE(has_crc(sent));
    }
  }
}

TEST_CASE("s3 checksum: a store that says nothing or something else is not asked again") {
  for (const char* said : {"", "AAAAAA=="}) {
    Bucket bucket([said](const Sent&) { return put_done(said); }, at("https://store.test"));
    REQUIRE(bucket.put("a", "first"));
    REQUIRE(bucket.put("b", "second"));
    const std::vector<Sent> sent = bucket.http->sent();
    REQUIRE(sent.size() == 2);
    CHECK(has_crc(sent[0]));
    CHECK_FALSE(has_crc(sent[1]));
    CHECK(is_signed(sent[1]));
  }
}

TEST_CASE("s3 checksum: a store that refuses it gets the same object without") {
  for (const int status : {400, 501}) {
    const auto refuses = [status](const Sent& sent) {
      return has_crc(sent) ? error_reply(status, "NotImplemented") : put_done("");
    };
    Bucket bucket(refuses, at("https://store.test"));
    REQUIRE(bucket.put("a", "first", PutCondition::kIfAbsent));
    REQUIRE(bucket.put("b", "second"));
    const std::vector<Sent> sent = bucket.http->sent();
    REQUIRE(sent.size() == 3);
    CHECK(sent[1].body == "first");
    CHECK(sent[1].header("if-none-match") == "*");
    CHECK(is_signed(sent[1]));
    CHECK_FALSE(has_crc(sent[1]));
    CHECK_FALSE(has_crc(sent[2]));
  }
}

TEST_CASE("s3 checksum: a put that fails for another reason tells nothing of the store") {
  const auto picky = [](const Sent& sent) {
    return has(sent.url, "bad") ? error_reply(400, "InvalidTag") : checks(sent);
  };
  Bucket bucket(picky, at("https://store.test"));
  CHECK_FALSE(bucket.put("bad", "first"));
  REQUIRE(bucket.put("good", "second"));
  REQUIRE(bucket.put("also", "third"));
  const std::vector<Sent> sent = bucket.http->sent();
  REQUIRE(sent.size() == 4);
  CHECK(has_crc(sent[0]));
  CHECK_FALSE(has_crc(sent[1]));
  CHECK(is_signed(sent[1]));
  CHECK(has_crc(sent[2]));
  CHECK(sent[3].header(kHash) == "UNSIGNED-PAYLOAD");
}

TEST_CASE("s3 checksum: a body that came damaged or too slowly tells nothing of the store") {
  for (const char* code : {"BadDigest", "RequestTimeout"}) {
    bool first = true;
    const auto unlucky = [&](const Sent& sent) {
      return std::exchange(first, false) ? error_reply(400, code) : checks(sent);
    };
    Bucket bucket(unlucky, at("https://store.test"));
    CHECK(bucket.put("a", "first").error().code() == Errc::kTransient);
    CHECK(bucket.http->sent().size() == 1);
    REQUIRE(bucket.put("a", "first"));
    REQUIRE(bucket.put("b", "second"));
    CHECK(bucket.http->sent().back().header(kHash) == "UNSIGNED-PAYLOAD");
  }
}

TEST_CASE("s3 checksum: a store that wants bodies signed after all gets them signed") {
  const auto wants_signed = [](const Sent& sent) {
    return is_signed(sent) ? checks(sent) : error_reply(403, "AccessDenied");
  };
  Bucket bucket(wants_signed, at("https://store.test"));
  REQUIRE(bucket.put("a", "first"));
  REQUIRE(bucket.put("b", "second", PutCondition::kIfAbsent));
  REQUIRE(bucket.put("c", "third"));
  const std::vector<Sent> sent = bucket.http->sent();
  REQUIRE(sent.size() == 4);
  CHECK(sent[1].header(kHash) == "UNSIGNED-PAYLOAD");
  CHECK(is_signed(sent[2]));
  CHECK(sent[2].header("if-none-match") == "*");
  CHECK(is_signed(sent[3]));
  CHECK_FALSE(has_crc(sent[3]));
}

TEST_CASE("s3 checksum: parts of an upload that began without one stay without") {
  S3Settings settings = at("https://store.test");
  settings.multipart_threshold = 10;
  settings.part_size = 8;
  const auto server = [](const Sent& sent) {
    if (sent.method == "POST" && has(sent.url, "uploads"))
      return reply(200,
                   "<InitiateMultipartUploadResult><UploadId>u</UploadId>"
                   "</InitiateMultipartUploadResult>");
    if (sent.method == "POST")
      return reply(200,
                   "<CompleteMultipartUploadResult><ETag>\"w\"</ETag>"
                   "</CompleteMultipartUploadResult>");
    return checks(sent);
  };
  Bucket bucket(server, settings);
  REQUIRE(bucket.put("small", "known"));
  REQUIRE(bucket.put("large", "0123456789abcdef"));
  for (const Sent& sent : bucket.http->sent()) {
    if (!has(sent.url, "partNumber")) continue;
    CHECK(is_signed(sent));
    CHECK_FALSE(has_crc(sent));
  }
}
