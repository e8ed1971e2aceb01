#include "s3/s3_store.h"

#include <doctest/doctest.h>

#include <atomic>
#include <future>
#include <map>
#include <mutex>
#include <thread>

#include "cache/base/coding.h"
#include "cache/base/digest.h"
#include "cache/base/env.h"
#include "cache/base/executor.h"
#include "s3/s3_error.h"
#include "s3/s3_get.h"
#include "s3/s3_xml.h"
#include "tests/support/fake_bucket.h"

using namespace cairn;
using namespace cairn::test;

TEST_CASE("s3 put: signed, checked by the store, conditional when asked") {
  S3Settings settings;
  settings.prefix = "a b";
  Bucket bucket(always(reply(200, "", {{"ETag", "\"e1\""}})), settings);
  CHECK(*bucket.put("k+1", "hello", PutCondition::kIfAbsent) == "\"e1\"");
  const Sent sent = bucket.http->sent().at(0);
  CHECK(sent.method == "PUT");
  CHECK(sent.url == "http://store.test:9000/data/a%20b/k%2B1");
  CHECK(sent.body == "hello");
  CHECK_FALSE(sent.may_resend);
  CHECK(sent.header("if-none-match") == "*");
  CHECK(sent.header("x-amz-content-sha256") == sha256(as_bytes("hello")).hex());
  CHECK(sent.header("x-amz-date") == "20261122T204707Z");
  CHECK(sent.header("x-amz-security-token") == "token");
  CHECK(has(sent.header("authorization"), "Credential=KEY1/20261122/us-east-1/s3/aws4_request"));
  CHECK(has(sent.header("authorization"),
            "SignedHeaders=content-type;host;if-none-match;x-amz-content-sha256;x-amz-date;"
            "x-amz-security-token,"));
  REQUIRE(bucket.put("k", ""));
  CHECK(bucket.http->sent().at(1).header("if-none-match").empty());
  CHECK(bucket.http->sent().at(1).may_resend);
  CHECK(bucket.http->sent().at(1).header("x-amz-content-sha256") == kEmptyPayloadHash);
  CHECK(bucket.store->description() == "s3://data/a b");
}

TEST_CASE("s3 put: a CRC32C where TLS protects it") {
  S3Settings settings;
  settings.endpoint_url = "https://s3.eu-west-1.amazonaws.com";
  settings.region = "eu-west-1";
  Bucket bucket(always(reply(200)), settings);
  REQUIRE(bucket.put("k", "123456789"));
  const Sent sent = bucket.http->sent().at(0);
  CHECK(sent.url == "https://data.s3.eu-west-1.amazonaws.com/k");
  CHECK(sent.header("x-amz-checksum-crc32c") == "4waSgw==");  // 0xe3069283
  CHECK(sent.header("x-amz-content-sha256") == kUnsignedPayload);
  // Elsewhere even over TLS the hash is signed: not every store knows the checksum.
  settings.endpoint_url = "https://store.test";
  Bucket other(always(reply(200)), settings);
  REQUIRE(other.put("k", "123456789"));
  CHECK(other.http->sent().at(0).header("x-amz-content-sha256") ==
        sha256(as_bytes("123456789")).hex());
}

TEST_CASE("s3 get: ranges, and answers that do not add up") {
  const auto answer = [](int status, const std::string& body, const std::string& range) {
    return always(reply(status, body, {{"Content-Range", range}, {"ETag", "e"}}));
  };
  {
    Bucket bucket(answer(206, "cde", "bytes 2-4/10"));
    const auto got = bucket.get("k", GetRange::from(2, 3));
    REQUIRE_MESSAGE(got, got.error().message());
    CHECK(as_chars(got->bytes) == "cde");
    CHECK(got->object_size == 10);
    CHECK(got->etag == "e");
    CHECK(bucket.http->sent().at(0).header("range") == "bytes=2-4");
    CHECK(bucket.get("k", GetRange::from(2, 0))->bytes.empty());
    // Other bytes than were asked for, too few, a length that is not there.
    CHECK(bucket.get("k", GetRange::from(1, 3)).error().code() == Errc::kIo);
    CHECK(bucket.get("k", GetRange::from(2, 4)).error().code() == Errc::kIo);
    CHECK(bucket.get("k", GetRange::suffix(3)).error().code() == Errc::kIo);
  }
  Bucket wrong_length(answer(206, "cd", "bytes 2-4/10"));
  CHECK(wrong_length.get("k", GetRange::from(2, 3)).error().code() == Errc::kIo);
  for (const char* bad : {"", "bytes 4-2/10", "bytes 2-4/*", "bytes 2-40/10", "bytes 2-4/10x"}) {
    Bucket bucket(answer(206, "cde", bad));
    CHECK(bucket.get("k", GetRange::from(2, 3)).error().code() == Errc::kIo);
  }
  Bucket whole(always(reply(200, "0123456789")));  // a server that does not know ranges
  CHECK(as_chars(whole.get("k", GetRange::from(8, 5))->bytes) == "89");
  CHECK(as_chars(whole.get("k", GetRange::suffix(2))->bytes) == "89");
  CHECK(whole.http->sent().at(1).header("range") == "bytes=-2");
  Bucket hollow(answer(206, "", "bytes 0--1/0"));  // MinIO, of an empty object
  CHECK(hollow.get("k", GetRange::suffix(2))->object_size == 0);
  CHECK(hollow.get("k", GetRange::suffix(2))->bytes.empty());
  Bucket past(answer(416, "", "bytes */10"));
  const auto got = past.get("k", GetRange::from(10, 5));
  REQUIRE(got);
  CHECK(got->bytes.empty());
  CHECK(got->object_size == 10);
  Bucket shy([](const Sent& sent) {
    if (sent.method != "HEAD") return reply(416);
    return reply(200, "", {{"content-length", "12"}});
  });
  CHECK(shy.get("k", GetRange::from(20, 5))->object_size == 12);
}

TEST_CASE("s3: what the store's errors mean") {
  struct Case {
    HttpResponse response;
    Errc code;
    const char* says;
    bool no_effect;
  };
  const std::vector<Case> cases{
      {error_reply(404, "NoSuchKey"), Errc::kNotFound, "no such object", true},
      {error_reply(404, "NoSuchBucket"), Errc::kPermission, "bucket 'data' does not exist", true},
      {error_reply(404, "XAdminUserNotFound"), Errc::kPermission, "AWS_ACCESS_KEY_ID", true},
      {error_reply(404, "SomethingElse"), Errc::kIo, "SomethingElse", false},
      {reply(404, "<html>Not found</html>"), Errc::kIo, "--endpoint-url", false},
      {error_reply(412, "PreconditionFailed"), Errc::kPrecondition, "exists already", true},
      {error_reply(409, "ConditionalRequestConflict"), Errc::kTransient, "under way", false},
      {error_reply(503, "SlowDown"), Errc::kTransient, "slow down", true},
      {reply(503, "busy"), Errc::kTransient, "failed", false},
      {reply(429), Errc::kTransient, "slow down", true},
      {error_reply(500, "InternalError"), Errc::kTransient, "failed", false},
      {reply(502, "<html>"), Errc::kTransient, "failed", false},
      {reply(504), Errc::kTransient, "failed", false},
      {error_reply(403, "InvalidAccessKeyId"), Errc::kPermission, "AWS_ACCESS_KEY_ID", true},
      {error_reply(403, "SignatureDoesNotMatch"), Errc::kPermission, "AWS_SECRET_ACCESS_KEY", true},
      {error_reply(403, "AccessDenied"), Errc::kPermission, "s3:PutObject", true},
      {error_reply(403, "RequestTimeTooSkewed", {{"Date", "Sun, 22 Nov 2026 21:07:07 GMT"}}),
       Errc::kPermission, "20 minutes behind", true},
      {error_reply(403, "RequestTimeTooSkewed", {{"Date", "Sun, 22 Nov 2026 20:07:07 GMT"}}),
       Errc::kPermission, "40 minutes ahead of", true},
      {error_reply(400, "ExpiredToken"), Errc::kPermission, "expired", true},
      {error_reply(507, "XMinioStorageFull"), Errc::kNoSpace, "full", true},
      {error_reply(403, "QuotaExceeded"), Errc::kNoSpace, "quota", true},
      {reply(507), Errc::kNoSpace, "full", true},
      {error_reply(501, "NotImplemented"), Errc::kUnsupported, "not offer", true},
      {error_reply(400, "BadDigest"), Errc::kTransient, "damaged", true},
      {error_reply(400, "RequestTimeout"), Errc::kTransient, "waited", false},
      {error_reply(400, "InvalidArgument"), Errc::kInvalid, "InvalidArgument: words", true},
      {reply(302, "", {{"Location", "http://elsewhere/\x1b[2J"}}), Errc::kInvalid,
       "http://elsewhere/ [2J", true},
      {reply(200, "<Error><Code>InternalError</Code></Error>"), Errc::kTransient, "failed", false},
  };
  for (const Case& c : cases) {
    const Error error = s3_error(c.response, {.operation = "put",
                                              .object = "s3://data/k",
                                              .bucket = "data",
                                              .endpoint = "http://store.test",
                                              .region = "us-east-1",
                                              .access_key = "AKIAIOSFODNN7EXAMPLE",
                                              .is_head = false,
                                              .wall_ns = kNow});
    CAPTURE(error.message());
    CHECK(error.code() == c.code);
    CHECK(has(error.message(), c.says));
    CHECK(error.message().starts_with("put s3://data/k: "));
    CHECK(error.no_effect() == c.no_effect);
    CHECK_FALSE(has(error.message(), "IOSFODNN7EXA"));
  }
}

TEST_CASE("s3: how long to wait comes from the store, within reason") {
  const auto wait = [](const std::string& value) {
    S3ErrorContext context;
    context.wall_ns = kNow;
    return s3_error(reply(503, "", {{"Retry-After", value}}), context).retry_after();
  };
  CHECK(wait("7") == std::chrono::seconds(7));
  CHECK(wait("Sun, 22 Nov 2026 20:47:17 GMT") == std::chrono::seconds(10));
  CHECK(wait("100000") == std::chrono::seconds(120));
  CHECK(wait("-5") == std::chrono::seconds(0));
  CHECK(wait("soon") == std::chrono::seconds(0));
}

TEST_CASE("s3: a bucket in another region is found, once") {
  S3Settings settings;
  settings.endpoint_url = "https://s3.us-east-1.amazonaws.com";
  const auto moved = error_reply(301, "PermanentRedirect", {{"x-amz-bucket-region", "eu-west-1"}});
  Bucket bucket(
      [&](const Sent& sent) {
        return has(sent.header("authorization"), "/eu-west-1/s3/") ? reply(200) : moved;
      },
      settings);
  REQUIRE(bucket.put("k", "x"));
  REQUIRE(bucket.put("k", "x"));
  CHECK(bucket.http->sent().size() == 3);  // the second put knew
  Bucket loop([&](const Sent&) { return moved; }, settings);
  const auto lost = loop.put("k", "x");
  REQUIRE_FALSE(lost);
  CHECK(loop.http->sent().size() == 2);
}

TEST_CASE("s3: keys that were rotated meanwhile are tried, the same ones are not") {
  const auto only_second = [](const Sent& sent) {
    return has(sent.header("authorization"), "Credential=KEY2/")
               ? reply(200)
               : error_reply(403, "InvalidAccessKeyId");
  };
  Bucket rotated(only_second, {}, 2);
  CHECK(rotated.put("k", "x"));
  CHECK(rotated.http->sent().size() == 2);
  Bucket same(only_second, {}, 1);
  const auto refused = same.put("k", "x");
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == Errc::kPermission);
  CHECK(same.http->sent().size() == 1);
}

TEST_CASE("s3: what the server says it is") {
  Bucket bucket(always(reply(200, "", {{"Server", "Other\n1.2" + std::string(100, 'x')}})));
  CHECK(bucket.store->server().empty());
  CHECK(remove_sync(*bucket.store, "k", Bucket::context()));
  CHECK(bucket.store->server() == "Other 1.2" + std::string(51, 'x'));
}

TEST_CASE("s3 remove: gone is gone, a missing bucket is not") {
  Bucket gone(always(error_reply(404, "NoSuchKey")));
  CHECK(remove_sync(*gone.store, "k", Bucket::context()));
  Bucket deleted(always(reply(204)));
  CHECK(remove_sync(*deleted.store, "k", Bucket::context()));
  Bucket missing(always(error_reply(404, "NoSuchBucket")));
  CHECK(remove_sync(*missing.store, "k", Bucket::context()).error().code() == Errc::kPermission);
}

namespace {
std::string listing(const std::vector<std::string>& keys, bool truncated) {
  std::string out = "<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>";
  out += truncated ? "true" : "false";
  out += "</IsTruncated>";
  for (const std::string& key : keys)
    out += "<Contents><Key>" + uri_encode(key, true) +
           "</Key><Size>1</Size><LastModified>2026-11-22T20:47:07Z</LastModified></Contents>";
  return out + "</ListBucketResult>";
}
}  // namespace

TEST_CASE("s3 list: below the prefix, in order, folder markers left out") {
  S3Settings settings;
  settings.prefix = "pre";
  Bucket bucket(
      [](const Sent& sent) {
        if (!has(sent.url, "start-after=")) return reply(200, listing({"pre/"}, true));
        CHECK(has(sent.url, "start-after=pre%2F"));
        return reply(200, listing({"pre/a"}, true));
      },
      settings);
  auto page = list_sync(*bucket.store, "", "", 1, Bucket::context());
  REQUIRE_MESSAGE(page, page.error().message());
  REQUIRE(page->objects.size() == 1);  // the page with nothing but the marker was not one
  CHECK(page->objects[0].key == "a");
  CHECK(page->truncated);
  CHECK(has(bucket.http->sent().back().url, "prefix=pre%2F"));

  // A full page that is called the last one is checked: not every server says the truth.
  for (const bool more : {true, false}) {
    Bucket liar(
        [&](const Sent& sent) {
          if (!has(sent.url, "start-after=")) return reply(200, listing({"pre/a", "pre/b"}, false));
          CHECK(has(sent.url, "start-after=pre%2Fb"));
          return reply(200, more ? listing({"pre/c"}, false) : listing({}, false));
        },
        settings);
    page = list_sync(*liar.store, "", "", 2, Bucket::context());
    REQUIRE_MESSAGE(page, page.error().message());
    CHECK(page->objects.size() == 2);
    CHECK(page->truncated == more);
    CHECK(liar.http->sent().size() == 2);
    CHECK_FALSE(list_sync(*liar.store, "", "", 3, Bucket::context())->truncated);
    CHECK(liar.http->sent().size() == 3);
  }

  for (const std::string& bad :
       {listing({"pre/b", "pre/a"}, false), listing({"pre/a", "pre/a"}, false),
        listing({"other/a"}, false), listing({}, true), std::string("<html/>")}) {
    Bucket liar(always(reply(200, bad)), settings);
    const auto refused = list_sync(*liar.store, "", "", 10, Bucket::context());
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == Errc::kIo);
    CHECK(refused.error().message().starts_with("list s3://data/pre"));
  }
  Bucket none(always(reply(200, listing({}, false))));
  CHECK(list_sync(*none.store, "", "", 0, Bucket::context()).error().code() == Errc::kInvalid);
  CHECK(none.store->check_access_sync(Bucket::context()));
}

namespace {
std::string level(const std::vector<std::string>& keys, const std::vector<std::string>& prefixes,
                  const std::string& token) {
  std::string out = listing(keys, !token.empty());
  out.resize(out.size() - std::string("</ListBucketResult>").size());
  for (const std::string& prefix : prefixes)
    out += "<CommonPrefixes><Prefix>" + uri_encode(prefix, true) + "</Prefix></CommonPrefixes>";
  if (!token.empty()) out += "<NextContinuationToken>" + token + "</NextContinuationToken>";
  return out + "</ListBucketResult>";
}
}  // namespace

TEST_CASE("s3 list: one level, with the store's token, and what does not fit is refused") {
  S3Settings settings;
  settings.prefix = "pre";
  Bucket bucket(
      [](const Sent& sent) {
        CHECK(has(sent.url, "delimiter=%2F"));
        if (!has(sent.url, "continuation-token="))
          return reply(200, level({"pre/d/a"}, {"pre/d//", "pre/d/b/"}, "a+b"));
        CHECK(has(sent.url, "continuation-token=a%2Bb"));
        return reply(200, level({}, {}, ""));
      },
      settings);
  const ListScope scope = ListScope::level("d/");
  auto page = list_sync(*bucket.store, scope, "", 10, Bucket::context());
  REQUIRE_MESSAGE(page, page.error().message());
  CHECK(page->objects.front().key == "d/a");
  CHECK(page->prefixes == std::vector<std::string>{"d//", "d/b/"});
  CHECK(page->truncated);
  page = list_sync(*bucket.store, scope, page->next, 10, Bucket::context());
  REQUIRE_MESSAGE(page, page.error().message());
  CHECK_FALSE(page->truncated);
  for (const std::string& bad :
       {level({}, {"pre/d/b"}, ""), level({}, {"pre/d/"}, ""), level({"pre/d/b/c"}, {}, ""),
        level({}, {"pre/d/c/", "pre/d/b/"}, ""), level({}, {"other/"}, ""),
        level({}, {"pre/d/b/c/"}, "")}) {
    Bucket liar(always(reply(200, bad)), settings);
    CHECK_FALSE(list_sync(*liar.store, scope, "", 10, Bucket::context()));
  }
}

namespace {
// A store that takes multipart uploads and can fail some steps.
struct Multipart {
  std::map<int, std::string> parts;
  std::map<int, int> attempts;
  int fail_part = 0;  // this one answers 503 this often
  int failures = 0;
  HttpResponse complete = reply(200,
                                "<CompleteMultipartUploadResult><ETag>\"whole-3\"</ETag>"
                                "</CompleteMultipartUploadResult>");
  std::atomic<bool> aborted{false};
  std::string completed_with;

  HttpResponse operator()(const Sent& sent) {
    if (has(sent.url, "uploads="))
      return reply(200,
                   "<InitiateMultipartUploadResult><UploadId>id+1</UploadId>"
                   "</InitiateMultipartUploadResult>");
    if (sent.method == "DELETE") {
      aborted = true;
      return reply(204);
    }
    if (sent.method == "POST") {
      completed_with = sent.body;
      CHECK_FALSE(sent.may_resend);
      return complete;
    }
    const size_t at = sent.url.find("partNumber=");
    if (at == std::string::npos) return reply(200);  // not in parts at all
    const int number = std::stoi(sent.url.substr(at + 11));
    CHECK(has(sent.url, "uploadId=id%2B1"));
    if (number == fail_part && attempts[number]++ < failures) return reply(503);
    parts[number] = sent.body;
    return reply(200, "", {{"ETag", "\"p" + std::to_string(number) + "\""}});
  }
};

S3Settings small_parts() {
  S3Settings settings;
  settings.multipart_threshold = 10;
  settings.part_size = 8;
  settings.parts_in_flight = 2;
  return settings;
}
}  // namespace

TEST_CASE("s3 multipart: parts in order, each tried again, the condition on the last step") {
  Multipart server;
  server.fail_part = 2;
  server.failures = 2;
  Bucket bucket([&](const Sent& sent) { return server(sent); }, small_parts());
  const auto etag = bucket.put("k", "0123456789abcdefghij", PutCondition::kIfAbsent);
  REQUIRE_MESSAGE(etag, etag.error().message());
  CHECK(*etag == "\"whole-3\"");
  CHECK(server.parts[1] + server.parts[2] + server.parts[3] == "0123456789abcdefghij");
  CHECK(server.attempts[2] == 3);
  CHECK_FALSE(server.aborted);
  CHECK(has(server.completed_with, "<PartNumber>3</PartNumber><ETag>&quot;p3&quot;</ETag>"));
  CHECK(bucket.http->sent().back().header("if-none-match") == "*");
  CHECK(bucket.put("small", "0123456789"));
  CHECK(bucket.http->sent().back().method == "PUT");
}

TEST_CASE("s3 multipart: each part has its own CRC32C, named again at the end") {
  Multipart server;
  S3Settings settings = small_parts();
  settings.payload = S3Payload::kChecksumCrc32c;
  Bucket bucket([&](const Sent& sent) { return server(sent); }, settings);
  REQUIRE(bucket.put("k", "123456780123456789"));
  const std::vector<Sent> sent = bucket.http->sent();
  CHECK(sent.front().header("x-amz-checksum-algorithm") == "CRC32C");
  for (const Sent& s : sent)
    CHECK(s.header("x-amz-checksum-crc32c").empty() == (s.method != "PUT"));
  CHECK(sent.back().header("x-amz-content-sha256") == sha256(as_bytes(sent.back().body)).hex());
  CHECK(server.parts.size() == 3);
  for (const Sent& s : sent)
    if (s.method == "PUT")
      CHECK(has(sent.back().body,
                "<ChecksumCRC32C>" + s.header("x-amz-checksum-crc32c") + "</ChecksumCRC32C>"));
}

TEST_CASE("s3 multipart: what fails is aborted and said") {
  const auto put = [](Multipart& server) {
    Bucket bucket([&](const Sent& sent) { return server(sent); }, small_parts());
    auto result = bucket.put("k", "0123456789abcdefghij", PutCondition::kIfAbsent);
    for (int i = 0; i < 20'000 && !server.aborted; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    REQUIRE_FALSE(result);
    CHECK(server.aborted);
    return result.error();
  };
  Multipart broken_part;
  broken_part.fail_part = 3;
  broken_part.failures = 100;
  CHECK(put(broken_part).code() == Errc::kTransient);
  CHECK(broken_part.attempts[3] == 4);

  Multipart late_error;  // 200, and then the error in the body
  late_error.complete = error_reply(200, "InternalError");
  const Error late = put(late_error);
  CHECK(late.code() == Errc::kTransient);
  CHECK_FALSE(late.no_effect());

  Multipart lost;
  lost.complete = error_reply(412, "PreconditionFailed");
  CHECK(put(lost).code() == Errc::kPrecondition);

  Multipart late_loss;
  late_loss.complete = error_reply(200, "PreconditionFailed");
  CHECK(put(late_loss).code() == Errc::kPrecondition);
}

TEST_CASE("s3 multipart: a cancelled upload ends during a long pause") {
  Multipart server;
  Bucket bucket(
      [&](const Sent& sent) {
        if (has(sent.url, "partNumber=1&")) return reply(503, "", {{"Retry-After", "120"}});
        return server(sent);
      },
      small_parts());
  Context context;
  context.deadline = Deadline::after(system_clock(), std::chrono::seconds(1000));
  std::promise<Result<std::string>> answer;
  const MonotonicTime start = system_clock().now();
  bucket.store->put("k", Body(Buffer::copy("0123456789abcdefghij")), PutCondition::kAlways, context,
                    [&](Result<std::string> etag) { answer.set_value(std::move(etag)); });
  while (bucket.http->sent().size() < 4) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  context.cancel.cancel();
  CHECK(answer.get_future().get().error().code() == Errc::kCancelled);
  CHECK(system_clock().now() - start < std::chrono::seconds(60));
  for (int i = 0; i < 20'000 && !server.aborted; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  CHECK(server.aborted);
}

TEST_CASE("s3: keys and prefixes that break the rules are refused before anything is sent") {
  Bucket bucket(always(reply(200)));
  for (const char* key : {"", "/x", "a//b", "../x"})
    CHECK(bucket.put(key, "x").error().code() == Errc::kInvalid);
  for (const std::string& key : {std::string(), std::string(1025, 'x'), std::string("a\0b", 3)})
    CHECK(bucket.get(key).error().code() == Errc::kInvalid);
  S3Settings settings;
  settings.prefix = std::string(1000, 'p');
  Bucket deep(always(reply(200)), settings);
  CHECK(deep.put(std::string(100, 'k'), "x").error().code() == Errc::kInvalid);
  CHECK(bucket.http->sent().empty());
  CHECK(deep.http->sent().empty());
}
