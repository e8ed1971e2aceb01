// S3Store: puts over a version, headers, copies, heads, and the uploads that others left.
#include <doctest/doctest.h>

#include <atomic>
#include <map>

#include "cache/await.h"
#include "s3/s3_store.h"
#include "s3/s3_uploads.h"
#include "s3/s3_xml.h"
#include "tests/support/fake_bucket.h"

using namespace cairn;
using namespace cairn::test;

namespace {

constexpr uint64_t kMiB = 1ULL << 20;
constexpr uint64_t kGiB = 1ULL << 30;

Body copy_of(const std::string& key, uint64_t size, ByteRange range) {
  Body body;
  body.add(ObjectRange{key, "\"v1\"", size, range});
  return body;
}

// A store that copies, and takes uploads in parts.
HttpResponse copying_store(const Sent& sent) {
  if (has(sent.url, "tagging="))
    return reply(200,
                 "<Tagging><TagSet><Tag><Key>a b</Key><Value>c/d</Value></Tag></TagSet>"
                 "</Tagging>");
  if (has(sent.url, "uploads="))
    return reply(200,
                 "<InitiateMultipartUploadResult><UploadId>id</UploadId>"
                 "</InitiateMultipartUploadResult>");
  if (sent.method == "POST")
    return reply(200,
                 "<CompleteMultipartUploadResult><ETag>\"whole\"</ETag>"
                 "</CompleteMultipartUploadResult>");
  if (has(sent.url, "partNumber=") && !sent.header("x-amz-copy-source").empty())
    return reply(
        200,
        "<CopyPartResult><ETag>&quot;c&quot;</ETag><ChecksumCRC32C>AAAAAA==</ChecksumCRC32C>"
        "</CopyPartResult>");
  if (!sent.header("x-amz-copy-source").empty())
    return reply(200, "<CopyObjectResult><ETag>&quot;copy&quot;</ETag></CopyObjectResult>");
  return reply(200, "", {{"ETag", "\"p\""}});
}

S3Settings aws() {
  S3Settings settings;
  settings.endpoint_url = "https://s3.eu-west-1.amazonaws.com";
  return settings;
}

HttpResponse a_head(std::vector<HttpHeader> more = {}) {
  HttpResponse out = reply(200, "",
                           {{"ETag", "\"h\""},
                            {"Content-Length", "5"},
                            {"Last-Modified", "Sun, 22 Nov 2026 20:47:07 GMT"}});
  out.headers.insert(out.headers.end(), more.begin(), more.end());
  return out;
}

}  // namespace

TEST_CASE("s3 put over a version: If-Match, sent once, its refusals are kPrecondition") {
  Bucket bucket(always(reply(200, "", {{"ETag", "\"e2\""}})));
  CHECK(bucket.put("k", "x", PutHow::over("\"e1\"")).value() == "\"e2\"");
  const Sent sent = bucket.http->sent().at(0);
  CHECK(sent.header("if-match") == "\"e1\"");
  CHECK(sent.header("if-none-match").empty());
  CHECK_FALSE(sent.may_resend);
  CHECK(has(sent.header("authorization"), ";if-match;"));
  const auto code = [](const HttpResponse& response, PutHow how) {
    Bucket refusing(always(response));
    const auto put = refusing.put("k", "x", std::move(how));
    REQUIRE_FALSE(put);
    return std::pair(put.error().code(), put.error().no_effect());
  };
  const PutHow over = PutHow::over("\"e1\"");
  CHECK(code(error_reply(412, "PreconditionFailed"), over) == std::pair(Errc::kPrecondition, true));
  CHECK(code(error_reply(404, "NoSuchKey"), over) == std::pair(Errc::kPrecondition, true));
  CHECK(code(error_reply(409, "ConditionalRequestConflict"), over).first == Errc::kPrecondition);
  // A create that met another one is not decided by that, nor any put by what is no such answer.
  CHECK(code(error_reply(409, "ConditionalRequestConflict"), PutCondition::kIfAbsent).first ==
        Errc::kTransient);
  CHECK(code(error_reply(409, "OperationAborted"), over).first == Errc::kTransient);
  CHECK(code(error_reply(404, "NoSuchBucket"), over).first == Errc::kPermission);
  CHECK(code(reply(404, "<html>"), over).first == Errc::kIo);
}

TEST_CASE("s3 put: type and metadata as headers that are signed") {
  PutHow how;
  how.headers = {"video/mp4", {{"mode", "33188"}, {"name", "caf\xc3\xa9"}}};
  S3Settings settings;
  settings.multipart_threshold = 10;
  Bucket bucket(copying_store, settings);
  for (const char* body : {"small", "too large for one request"})
    REQUIRE(put_sync(*bucket.store, "k", Body(Buffer::copy(body)), how, Bucket::context()));
  for (const size_t i : {0U, 1U}) {
    const Sent sent = bucket.http->sent().at(i);
    CHECK(sent.header("content-type") == "video/mp4");
    CHECK(sent.header("x-amz-meta-mode") == "33188");
    CHECK(sent.header("x-amz-meta-name") == "=?UTF-8?B?Y2Fmw6k=?=");
    CHECK(has(sent.header("authorization"), ";x-amz-meta-mode;x-amz-meta-name"));
  }
  how.headers.metadata = {{"a", "b\r\nx-amz-acl: public-read"}};
  const size_t before = bucket.http->sent().size();
  CHECK(put_sync(*bucket.store, "k", Body(), how, Bucket::context()).error().code() ==
        Errc::kInvalid);
  CHECK(bucket.http->sent().size() == before);
}

TEST_CASE("s3 copy: a whole object is one request that names source and version") {
  S3Settings settings;
  settings.prefix = "a b";
  settings.options.expected_bucket_owner = "111122223333";
  settings.options.requester_pays = true;
  Bucket bucket(copying_store, settings);
  PutHow how;
  how.headers = {"text/x", {{"m", "n"}}};
  CHECK(put_sync(*bucket.store, "to", copy_of("d/\xc3\xa9+%?#&", 5 * kGiB, {0, 5 * kGiB}), how,
                 Bucket::context())
            .value() == "\"copy\"");
  const auto all = bucket.http->sent();
  REQUIRE(all.size() == 1);
  const Sent& sent = all[0];
  CHECK(sent.method == "PUT");
  CHECK(sent.url == "http://store.test:9000/data/a%20b/to");
  CHECK(sent.body.empty());
  CHECK(sent.header("x-amz-copy-source") == "/data/a%20b/d/%C3%A9%2B%25%3F%23%26");
  CHECK(sent.header("x-amz-copy-source-if-match") == "\"v1\"");
  CHECK(sent.header("x-amz-metadata-directive") == "REPLACE");
  CHECK(sent.header("x-amz-source-expected-bucket-owner") == "111122223333");
  CHECK(sent.header("x-amz-expected-bucket-owner") == "111122223333");
  CHECK(sent.header("x-amz-request-payer") == "requester");
  CHECK(sent.header("x-amz-meta-m") == "n");
  CHECK(sent.stall_timeout > std::chrono::minutes(4));
  CHECK(has(sent.header("authorization"), ";x-amz-copy-source;x-amz-copy-source-if-match;"));
}

TEST_CASE("s3 copy: with a condition in one request on AWS, in parts elsewhere") {
  Bucket elsewhere(copying_store);
  const Body body = copy_of("from", 6, {0, 6});
  REQUIRE(put_sync(*elsewhere.store, "to", body, PutHow::over("\"e\""), Bucket::context()));
  auto all = elsewhere.http->sent();
  REQUIRE(all.size() == 4);
  CHECK(has(all[0].url, "/from?tagging="));
  CHECK(all[1].header("if-match").empty());
  CHECK(all[1].header("x-amz-tagging") == "a%20b=c%2Fd");
  CHECK(has(all[2].url, "partNumber=1"));
  CHECK(all[2].header("x-amz-copy-source-range").empty());  // small objects have no ranges
  CHECK(all[2].header("x-amz-copy-source-if-match") == "\"v1\"");
  CHECK(all[3].header("if-match") == "\"e\"");
  CHECK_FALSE(all[3].may_resend);
  // What is said is not asked for.
  PutHow how = PutHow::over("\"e\"");
  how.tags = ObjectTags{{"k", "v"}};
  how.storage_class = "STANDARD_IA";
  REQUIRE(put_sync(*elsewhere.store, "to", body, how, Bucket::context()));
  all = elsewhere.http->sent();
  REQUIRE(all.size() == 7);
  CHECK(all[4].header("x-amz-tagging") == "k=v");
  CHECK(all[4].header("x-amz-storage-class") == "STANDARD_IA");

  Bucket on_aws(copying_store, aws());
  REQUIRE(put_sync(*on_aws.store, "to", body, PutCondition::kIfAbsent, Bucket::context()));
  all = on_aws.http->sent();
  REQUIRE(all.size() == 1);
  CHECK(all[0].header("if-none-match") == "*");
  CHECK_FALSE(all[0].may_resend);
  Body longer = copy_of("from", 6 * kMiB, {0, 6 * kMiB});
  longer.add(Buffer::copy("tail"));
  REQUIRE(put_sync(*on_aws.store, "to", longer, {}, Bucket::context()));
  CHECK(on_aws.http->sent().at(1).header("x-amz-checksum-algorithm") == "CRC32C");
}

TEST_CASE("s3 copy: parts that are copied beside parts that are sent") {
  S3Settings settings;
  settings.parts_in_flight = 1;
  settings.payload = S3Payload::kChecksumCrc32c;
  settings.endpoint_url = "https://store.test";
  settings.options.sse_c_key = Secret(std::string(32, 'k'));
  Bucket bucket(copying_store, settings);
  Body body = copy_of("from", 7 * kGiB, {100, 6 * kMiB});
  body.add(Buffer::copy("the tail"));
  REQUIRE(put_sync(*bucket.store, "to", body, {}, Bucket::context()));
  const auto all = bucket.http->sent();
  REQUIRE(all.size() == 4);
  CHECK(all[0].header("x-amz-checksum-algorithm").empty());  // who copies may not tell the sum
  CHECK(all[1].body.empty());
  CHECK(all[1].header("x-amz-copy-source") == "/data/from");
  CHECK(all[1].header("x-amz-copy-source-range") == "bytes=100-6291555");
  CHECK_FALSE(all[1].header("x-amz-copy-source-server-side-encryption-customer-key").empty());
  CHECK_FALSE(all[1].header("x-amz-server-side-encryption-customer-key").empty());
  CHECK(all[2].body == "the tail");
  CHECK(all[2].header("x-amz-copy-source").empty());
  CHECK(all[2].header("x-amz-copy-source-server-side-encryption-customer-key").empty());
  CHECK(has(all[3].body,
            "<PartNumber>1</PartNumber><ETag>&quot;c&quot;</ETag>"
            "<ChecksumCRC32C>AAAAAA==</ChecksumCRC32C>"));
}

TEST_CASE(
    "s3 copy: a source that changed is kPrecondition, also inside a success; the rest is not") {
  for (const ByteRange range : {ByteRange{0, 7 * kMiB}, ByteRange{1, 6 * kMiB}}) {
    const auto code = [&](const HttpResponse& response) {
      std::atomic<bool> aborted{false};
      Bucket bucket([&](const Sent& sent) {
        if (sent.method == "DELETE") aborted = true;
        if (!sent.header("x-amz-copy-source").empty()) return response;
        return copying_store(sent);
      });
      Context context;
      context.deadline = Deadline::after(system_clock(), std::chrono::seconds(1));
      const auto put = put_sync(*bucket.store, "to", copy_of("from", 7 * kMiB, range), {}, context);
      REQUIRE_FALSE(put);
      CHECK(outcome_unknown(put.error()) == (put.error().code() == Errc::kTransient));
      return put.error().code();
    };
    CHECK(code(error_reply(412, "PreconditionFailed")) == Errc::kPrecondition);
    CHECK(code(error_reply(404, "NoSuchKey")) == Errc::kPrecondition);
    CHECK(code(error_reply(200, "PreconditionFailed")) == Errc::kPrecondition);
    CHECK(code(error_reply(200, "InternalError")) == Errc::kTransient);
    CHECK(code(reply(200, "")) == Errc::kTransient);
    CHECK(code(error_reply(403, "AccessDenied")) == Errc::kPermission);
  }
}

TEST_CASE("s3 head: headers are read; what is refused is asked for its reason") {
  Bucket bucket(always(a_head({{"X-Amz-Meta-Mode", "33188"}})));
  const auto head = head_sync(*bucket.store, "k", Bucket::context());
  REQUIRE_MESSAGE(head, head.error().message());
  CHECK(head->info.key == "k");
  CHECK(head->info.size == 5);
  CHECK(head->headers.metadata.at(0) == std::pair<std::string, std::string>("mode", "33188"));
  CHECK(bucket.http->sent().at(0).method == "HEAD");

  const auto error = [](const HttpResponse& reason) {
    Bucket refusing([&](const Sent& sent) { return sent.method == "HEAD" ? reply(404) : reason; });
    const auto refused = head_sync(*refusing.store, "k", Bucket::context());
    REQUIRE_FALSE(refused);
    CHECK(refusing.http->sent().at(1).header("range") == "bytes=0-0");
    return refused.error().code();
  };
  CHECK(error(error_reply(404, "NoSuchKey")) == Errc::kNotFound);
  CHECK(error(error_reply(404, "NoSuchBucket")) == Errc::kPermission);
  CHECK(error(reply(404, "<html>who?</html>")) == Errc::kIo);
  CHECK(error(error_reply(503, "SlowDown")) == Errc::kTransient);

  // Keys that expired are renewed by the question why.
  std::atomic<int> heads{0};
  Bucket expired(
      [&](const Sent& sent) {
        const bool old = has(sent.header("authorization"), "KEY1/");
        if (sent.method == "HEAD") ++heads;
        if (old) return sent.method == "HEAD" ? reply(403) : error_reply(403, "ExpiredToken");
        return sent.method == "HEAD" ? a_head() : reply(206, "x");
      },
      {}, 2);
  CHECK(head_sync(*expired.store, "k", Bucket::context()));
}

TEST_CASE("s3: old uploads below the prefix are aborted, page by page, others are left") {
  const auto upload = [](const std::string& key, const std::string& id, const std::string& day) {
    return "<Upload><Key>" + key + "</Key><UploadId>" + id + "</UploadId><Initiated>2026-11-" +
           day + "T20:00:00.000Z</Initiated></Upload>";
  };
  std::vector<std::string> aborted;
  S3Settings settings;
  settings.prefix = "ours";
  Bucket bucket(
      [&](const Sent& sent) {
        if (sent.method == "DELETE") {
          aborted.push_back(sent.url);
          return has(sent.url, "uploadId=2") ? error_reply(404, "NoSuchUpload") : reply(204);
        }
        const bool second = has(sent.url, "key-marker=ours%2Fb");
        return reply(
            200, "<ListMultipartUploadsResult><EncodingType>url</EncodingType><IsTruncated>" +
                     std::string(second ? "false" : "true") +
                     "</IsTruncated><NextKeyMarker>ours%2Fb</NextKeyMarker>"
                     "<NextUploadIdMarker>2</NextUploadIdMarker>" +
                     (second ? upload("ours/c+d", "3", "20")
                             : upload("ours/a", "1", "20") + upload("ours/b", "2", "19") +
                                   upload("ours/young", "9", "22") +
                                   upload("oursnot/a", "8", "01") + upload("other", "7", "01")) +
                     "</ListMultipartUploadsResult>");
      },
      settings);
  Awaited<uint64_t> answer;
  bucket.store->abort_stale_uploads(std::chrono::hours(24), Bucket::context(), answer.callback());
  CHECK(answer.get().value() == 2);  // one was gone meanwhile
  REQUIRE(aborted.size() == 3);
  CHECK(has(aborted[0], "/ours/a?uploadId=1"));
  CHECK(has(aborted[2], "/ours/c%20d?uploadId=3"));
  Bucket refusing(always(error_reply(403, "AccessDenied")));
  Awaited<uint64_t> refused;
  refusing.store->abort_stale_uploads(std::chrono::hours(24), Bucket::context(),
                                      refused.callback());
  CHECK(refused.get().error().code() == Errc::kPermission);
}
