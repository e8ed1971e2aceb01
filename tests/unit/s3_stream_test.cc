#include "s3/s3_stream.h"

#include <doctest/doctest.h>

#include <cstring>
#include <map>
#include <mutex>

#include "s3/s3_parts.h"
#include "tests/support/fake_bucket.h"

using namespace cairn;
using namespace cairn::test;

namespace {

// A bucket that takes uploads in parts.
struct Parts {
  HttpResponse answer(const Sent& sent) {
    if (sent.method == "POST" && has(sent.url, "uploads=")) {
      ++begun;
      return reply(200,
                   "<InitiateMultipartUploadResult><UploadId>u</UploadId>"
                   "</InitiateMultipartUploadResult>");
    }
    if (sent.method == "PUT" && has(sent.url, "partNumber=")) {
      const size_t at = sent.url.find("partNumber=") + 11;
      const int number = std::stoi(sent.url.substr(at));
      if (fails > 0 && number == 2) return --fails, error_reply(503, "SlowDown");
      if (refuses == number) return error_reply(403, "AccessDenied");
      parts[number] = sent.body;
      return reply(200, "", {{"ETag", "\"" + std::to_string(number) + "\""}});
    }
    if (sent.method == "POST") {
      completed = sent.body;
      condition = sent.header("if-none-match");
      if (complete_is_refused) return error_reply(412, "PreconditionFailed");
      return reply(200,
                   "<CompleteMultipartUploadResult><ETag>whole</ETag>"
                   "</CompleteMultipartUploadResult>");
    }
    if (sent.method == "DELETE") return ++aborted, reply(204);
    whole = sent.body;
    return reply(200, "", {{"ETag", "whole"}});
  }
  std::string joined() const {
    std::string out;
    for (const auto& [number, bytes] : parts) out += bytes;
    return out;
  }
  int begun = 0, aborted = 0, fails = 0, refuses = 0;
  bool complete_is_refused = false;
  std::map<int, std::string> parts;
  std::string completed, condition, whole;
};

struct Stream {
  Stream() : bucket([this](const Sent& sent) { return parts.answer(sent); }) {}
  // `step`: how much a read gives at most.
  Result<std::string> put(const std::string& bytes, size_t step, PutHow how = {},
                          const Context& context = Bucket::context()) {
    size_t at = 0;
    return bucket.store->put_stream(
        *bucket.store, "k",
        [&](MutableBytes out) -> Result<size_t> {
          const size_t n = std::min({step, out.size(), bytes.size() - at});
          std::memcpy(out.data(), bytes.data() + at, n);
          at += n;
          return n;
        },
        how, context);
  }
  Parts parts;
  Bucket bucket;
};

std::string noise(size_t size) {
  std::string out(size, '\0');
  for (size_t i = 0; i < size; ++i) out[i] = static_cast<char>(i * 2654435761U >> 13);
  return out;
}

}  // namespace

TEST_CASE("a stream: what is short is one put") {
  for (const size_t size :
       {size_t{0}, size_t{1}, size_t{3'000'000}, static_cast<size_t>(kStreamPartBytes) - 1}) {
    CAPTURE(size);
    Stream w;
    const std::string bytes = noise(size);
    CHECK(w.put(bytes, 70'000).value_or("") == "whole");
    CHECK(w.parts.whole == bytes);
    CHECK(w.parts.begun == 0);
  }
}

TEST_CASE("a stream: parts, also where it ends with one") {
  for (const uint64_t size : {kStreamPartBytes, kStreamPartBytes + 1, 3 * kStreamPartBytes,
                              9 * kStreamPartBytes + 12345}) {
    CAPTURE(size);
    Stream w;
    w.parts.fails = 2;
    const std::string bytes = noise(static_cast<size_t>(size));
    const auto etag = w.put(bytes, 1 << 20, PutCondition::kIfAbsent);
    REQUIRE_MESSAGE(etag, etag.error().message());
    CHECK(*etag == "whole");
    CHECK(w.parts.joined() == bytes);
    CHECK(w.parts.parts.size() == (size + kStreamPartBytes - 1) / kStreamPartBytes);
    CHECK(w.parts.condition == "*");
    CHECK(has(w.parts.completed, "<PartNumber>1</PartNumber><ETag>&quot;1&quot;</ETag>"));
    CHECK(w.parts.aborted == 0);
  }
}

TEST_CASE("a stream: after a failure nothing is left") {
  const std::string bytes = noise(static_cast<size_t>(4 * kStreamPartBytes));
  {
    Stream w;
    w.parts.refuses = 2;
    const auto put = w.put(bytes, 1 << 20);
    REQUIRE_FALSE(put);
    CHECK(put.error().code() == Errc::kPermission);
    CHECK(w.parts.aborted == 1);
    CHECK(w.parts.completed.empty());
  }
  {
    Stream w;
    w.parts.complete_is_refused = true;
    CHECK(w.put(bytes, 1 << 20, PutCondition::kIfAbsent).error().code() == Errc::kPrecondition);
    CHECK(w.parts.aborted == 1);
  }
  {
    // The stream itself fails, or who reads it gives up.
    for (const bool gives_up : {false, true}) {
      Stream w;
      Context context = Bucket::context();
      int reads = 0;
      const auto put = w.bucket.store->put_stream(
          *w.bucket.store, "k",
          [&](MutableBytes out) -> Result<size_t> {
            if (++reads < 40) return std::min<size_t>(out.size(), 1 << 20);
            if (!gives_up) return fail(Errc::kIo, "the stream broke");
            context.cancel.cancel();
            return out.size();
          },
          {}, context);
      REQUIRE_FALSE(put);
      CHECK(put.error().code() == (gives_up ? Errc::kCancelled : Errc::kIo));
      CHECK(w.parts.begun == 1);
      CHECK(w.parts.aborted == 1);
      CHECK(w.parts.completed.empty());
    }
  }
}

TEST_CASE("a stream: parts grow, so that 10,000 of them are terabytes") {
  CHECK(stream_part_bytes(0) == 16ULL << 20);
  CHECK(stream_part_bytes(999) == 16ULL << 20);
  CHECK(stream_part_bytes(1000) == 32ULL << 20);
  CHECK(stream_part_bytes(9999) == 512ULL << 20);
  uint64_t all = 0;
  for (uint64_t i = 0; i < kS3PartsMax; ++i) {
    CHECK(stream_part_bytes(i) >= Body::kCopyBytesMin);
    CHECK(stream_part_bytes(i) <= kS3PartBytesMax);
    all += stream_part_bytes(i);
  }
  CHECK(all > 2ULL << 40);
  CHECK(all < Body::kBytesMax);
}
