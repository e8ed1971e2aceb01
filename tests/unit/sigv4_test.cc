#include "s3/sigv4.h"

#include <doctest/doctest.h>

#include "s3/endpoint.h"

using namespace cairn;

namespace {

// The credentials, host and time of the worked examples in the S3 API reference.
constexpr std::string_view kKey = "AKIAIOSFODNN7EXAMPLE";
const Secret kSecret("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
constexpr SigningScope kScope{"20130524T000000Z", "us-east-1"};

std::string signature(std::string_view method, std::string_view path, const QueryParameters& query,
                      std::vector<HttpHeader> headers, std::string_view payload) {
  headers.push_back({"Host", "examplebucket.s3.amazonaws.com"});
  headers.push_back({"x-amz-date", "20130524T000000Z"});
  headers.push_back({"x-amz-content-sha256", std::string(payload)});
  const std::string text = canonical_query(query);
  const std::string value =
      authorization({method, path, text, headers, payload}, kScope, kKey, kSecret);
  return value.substr(value.rfind('=') + 1);
}

}  // namespace

TEST_CASE("signatures are those that AWS publishes for S3") {
  CHECK(signature("GET", "/test.txt", {}, {{"Range", "bytes=0-9"}}, kEmptyPayloadHash) ==
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
  CHECK(signature("PUT", "/" + uri_encode("test$file.text", true), {},
                  {{"Date", "Fri, 24 May 2013 00:00:00 GMT"},
                   {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
                  "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072") ==
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
  CHECK(signature("GET", "/", {{"lifecycle", ""}}, {}, kEmptyPayloadHash) ==
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
  CHECK(signature("GET", "/", {{"prefix", "J"}, {"max-keys", "2"}}, {}, kEmptyPayloadHash) ==
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

TEST_CASE("the canonical request is the published one") {
  const std::vector<HttpHeader> headers{{"Host", "examplebucket.s3.amazonaws.com"},
                                        {"Range", "  bytes=0-9 "},
                                        {"x-amz-content-sha256", std::string(kEmptyPayloadHash)},
                                        {"X-Amz-Date", "20130524T000000Z"}};
  const std::string canonical =
      canonical_request({"GET", "/test.txt", "", headers, kEmptyPayloadHash});
  CHECK(canonical ==
        "GET\n/test.txt\n\nhost:examplebucket.s3.amazonaws.com\nrange:bytes=0-9\n"
        "x-amz-content-sha256:" +
            std::string(kEmptyPayloadHash) +
            "\nx-amz-date:20130524T000000Z\n\nhost;range;x-amz-content-sha256;x-amz-date\n" +
            std::string(kEmptyPayloadHash));
  CHECK(string_to_sign(kScope, canonical)
            .ends_with("7344ae5b7ee6c3e7e6b0fe0640412a37625d1fbfff95c48bbb2dc43964946972"));
}

TEST_CASE("header values and repeated headers are folded as the rules say") {
  const std::vector<HttpHeader> headers{
      {"My-Header", " a   b\tc  "}, {"host", "h"}, {"my-header", "d"}};
  CHECK(canonical_request({"GET", "/", "", headers, "x"}) ==
        "GET\n/\n\nhost:h\nmy-header:a b c,d\n\nhost;my-header\nx");
}

TEST_CASE("every byte of a key is encoded once, as S3 wants it") {
  std::string kept;
  for (int c = 0; c < 256; ++c) {
    const std::string raw(1, static_cast<char>(c));
    const std::string encoded = uri_encode(raw, false);
    if (encoded == raw) {
      kept += raw;
    } else {
      CHECK(encoded.size() == 3);
      CHECK(encoded[0] == '%');
      CHECK(std::stoi(encoded.substr(1), nullptr, 16) == c);
      CHECK(encoded.find_first_of("abcdef") == std::string::npos);
    }
  }
  CHECK(kept == "-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~");
  CHECK(uri_encode("a b/c+d%e/\xc3\xa9", true) == "a%20b/c%2Bd%25e/%C3%A9");
  CHECK(uri_encode("a/b", false) == "a%2Fb");
}

TEST_CASE("queries are sorted after encoding") {
  CHECK(canonical_query({{"b", "2"}, {"a-", "x y"}, {"a", ""}, {"b", "1"}}) ==
        "a=&a-=x%20y&b=1&b=2");
  CHECK(amz_timestamp(1'369'353'600'000'000'000) == "20130524T000000Z");
}

TEST_CASE("addressing: path style, virtual-host style, and what forces the first") {
  const auto aws = make_endpoint("", "eu-west-1", "data", std::nullopt);
  REQUIRE(aws);
  CHECK(aws->scheme_and_host() == "https://data.s3.eu-west-1.amazonaws.com");
  CHECK(aws->object_path("a b/c") == "/a%20b/c");
  CHECK(aws->object_path("") == "/");
  CHECK(aws->aws);

  const auto dotted = make_endpoint("", "eu-west-1", "my.data", std::nullopt);
  REQUIRE(dotted);
  CHECK(dotted->scheme_and_host() == "https://s3.eu-west-1.amazonaws.com");
  CHECK(dotted->object_path("k") == "/my.data/k");
  CHECK(make_endpoint("", "cn-north-1", "data", true)->host == "s3.cn-north-1.amazonaws.com.cn");

  const auto minio = make_endpoint("http://127.0.0.1:9000/", "us-east-1", "data", std::nullopt);
  REQUIRE(minio);
  CHECK(minio->scheme_and_host() == "http://127.0.0.1:9000");
  CHECK(minio->object_path("k") == "/data/k");
  CHECK(minio->object_path("") == "/data");
  CHECK_FALSE(minio->aws);
  CHECK(make_endpoint("http://store.local:80", "r", "data", false)->host == "data.store.local");
  CHECK(make_endpoint("https://s.local/base/", "r", "data", true)->object_path("k") ==
        "/base/data/k");
  CHECK(make_endpoint("https://[::1]:9000", "r", "data", true)->host == "[::1]:9000");
}

TEST_CASE("endpoints and buckets that cannot be are refused with a reason") {
  for (const char* url :
       {"127.0.0.1:9000", "ftp://host", "http://", "http://user:pw@host", "http://host:0",
        "http://host:99999", "http://host:x", "http://host?a=b", "http://ho st", "http://[::1"})
    CHECK_FALSE(make_endpoint(url, "us-east-1", "data", std::nullopt));
  CHECK_FALSE(make_endpoint("", "us east", "data", std::nullopt));
  for (const char* bucket : {"a/b", "..", "a b", "a?b"})
    CHECK_FALSE(make_endpoint("", "us-east-1", bucket, std::nullopt));
  CHECK(make_endpoint("", "us-east-1", "", std::nullopt));  // the service itself
}

TEST_CASE("bucket URLs") {
  const auto url = parse_bucket_url("s3://data/a/b/");
  REQUIRE(url);
  CHECK(url->bucket == "data");
  CHECK(url->prefix == "a/b");
  CHECK(parse_bucket_url("s3://data")->prefix.empty());
  CHECK(parse_bucket_url("data:a/b")->prefix == "a/b");
  CHECK(parse_bucket_url("data")->bucket == "data");
  CHECK_FALSE(parse_bucket_url("s3://"));
  CHECK_FALSE(parse_bucket_url("s3://data/a//b"));
  CHECK_FALSE(parse_bucket_url("s3://data/../x"));
}
