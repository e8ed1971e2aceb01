#include "s3/s3_get.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>

#include "s3/s3_xml.h"

namespace cairn {

namespace {

constexpr uint64_t kMaxOffset = std::numeric_limits<int64_t>::max();  // what servers can parse

bool take_number(std::string_view& text, uint64_t& out) {
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (ec != std::errc()) return false;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return true;
}

bool take(std::string_view& text, std::string_view expected) {
  if (!text.starts_with(expected)) return false;
  text.remove_prefix(expected.size());
  return true;
}

// Where in an object of `size` bytes the range begins and how long it is there.
ByteRange clip(const GetRange& range, uint64_t size) {
  switch (range.kind) {
    case GetRange::Kind::kAll:
      return {0, size};
    case GetRange::Kind::kSuffix: {
      const uint64_t length = std::min(range.length, size);
      return {size - length, length};
    }
    case GetRange::Kind::kFrom:
      break;
  }
  if (range.offset >= size) return {size, 0};
  return {range.offset, std::min(range.length, size - range.offset)};
}

}  // namespace

std::optional<std::string> range_header(const GetRange& range) {
  switch (range.kind) {
    case GetRange::Kind::kAll:
      return std::nullopt;
    case GetRange::Kind::kSuffix:
      return fmt::format("bytes=-{}", std::clamp<uint64_t>(range.length, 1, kMaxOffset));
    case GetRange::Kind::kFrom:
      break;
  }
  const uint64_t first = std::min(range.offset, kMaxOffset);
  const uint64_t length = std::max<uint64_t>(range.length, 1);
  const uint64_t last = length - 1 > kMaxOffset - first ? kMaxOffset : first + (length - 1);
  return fmt::format("bytes={}-{}", first, last);
}

std::optional<ContentRange> parse_content_range(std::string_view text) {
  ContentRange out;
  if (!take(text, "bytes ")) return std::nullopt;
  if (!take(text, "*")) {
    out.satisfied = true;
    if (!take_number(text, out.first) || !take(text, "-") || !take_number(text, out.last))
      return std::nullopt;
  }
  if (!take(text, "/") || !take_number(text, out.size) || !text.empty()) return std::nullopt;
  if (out.satisfied && (out.first > out.last || out.last >= out.size)) return std::nullopt;
  return out;
}

Result<GetResult> read_get_answer(HttpResponse response, const GetRange& range,
                                  const std::string& what) {
  const auto bad = [&](std::string_view why) {
    return fail(Errc::kIo, fmt::format("{}: the store's answer does not add up: {}", what, why));
  };
  GetResult out;
  if (const std::string* etag = response.header("etag")) out.etag = *etag;
  ByteRange have{0, response.body.size()};
  out.object_size = have.length;
  const std::string* text = response.header("content-range");
  // MinIO's way to say that a suffix of an empty object is empty.
  const bool of_empty = text != nullptr && *text == "bytes 0--1/0" && response.body.empty();
  if (response.status == 206 && !of_empty) {
    const auto said = text == nullptr ? std::nullopt : parse_content_range(*text);
    if (!said || !said->satisfied) return bad("no usable Content-Range");
    have = {said->first, said->last - said->first + 1};
    out.object_size = said->size;
    if (have.length != response.body.size())
      return bad(fmt::format("{} bytes came instead of {}", response.body.size(), have.length));
  }
  const ByteRange want = clip(range, out.object_size);
  if (want.length == 0) return out;
  if (want.offset < have.offset || want.end() > have.end())
    return bad(fmt::format("bytes {}-{} came instead of {}-{}", have.offset, have.end(),
                           want.offset, want.end()));
  out.bytes = response.take_body().slice(static_cast<size_t>(want.offset - have.offset),
                                         static_cast<size_t>(want.length));
  return out;
}

std::optional<uint64_t> size_from_unsatisfied(const HttpResponse& response) {
  if (const std::string* text = response.header("content-range")) {
    const auto said = parse_content_range(*text);
    if (said && !said->satisfied) return said->size;
  }
  const auto error = parse_s3_error(response.body);
  if (error && error->has_object_size) return error->object_size;
  return std::nullopt;
}

}  // namespace cairn
