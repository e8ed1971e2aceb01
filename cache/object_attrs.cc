#include "cache/object_attrs.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <limits>

#include "cache/base/coding.h"

namespace cairn {

namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr const char* kMode = "mode";
constexpr const char* kUid = "uid";
constexpr const char* kGid = "gid";
constexpr const char* kMtime = "mtime";
constexpr const char* kWriter = "cairn-writer";
constexpr const char* kMovedFrom = "cairn-moved-from";
// Those that can be done without come first.
constexpr std::array<std::string_view, 6> kOwn{kMovedFrom, kWriter, kGid, kUid, kMtime, kMode};

const std::string* find_metadata(const ObjectHeaders& headers, std::string_view name) {
  for (const auto& [there, value] : headers.metadata)
    if (there == name) return &value;
  return nullptr;
}

void put_metadata(ObjectHeaders& headers, std::string_view name, std::string value) {
  for (auto& [there, old] : headers.metadata) {
    if (there != name) continue;
    old = std::move(value);
    return;
  }
  headers.metadata.emplace_back(name, std::move(value));
}

template <class T>
std::optional<T> parse_number(std::string_view text, int base = 10) {
  T value{};
  const char* end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, value, base);
  if (error != std::errc() || at != end || text.empty()) return std::nullopt;
  return value;
}

std::optional<uint32_t> number_in(const ObjectHeaders& headers, std::string_view name) {
  const std::string* text = find_metadata(headers, name);
  return text == nullptr ? std::nullopt : parse_number<uint32_t>(*text);
}

bool is_ascii(std::string_view text) {  // and can be printed
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

// s3fs writes a mode in decimal ("33188"), rclone in octal ("100644"). What has a type of file in
// decimal is that; without one nobody means decimal.
std::optional<uint32_t> parse_mode(std::string_view text) {
  constexpr uint32_t kMost = 0177777;
  static constexpr std::array<uint32_t, 7> kTypes{S_IFREG, S_IFDIR,  S_IFLNK, S_IFIFO,
                                                  S_IFCHR, S_IFSOCK, S_IFBLK};
  const auto decimal = parse_number<uint32_t>(text);
  const auto is_type = [&](uint32_t type) { return (*decimal & S_IFMT) == type; };
  if (decimal && *decimal <= kMost && std::any_of(kTypes.begin(), kTypes.end(), is_type))
    return decimal;
  const auto octal = parse_number<uint32_t>(text, 8);
  return octal && *octal <= kMost ? octal : std::nullopt;
}

// "1700000000", "1700000000.123456789"; further digits are cut.
std::optional<int64_t> parse_seconds(std::string_view text) {
  const size_t point = text.find('.');
  const auto seconds = parse_number<int64_t>(text.substr(0, point));
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max() / kSecond - 1;
  if (!seconds || *seconds > kMost || *seconds < -kMost) return std::nullopt;
  int64_t fraction = 0;
  if (point != std::string_view::npos) {
    std::string digits(text.substr(point + 1));
    digits.resize(9, '0');
    const auto parsed = parse_number<uint32_t>(digits);
    if (!parsed) return std::nullopt;
    fraction = *parsed;
  }
  return *seconds * kSecond + (text.starts_with('-') ? -fraction : fraction);
}

std::string format_time(int64_t ns) {
  const bool negative = ns < 0;
  const uint64_t size =
      negative ? uint64_t{0} - static_cast<uint64_t>(ns) : static_cast<uint64_t>(ns);
  const std::string whole = fmt::format("{}{}", negative ? "-" : "", size / kSecond);
  const uint64_t fraction = size % kSecond;
  return fraction == 0 ? whole : fmt::format("{}.{:09}", whole, fraction);
}

struct Ending {
  std::string_view name;
  std::string_view type;
};
// Types as IANA lists them.
constexpr std::array<Ending, 57> kEndings{{
    {"7z", "application/x-7z-compressed"},
    {"aac", "audio/aac"},
    {"avi", "video/x-msvideo"},
    {"avif", "image/avif"},
    {"bmp", "image/bmp"},
    {"bz2", "application/x-bzip2"},
    {"css", "text/css"},
    {"csv", "text/csv"},
    {"doc", "application/msword"},
    {"docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"},
    {"epub", "application/epub+zip"},
    {"flac", "audio/flac"},
    {"gif", "image/gif"},
    {"gz", "application/gzip"},
    {"htm", "text/html"},
    {"html", "text/html"},
    {"ico", "image/vnd.microsoft.icon"},
    {"ics", "text/calendar"},
    {"jpeg", "image/jpeg"},
    {"jpg", "image/jpeg"},
    {"js", "text/javascript"},
    {"json", "application/json"},
    {"jsonld", "application/ld+json"},
    {"log", "text/plain"},
    {"m4a", "audio/mp4"},
    {"m4v", "video/mp4"},
    {"md", "text/markdown"},
    {"mjs", "text/javascript"},
    {"mkv", "video/x-matroska"},
    {"mov", "video/quicktime"},
    {"mp3", "audio/mpeg"},
    {"mp4", "video/mp4"},
    {"mpeg", "video/mpeg"},
    {"odt", "application/vnd.oasis.opendocument.text"},
    {"ogg", "audio/ogg"},
    {"otf", "font/otf"},
    {"parquet", "application/vnd.apache.parquet"},
    {"pdf", "application/pdf"},
    {"png", "image/png"},
    {"pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"},
    {"rtf", "application/rtf"},
    {"svg", "image/svg+xml"},
    {"tar", "application/x-tar"},
    {"tif", "image/tiff"},
    {"tiff", "image/tiff"},
    {"toml", "application/toml"},
    {"ttf", "font/ttf"},
    {"txt", "text/plain"},
    {"wasm", "application/wasm"},
    {"wav", "audio/wav"},
    {"webm", "video/webm"},
    {"webp", "image/webp"},
    {"woff2", "font/woff2"},
    {"xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"},
    {"xml", "application/xml"},
    {"yaml", "application/yaml"},
    {"zip", "application/zip"},
}};

}  // namespace

ObjectAttrs attrs_of(const ObjectHeaders& headers) {
  ObjectAttrs attrs;
  if (const std::string* mode = find_metadata(headers, kMode)) attrs.mode = parse_mode(*mode);
  attrs.uid = number_in(headers, kUid);
  attrs.gid = number_in(headers, kGid);
  if (const std::string* mtime = find_metadata(headers, kMtime))
    attrs.mtime_ns = parse_seconds(*mtime);
  return attrs;
}

void set_attrs(ObjectHeaders& headers, const InodeRecord& record) {
  put_metadata(headers, kMode, std::to_string(record.mode));
  put_metadata(headers, kUid, std::to_string(record.uid));
  put_metadata(headers, kGid, std::to_string(record.gid));
  put_metadata(headers, kMtime, format_time(record.mtime));
}

void set_changed_attrs(ObjectHeaders& headers, const InodeRecord& record,
                       const InodeRecord& shown) {
  if (record.mode != shown.mode) put_metadata(headers, kMode, std::to_string(record.mode));
  if (record.uid != shown.uid) put_metadata(headers, kUid, std::to_string(record.uid));
  if (record.gid != shown.gid) put_metadata(headers, kGid, std::to_string(record.gid));
  if (record.mtime != shown.mtime) put_metadata(headers, kMtime, format_time(record.mtime));
}

std::optional<ObjectWriter> writer_of(const ObjectHeaders& headers) {
  const std::string* text = find_metadata(headers, kWriter);
  constexpr size_t kCacheDigits = 32;
  if (text == nullptr || text->size() < kCacheDigits + 4 || (*text)[kCacheDigits] != '-')
    return std::nullopt;
  ObjectWriter writer;
  for (size_t i = 0; i < writer.cache.size(); ++i) {
    const auto byte = parse_number<uint8_t>(std::string_view(*text).substr(2 * i, 2), 16);
    if (!byte) return std::nullopt;
    writer.cache[i] = static_cast<std::byte>(*byte);
  }
  const std::string_view rest = std::string_view(*text).substr(kCacheDigits + 1);
  const size_t dash = rest.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const auto ino = parse_number<uint64_t>(rest.substr(0, dash), 16);
  const auto lsn = parse_number<uint64_t>(rest.substr(dash + 1), 16);
  if (!ino || !lsn) return std::nullopt;
  writer.ino = *ino;
  writer.lsn = *lsn;
  return writer;
}

void set_writer(ObjectHeaders& headers, const ObjectWriter& writer) {
  put_metadata(headers, kWriter,
               fmt::format("{}-{:x}-{:x}", to_hex(writer.cache), writer.ino, writer.lsn));
}

std::optional<std::string> moved_from(const ObjectHeaders& headers) {
  const std::string* etag = find_metadata(headers, kMovedFrom);
  return etag == nullptr ? std::nullopt : std::optional(*etag);
}

void set_moved_from(ObjectHeaders& headers, std::string_view etag) {
  put_metadata(headers, kMovedFrom, std::string(etag));
}

bool is_own_metadata(std::string_view name) {
  return std::find(kOwn.begin(), kOwn.end(), name) != kOwn.end();
}

// Some stores count the prefix that a name travels with, too; what is no ASCII travels encoded.
uint64_t metadata_bytes(std::string_view name, std::string_view value) {
  constexpr uint64_t kPrefix = 11;
  return kPrefix + name.size() + (is_ascii(value) ? value.size() : 2 * value.size() + 16);
}

void fit_metadata(ObjectHeaders& headers) {
  constexpr uint64_t kMetadataMax = 2048;  // of Amazon S3
  for (const std::string_view name : kOwn) {
    uint64_t bytes = 0;
    for (const auto& [each, value] : headers.metadata) bytes += metadata_bytes(each, value);
    if (bytes <= kMetadataMax) return;
    std::erase_if(headers.metadata, [name](const auto& each) { return each.first == name; });
  }
}

std::string class_to_keep(const std::string& storage_class) {
  const bool usual = storage_class == kStandardClass || storage_class == "GLACIER" ||
                     storage_class == "DEEP_ARCHIVE";
  return usual ? std::string() : storage_class;
}

const std::string* find_tag(const ObjectTags& tags, std::string_view name) {
  for (const auto& [each, value] : tags)
    if (each == name) return &value;
  return nullptr;
}

bool set_tag_xattr(ObjectTags& tags, std::string_view xattr,
                   const std::optional<std::string>& value) {
  if (!xattr.starts_with(kTagXattr)) return true;
  const std::string_view tag = xattr.substr(kTagXattr.size());
  std::erase_if(tags, [tag](const auto& each) { return each.first == tag; });
  if (!value) return true;
  if (tags.size() >= kTagsMax) return false;
  tags.emplace_back(tag, *value);
  return true;
}

bool is_header_xattr(std::string_view name) {
  return name == kTypeXattr || name.starts_with(kMetaXattr);
}

namespace {

bool is_class_name(std::string_view name) {
  constexpr size_t kMost = 64;
  return !name.empty() && name.size() <= kMost && std::all_of(name.begin(), name.end(), [](char c) {
    return c == '_' || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  });
}

}  // namespace

int refuse_object_xattr(std::string_view name, std::string_view value) {
  if (name == kClassXattr) return is_class_name(value) ? 0 : EINVAL;
  if (name.starts_with(kTagXattr)) {
    // Not every store takes other letters.
    const std::string_view tag = name.substr(kTagXattr.size());
    const ObjectTags tags{{std::string(tag), std::string(value)}};
    return is_ascii(tag) && is_ascii(value) && check_tags(tags) ? 0 : EINVAL;
  }
  const bool is_type = name == kTypeXattr;
  if (!is_header_xattr(name)) return name.starts_with("user.s3.") ? EPERM : ENOTSUP;
  ObjectHeaders headers;
  if (is_type) {
    headers.content_type = value;
  } else {
    const std::string_view key = name.substr(kMetaXattr.size());
    if (is_own_metadata(key)) return EPERM;
    headers.metadata.emplace_back(key, value);
  }
  const bool trims = value.starts_with(' ') || value.ends_with(' ');
  return is_ascii(value) && !trims && check_headers(headers) ? 0 : EINVAL;
}

std::optional<std::string> object_xattr(const ObjectHeaders& headers, std::string_view name) {
  if (name == kTypeXattr)
    return headers.content_type.empty() ? std::string(kDefaultContentType) : headers.content_type;
  if (!name.starts_with(kMetaXattr)) return std::nullopt;
  const std::string* value = find_metadata(headers, name.substr(kMetaXattr.size()));
  return value == nullptr ? std::nullopt : std::optional(*value);
}

std::vector<std::string> object_xattrs(const ObjectHeaders& headers) {
  std::vector<std::string> names{std::string(kTypeXattr)};
  for (const auto& [name, value] : headers.metadata)
    if (std::string xattr = std::string(kMetaXattr) + name; valid_xattr_name(xattr))
      names.push_back(std::move(xattr));
  std::sort(names.begin(), names.end());
  return names;
}

bool set_object_xattr(ObjectHeaders& headers, std::string_view name,
                      const std::optional<std::string>& value) {
  if (name == kTypeXattr) {
    headers.content_type = value.value_or("");
    return true;
  }
  const std::string_view key = name.substr(kMetaXattr.size());
  if (!value) {
    std::erase_if(headers.metadata, [key](const auto& each) { return each.first == key; });
    return true;
  }
  uint64_t bytes = metadata_bytes(key, *value);
  for (const auto& [each, text] : headers.metadata)
    if (each != key && !is_own_metadata(each)) bytes += metadata_bytes(each, text);
  if (bytes > kUserMetadataMax) return false;
  put_metadata(headers, key, *value);
  return true;
}

std::string_view content_type_of(std::string_view name) {
  const size_t point = name.rfind('.');
  if (point == std::string_view::npos || point == 0) return {};
  std::string ending(name.substr(point + 1));
  std::transform(ending.begin(), ending.end(), ending.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  const auto at = std::lower_bound(
      kEndings.begin(), kEndings.end(), ending,
      [](const Ending& each, const std::string& wanted) { return each.name < wanted; });
  return at != kEndings.end() && at->name == ending ? at->type : std::string_view();
}

}  // namespace cairn
