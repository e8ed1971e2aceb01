#include "cache/bucket_rows.h"

#include <algorithm>
#include <array>

#include "cache/base/coding.h"

namespace cairn::bucket_rows {

namespace {

constexpr uint8_t kHasMarker = 1;
constexpr uint8_t kHasHeaders = 2;
constexpr uint8_t kHeadersAsked = 4;
constexpr uint8_t kHasClass = 8;
constexpr uint8_t kHasVersionId = 16;
constexpr uint8_t kHasTags = 32;
constexpr uint8_t kSaysTags = 64;
constexpr uint8_t kHasKept = 128;  // of rows of before none has it
constexpr uint8_t kIsDir = 1;
constexpr uint8_t kIsLink = 2;
constexpr size_t kVersionBytes = 16;

std::string row_key(char letter, uint64_t ino, std::string_view name = {}) {
  std::array<std::byte, 8> number{};
  put_be64(number.data(), ino);
  std::string key(1, letter);
  key.append(as_chars(number));
  key.append(name);
  return key;
}

tl::unexpected<Error> damaged_row() {
  return fail(Errc::kCorruption, "a row of the names of objects is damaged");
}

void put_text(ByteVec& out, std::string_view text) {
  put_le(out, static_cast<uint32_t>(text.size()));
  append(out, as_bytes(text));
}

class Reader {
 public:
  explicit Reader(std::string_view in) : in_(in) {}
  template <class T>
  T number() {
    if (in_.size() < sizeof(T)) {
      failed_ = true;
      return {};
    }
    const T value = get_le<T>(as_bytes(in_).data());
    in_.remove_prefix(sizeof(T));
    return value;
  }
  std::string_view bytes(size_t count) {
    if (in_.size() < count) {
      failed_ = true;
      return {};
    }
    const std::string_view out = in_.substr(0, count);
    in_.remove_prefix(count);
    return out;
  }
  std::string text() { return std::string(bytes(number<uint32_t>())); }
  std::string_view rest() const { return in_; }
  bool failed() const { return failed_; }
  bool complete() const { return !failed_ && in_.empty(); }

 private:
  std::string_view in_;
  bool failed_ = false;
};

using Pairs = std::vector<std::pair<std::string, std::string>>;

void put_pairs(ByteVec& out, const Pairs& pairs) {
  put_le(out, static_cast<uint32_t>(pairs.size()));
  for (const auto& [name, value] : pairs) {
    put_text(out, name);
    put_text(out, value);
  }
}

Pairs read_pairs(Reader& in) {
  Pairs pairs;
  for (auto left = in.number<uint32_t>(); left > 0 && !in.failed(); --left) {
    std::string name = in.text();
    pairs.emplace_back(std::move(name), in.text());
  }
  return pairs;
}

void put_headers(ByteVec& out, const ObjectHeaders& headers) {
  put_text(out, headers.content_type);
  put_pairs(out, headers.metadata);
}

ObjectHeaders read_headers(Reader& in) {
  ObjectHeaders headers;
  headers.content_type = in.text();
  headers.metadata = read_pairs(in);
  return headers;
}

}  // namespace

TableChange left_row(std::string_view from, const std::optional<std::string>& what) {
  std::string key(1, kLeftRow);
  if (from.size() < kMetaKeyBytesMax) return {kTable, key.append(from), what};
  const Digest digest = sha256(as_bytes(from));
  key.push_back('\0');  // no key of an object has one
  key.append(as_chars(digest.bytes));
  if (!what) return {kTable, std::move(key), std::nullopt};
  ByteVec value;
  put_text(value, from);
  append(value, as_bytes(*what));
  return {kTable, std::move(key), to_string(value)};
}

Result<std::pair<std::string, std::string>> decode_left(std::string_view key,
                                                        std::string_view value) {
  if (key.size() < 2 || key[1] != '\0')
    return std::pair(std::string(key.substr(1)), std::string(value));
  Reader reader(value);
  std::string from = reader.text();
  if (reader.failed()) return damaged_row();
  return std::pair(std::move(from), std::string(reader.rest()));
}

std::string node_key(uint64_t ino) {
  return row_key('n', ino);
}
std::string entry_key(uint64_t dir, std::string_view name) {
  return row_key('d', dir, name);
}
std::string listing_key(uint64_t dir) {
  return row_key('l', dir);
}

Result<std::pair<uint64_t, std::string>> decode_entry_key(std::string_view key) {
  constexpr size_t kBeforeName = 1 + sizeof(uint64_t);
  if (key.size() < kBeforeName) return damaged_row();
  return std::pair(get_be64(as_bytes(key).data() + 1), std::string(key.substr(kBeforeName)));
}

std::string encode(const BucketNode& node) {
  ByteVec out;
  put_le(out, static_cast<uint8_t>(node.kind));
  put_le(out, static_cast<uint8_t>(
                  (node.has_marker ? kHasMarker : 0) | (node.headers ? kHasHeaders : 0) |
                  (node.headers_asked ? kHeadersAsked : 0) | (node.storage_class ? kHasClass : 0) |
                  (node.version_id ? kHasVersionId : 0) | (node.tags ? kHasTags : 0) |
                  (node.has_tags ? kSaysTags : 0) |
                  (node.headers && !node.headers->kept.empty() ? kHasKept : 0)));
  put_le(out, node.parent);
  put_le(out, node.size);
  put_le(out, node.mtime_ns);
  put_le(out, node.lsn);
  append(out, Bytes(node.version.bytes).first(kVersionBytes));
  put_text(out, node.etag);
  put_text(out, node.part);
  put_text(out, node.target);
  if (node.headers) put_headers(out, *node.headers);
  if (node.storage_class) put_text(out, *node.storage_class);
  if (node.version_id) put_text(out, *node.version_id);
  if (node.tags) {
    put_pairs(out, *node.tags);
    put_le(out, node.tags_seen_ns);
  }
  if (node.headers && !node.headers->kept.empty()) put_pairs(out, node.headers->kept);
  return to_string(out);
}

Result<BucketNode> decode_node(std::string_view in) {
  Reader reader(in);
  BucketNode node;
  const auto kind = reader.number<uint8_t>();
  if (kind < 1 || kind > 3) return damaged_row();
  node.kind = static_cast<BucketNode::Kind>(kind);
  const auto flags = reader.number<uint8_t>();
  node.has_marker = (flags & kHasMarker) != 0;
  node.headers_asked = (flags & kHeadersAsked) != 0;
  node.has_tags = (flags & kSaysTags) != 0;
  node.parent = reader.number<uint64_t>();
  node.size = reader.number<uint64_t>();
  node.mtime_ns = reader.number<int64_t>();
  node.lsn = reader.number<Lsn>();
  const Bytes version = as_bytes(reader.bytes(kVersionBytes));
  std::copy(version.begin(), version.end(), node.version.bytes.begin());
  node.etag = reader.text();
  node.part = reader.text();
  node.target = reader.text();
  if ((flags & kHasHeaders) != 0) node.headers = read_headers(reader);
  if ((flags & kHasClass) != 0) node.storage_class = reader.text();
  if ((flags & kHasVersionId) != 0) node.version_id = reader.text();
  if ((flags & kHasTags) != 0) {
    node.tags = read_pairs(reader);
    node.tags_seen_ns = reader.number<int64_t>();
  }
  if ((flags & kHasKept) != 0 && !node.headers) return damaged_row();
  if ((flags & kHasKept) != 0) node.headers->kept = read_pairs(reader);
  if (!reader.complete()) return damaged_row();
  return node;
}

std::string encode(const BucketEntry& entry) {
  ByteVec out;
  put_le(out, entry.ino);
  put_le(out, static_cast<uint8_t>((entry.is_dir ? kIsDir : 0) | (entry.is_link ? kIsLink : 0)));
  put_le(out, entry.seen_ns);
  return to_string(out);
}

Result<BucketEntry> decode_entry(std::string_view in) {
  Reader reader(in);
  BucketEntry entry;
  entry.ino = reader.number<uint64_t>();
  const auto kind = reader.number<uint8_t>();
  entry.is_dir = (kind & kIsDir) != 0;
  entry.is_link = (kind & kIsLink) != 0;
  entry.seen_ns = reader.number<int64_t>();
  if (!reader.complete()) return damaged_row();
  return entry;
}

std::string encode(const BucketListing& listing) {
  ByteVec out;
  put_le(out, static_cast<uint8_t>(listing.complete ? 1 : 0));
  put_le(out, listing.listed_ns);
  put_le(out, listing.pages);
  return to_string(out);
}

Result<BucketListing> decode_listing(std::string_view in) {
  Reader reader(in);
  BucketListing listing;
  listing.complete = reader.number<uint8_t>() != 0;
  listing.listed_ns = reader.number<int64_t>();
  listing.pages = reader.number<uint64_t>();
  if (!reader.complete()) return damaged_row();
  return listing;
}

}  // namespace cairn::bucket_rows
