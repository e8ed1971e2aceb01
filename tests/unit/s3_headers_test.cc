#include "s3/s3_headers.h"

#include <doctest/doctest.h>

#include <map>

using namespace cairn;

namespace {

HttpResponse answer(std::vector<HttpHeader> more = {}) {
  HttpResponse out{200,
                   {{"Content-Length", "7"},
                    {"ETag", "\"e\""},
                    {"LAST-MODIFIED", "Sun, 22 Nov 2026 20:47:07 GMT"}},
                   {}};
  out.headers.insert(out.headers.end(), more.begin(), more.end());
  return out;
}

Result<ObjectHead> read(const HttpResponse& response) {
  return read_head_answer(response, "k", "head s3://b/k");
}

HttpResponse without(const std::string& name) {
  HttpResponse out = answer();
  std::erase_if(out.headers, [&](const HttpHeader& h) { return h.name == name; });
  return out;
}

}  // namespace

TEST_CASE("metadata values: ASCII as it is, the rest as encoded words, and back") {
  CHECK(encode_metadata_value("33188") == "33188");
  CHECK(encode_metadata_value("a=b; \"c\" %41 + \\") == "a=b; \"c\" %41 + \\");
  CHECK(encode_metadata_value("") == "");
  CHECK(encode_metadata_value("\xc3\xa9") == "=?UTF-8?B?w6k=?=");
  std::string accents;
  for (int i = 0; i < 100; ++i) accents += "\xe2\x82\xac";
  for (const std::string& value :
       {std::string("\xc3\xa9"), std::string(" a "), std::string("  "), accents, "x" + accents,
        "xy" + accents + " ", std::string("=?UTF-8?B?eA==?="), std::string("a =?b")}) {
    const std::string text = encode_metadata_value(value);
    CHECK(std::all_of(text.begin(), text.end(), [](char c) { return c > 0x1f && c < 0x7f; }));
    for (size_t at = 0; at < text.size();) {  // no word over 75 characters
      const size_t end = std::min(text.find(' ', at), text.size());
      CHECK(end - at <= 75);
      at = end + 1;
    }
    CHECK(decode_metadata_value(text) == value);
  }
}

TEST_CASE("metadata values of others are decoded as far as they can be") {
  CHECK(decode_metadata_value("=?utf-8?q?caf=C3=A9_au_lait?=") == "caf\xc3\xa9 au lait");
  CHECK(decode_metadata_value("=?UTF-8?B?w6k=?=   =?UTF-8?Q?x?=") == "\xc3\xa9x");
  CHECK(decode_metadata_value("a =?UTF-8?B?w6k=?= b") == "a \xc3\xa9 b");
  CHECK(decode_metadata_value("plain \xc3\xa9") == "plain \xc3\xa9");
  CHECK(decode_metadata_value("latin \xe9") == "latin \xc3\xa9");
  // Not words, or in a charset that is not ours.
  for (const char* text :
       {"=?UTF-8?B?w6k?=", "=?UTF-8?B?w6k=", "=?UTF-8?X?w6k=?=", "=?UTF-8?Q?=4?=",
        "=?Shift_JIS?B?w6k=?=", "=?UTF-8?", "=?", "=?UTF-8?B?!!!!?="})
    CHECK(decode_metadata_value(text) == text);
  // A line break does not come in encoded.
  CHECK(decode_metadata_value("=?UTF-8?B?DQphOiBi?=") == "=?UTF-8?B?DQphOiBi?=");
  CHECK(decode_metadata_value("=?UTF-8?Q?a=0D=0Ab?=") == "=?UTF-8?Q?a=0D=0Ab?=");
}

TEST_CASE("a HEAD's answer is read, whatever case its names are in") {
  const auto head = read(answer({{"X-Amz-Meta-Mode", "33188"},
                                 {"x-amz-meta-euro", "=?UTF-8?B?4oKs?="},
                                 {"content-TYPE", "text/x"},
                                 {"x-amz-storage-class", "X"}}));
  REQUIRE_MESSAGE(head, head.error().message());
  CHECK(head->info.key == "k");
  CHECK(head->info.size == 7);
  CHECK(head->info.etag == "\"e\"");
  CHECK(head->info.mtime_ns == 1'795'380'427'000'000'000);
  CHECK(head->headers.content_type == "text/x");
  using Pairs = std::vector<std::pair<std::string, std::string>>;
  CHECK(head->headers.metadata == Pairs{{"mode", "33188"}, {"euro", "\xe2\x82\xac"}});
  CHECK(read(answer())->headers.content_type == kDefaultContentType);
}

TEST_CASE("what caches and browsers are told of an object is read, and said again as it was") {
  const auto head = read(answer({{"Content-Encoding", "gzip"},
                                 {"cache-control", "max-age=60, public"},
                                 {"Content-Disposition", "attachment; filename=\"caf\xc3\xa9\""},
                                 {"content-language", "de"},
                                 {"Expires", "Wed, 01 Jan 2031 00:00:00 GMT"},
                                 {"x-amz-website-redirect-location", "/there"},
                                 {"vary", "origin"}}));
  REQUIRE(head);
  std::vector<HttpHeader> out;
  append_object_headers(head->headers, out);
  std::map<std::string, std::string> sent;
  for (const HttpHeader& each : out) sent[each.name] = each.value;
  CHECK(sent == std::map<std::string, std::string>{
                    {"content-type", std::string(kDefaultContentType)},
                    {"content-encoding", "gzip"},
                    {"cache-control", "max-age=60, public"},
                    {"content-disposition", "attachment; filename=\"caf\xc3\xa9\""},
                    {"content-language", "de"},
                    {"expires", "Wed, 01 Jan 2031 00:00:00 GMT"},
                    {"x-amz-website-redirect-location", "/there"}});
  CHECK(check_headers(head->headers));
  // How an upload travelled is not what is kept.
  const auto encoding = [](const char* value) {
    const auto got = read(answer({{"content-encoding", value}}));
    REQUIRE(got);
    return got->headers.kept.empty() ? std::string() : got->headers.kept[0].second;
  };
  CHECK(encoding("aws-chunked").empty());
  CHECK(encoding("AWS-Chunked, gzip") == "gzip");
  CHECK(encoding("gzip,aws-chunked,br") == "gzip,br");
  CHECK(encoding("gzip, br") == "gzip, br");
  CHECK(encoding("a\tb").empty());
}

TEST_CASE("a HEAD's answer that lacks something or breaks bounds is refused") {
  for (const char* name : {"Content-Length", "ETag", "LAST-MODIFIED"}) {
    const auto head = read(without(name));
    REQUIRE_FALSE(head);
    CHECK(head.error().code() == Errc::kIo);
  }
  for (const char* size : {"", "-1", "7x", "99999999999999999999999"}) {
    HttpResponse response = without("Content-Length");
    response.headers.push_back({"content-length", size});
    CHECK_FALSE(read(response));
  }
  HttpResponse dated = without("LAST-MODIFIED");
  dated.headers.push_back({"last-modified", "yesterday"});
  CHECK_FALSE(read(dated));
  std::vector<HttpHeader> many;
  for (int i = 0; i < 600; ++i) many.push_back({"x-amz-meta-n" + std::to_string(i), "v"});
  CHECK_FALSE(read(answer(many)));
  CHECK_FALSE(read(answer(
      {{"x-amz-meta-a", std::string(5000, 'x')}, {"x-amz-meta-b", std::string(5000, 'x')}})));
  // What could not be put again is left out.
  const auto odd = read(answer({{"x-amz-meta-a", "1"},
                                {"X-AMZ-META-A", "2"},
                                {"x-amz-meta-", "3"},
                                {"x-amz-meta-b c", "4"},
                                {"x-amz-meta-tab", "a\tb"},
                                {"content-type", "te\x01xt"}}));
  REQUIRE(odd);
  using Pairs = std::vector<std::pair<std::string, std::string>>;
  CHECK(odd->headers.metadata == Pairs{{"a", "1"}});
  CHECK(odd->headers.content_type == kDefaultContentType);
  CHECK(check_headers(odd->headers));
}
