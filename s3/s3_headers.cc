#include "s3/s3_headers.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>

#include "cache/base/coding.h"
#include "cache/base/digest.h"
#include "s3/s3_error.h"

namespace cairn {

namespace {

constexpr std::string_view kWordBegin = "=?UTF-8?B?";
constexpr std::string_view kWordEnd = "?=";
constexpr size_t kWordBytes = 45;  // 60 digits: an encoded word has at most 75 characters
constexpr size_t kMetadataBytesMax = 8192;
constexpr size_t kMetadataCountMax = 512;

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

std::string lowered(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), lower);
  return out;
}

bool is_plain(std::string_view value) {
  return value.find("=?") == std::string_view::npos &&
         std::all_of(value.begin(), value.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
}

bool has_control_bytes(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte < 0x20 || byte == 0x7f;
  });
}

bool is_continuation(char c) {
  return (static_cast<unsigned char>(c) & 0xc0) == 0x80;
}

std::optional<std::string> from_quoted(std::string_view text) {
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c = lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
  };
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '_') {
      out.push_back(' ');
    } else if (text[i] != '=') {
      out.push_back(text[i]);
    } else {
      const int high = i + 2 < text.size() ? digit(text[i + 1]) : -1;
      const int low = i + 2 < text.size() ? digit(text[i + 2]) : -1;
      if (high < 0 || low < 0) return std::nullopt;
      out.push_back(static_cast<char>(high * 16 + low));
      i += 2;
    }
  }
  return out;
}

// Takes an encoded word of UTF-8 from the front of `text`.
std::optional<std::string> take_word(std::string_view& text) {
  if (lowered(text.substr(0, 8)) != "=?utf-8?" || text.size() < 12 || text[9] != '?')
    return std::nullopt;
  const char kind = lower(text[8]);
  const size_t end = text.find(kWordEnd, 10);
  if (end == std::string_view::npos) return std::nullopt;
  const std::string_view inside = text.substr(10, end - 10);
  std::optional<std::string> out;
  if (kind == 'b') out = from_base64(inside);
  if (kind == 'q') out = from_quoted(inside);
  if (out) text.remove_prefix(end + kWordEnd.size());
  return out;
}

std::string from_latin1(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80) {
      out.push_back(c);
    } else {
      out.push_back(static_cast<char>(0xc0 | byte >> 6));
      out.push_back(static_cast<char>(0x80 | (byte & 0x3f)));
    }
  }
  return out;
}

std::optional<uint64_t> to_size(const std::string* text) {
  uint64_t value = 0;
  if (text == nullptr || text->empty()) return std::nullopt;
  const auto [end, ec] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (ec != std::errc() || end != text->data() + text->size()) return std::nullopt;
  return value;
}

// What has a control character in it, or is too long to be true, counts as absent.
std::string text_in(const HttpResponse& response, std::string_view name) {
  constexpr size_t kMost = 1024;
  const std::string* text = response.header(name);
  if (text == nullptr || text->size() > kMost || has_control_bytes(*text)) return {};
  return *text;
}

// How an upload travelled is no encoding of what is kept; some stores keep it as one, and would
// take it for the encoding of what is sent next.
std::string encoding_kept(std::string_view value) {
  std::string out;
  bool travelled = false;
  for (std::string_view rest = value; !rest.empty();) {
    const size_t comma = std::min(rest.find(','), rest.size());
    std::string_view each = rest.substr(0, comma);
    rest.remove_prefix(std::min(comma + 1, rest.size()));
    while (each.starts_with(' ')) each.remove_prefix(1);
    while (each.ends_with(' ')) each.remove_suffix(1);
    if (lowered(each) == "aws-chunked") {
      travelled = true;
    } else if (!each.empty()) {
      out.append(out.empty() ? "" : ",").append(each);
    }
  }
  return travelled ? out : std::string(value);
}

// What could not be put again is left out.
void read_kept_headers(const HttpResponse& response, ObjectHeaders& headers) {
  for (const std::string_view name : kKeptHeaders) {
    const std::string* there = response.header(name);
    if (there == nullptr) continue;
    const bool encodes = name == "content-encoding";
    std::string value = encodes ? encoding_kept(*there) : *there;
    if (!check_headers({{}, {}, {{std::string(name), value}}})) continue;
    headers.kept.emplace_back(name, std::move(value));
  }
}

}  // namespace

bool is_delete_marker(const HttpResponse& response) {
  const std::string* marker = response.header("x-amz-delete-marker");
  return response.status >= 400 && marker != nullptr && *marker == "true";
}

std::string encode_metadata_value(std::string_view value) {
  if (is_plain(value) && !value.starts_with(' ') && !value.ends_with(' '))
    return std::string(value);
  std::string out;
  for (size_t at = 0; at < value.size();) {
    size_t end = std::min(at + kWordBytes, value.size());
    while (end < value.size() && end > at + 1 && is_continuation(value[end])) --end;
    if (!out.empty()) out.push_back(' ');
    out.append(kWordBegin).append(to_base64(as_bytes(value.substr(at, end - at)))).append(kWordEnd);
    at = end;
  }
  return out;
}

std::string decode_metadata_value(std::string_view text) {
  std::string out;
  bool behind_word = false;
  for (std::string_view rest = text; !rest.empty();) {
    // Blanks between two encoded words are not part of the value.
    std::string_view next = rest;
    while (behind_word && next.starts_with(' ')) next.remove_prefix(1);
    if (auto word = take_word(next)) {
      out += *word;
      rest = next;
      behind_word = true;
      continue;
    }
    behind_word = false;
    out.push_back(rest.front());
    rest.remove_prefix(1);
  }
  // What no header may hold cannot come in by this door either.
  if (has_control_bytes(out)) out = std::string(text);
  return is_utf8(out) ? out : from_latin1(out);
}

void append_object_headers(const ObjectHeaders& headers, std::vector<HttpHeader>& out) {
  out.push_back({"content-type", headers.content_type.empty() ? std::string(kDefaultContentType)
                                                              : headers.content_type});
  for (const auto& [name, value] : headers.metadata)
    out.push_back({std::string(kMetadataHeader) + name, encode_metadata_value(value)});
  for (const auto& [name, value] : headers.kept) out.push_back({name, value});
}

Result<ObjectHead> read_head_answer(const HttpResponse& response, std::string key,
                                    const std::string& what) {
  const auto bad = [&](std::string_view why) {
    return fail(Errc::kIo, fmt::format("{}: the store's answer does not add up: {}", what, why));
  };
  ObjectHead head;
  head.info.key = std::move(key);
  const auto size = to_size(response.header("content-length"));
  if (!size) return bad("it does not say how large the object is");
  head.info.size = *size;
  const std::string* etag = response.header("etag");
  if (etag == nullptr || etag->empty() || has_control_bytes(*etag)) return bad("no usable ETag");
  head.info.etag = *etag;
  const std::string* time = response.header("last-modified");
  const int64_t seconds = time == nullptr ? -1 : parse_http_date(*time);
  constexpr int64_t kSecond = 1'000'000'000;
  if (seconds < 0 || seconds > std::numeric_limits<int64_t>::max() / kSecond)
    return bad("no usable Last-Modified");
  head.info.mtime_ns = seconds * kSecond;
  head.storage_class = text_in(response, "x-amz-storage-class");
  head.version_id = text_in(response, "x-amz-version-id");
  if (const auto count = to_size(response.header("x-amz-tagging-count")))
    head.tag_count = static_cast<uint32_t>(std::min<uint64_t>(*count, kTagsMax));
  const std::string* type = response.header("content-type");
  head.headers.content_type = type == nullptr || type->empty() ? kDefaultContentType : *type;
  if (!check_headers({head.headers.content_type, {}}))
    head.headers.content_type = kDefaultContentType;
  read_kept_headers(response, head.headers);
  size_t bytes = 0;
  for (const auto& [name, value] : head.headers.kept) bytes += name.size() + value.size();
  for (const HttpHeader& header : response.headers) {
    std::string name = lowered(header.name);
    if (!name.starts_with(kMetadataHeader)) continue;
    name.erase(0, kMetadataHeader.size());
    std::string value = decode_metadata_value(header.value);
    // What cannot be put again is left out: a name that is no token, controls, a name's second
    // value.
    const auto same = [&](const auto& other) { return other.first == name; };
    auto& metadata = head.headers.metadata;
    if (!check_headers({{}, {{name, value}}}) ||
        std::any_of(metadata.begin(), metadata.end(), same))
      continue;
    bytes += name.size() + value.size();
    if (bytes > kMetadataBytesMax || metadata.size() == kMetadataCountMax)
      return bad("it has more metadata than 8 KiB");
    metadata.emplace_back(std::move(name), std::move(value));
  }
  return head;
}

}  // namespace cairn
