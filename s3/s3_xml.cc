#include "s3/s3_xml.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <pugixml.hpp>

namespace cairn {

namespace {

// A page of 1,000 keys has some 25,000 tags; each costs the parser about 64 bytes.
constexpr size_t kMaxMarks = 200'000;
constexpr size_t kMaxKeyBytes = 4096;
constexpr size_t kMaxErrorTextBytes = 4096;
constexpr size_t kMaxBucketBytes = 255;
constexpr size_t kMaxRegionBytes = 64;
constexpr size_t kMaxTokenBytes = 64 << 10;  // of a session
constexpr size_t kMaxPlaceBytes = 16 << 10;  // of a listing's continuation token

tl::unexpected<Error> not_s3(std::string_view why) {
  return fail(Errc::kIo, fmt::format("not an S3 answer: {}", why));
}

Status load_xml(pugi::xml_document& document, Bytes xml) {
  if (xml.size() > kMaxXmlBytes) return not_s3("the XML is too long");
  const auto mark = [](std::byte b) {
    const char c = static_cast<char>(b);
    return c == '<' || c == '"' || c == '\'';
  };
  if (static_cast<size_t>(std::count_if(xml.begin(), xml.end(), mark)) > kMaxMarks)
    return not_s3("the XML has too many elements");
  const auto parsed = document.load_buffer(
      xml.data(), xml.size(),
      pugi::parse_minimal | pugi::parse_escapes | pugi::parse_cdata | pugi::parse_eol,
      pugi::encoding_utf8);
  if (!parsed) return not_s3(parsed.description());
  return {};
}

std::string_view text_under(const pugi::xml_node& parent, const char* name) {
  return parent.child(name).text().get();
}

std::string bounded_text(std::string_view text) {
  return std::string(text.substr(0, kMaxErrorTextBytes));
}

bool parse_u64(std::string_view text, uint64_t& out) {
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), out);
  return ec == std::errc() && end == text.data() + text.size() && !text.empty();
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

Result<std::string> parse_key(std::string_view text, bool encoded) {
  std::string key(text);
  if (encoded) {
    TRY_ASSIGN(key, url_decode(text));
  }
  if (key.empty() || key.size() > kMaxKeyBytes) return not_s3("a listed object has no usable key");
  return key;
}

Result<S3ListedObject> parse_contents(const pugi::xml_node& node, bool encoded) {
  S3ListedObject object;
  TRY_ASSIGN(object.key, parse_key(text_under(node, "Key"), encoded));
  if (!parse_u64(text_under(node, "Size"), object.size))
    return not_s3("a listed object has no usable size");
  object.etag = bounded_text(text_under(node, "ETag"));
  TRY_ASSIGN(object.mtime_ns, parse_iso8601(text_under(node, "LastModified")));
  return object;
}

void append_escaped(std::string& out, std::string_view text) {
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out.push_back(c);
    }
  }
}

S3ErrorBody read_error(const pugi::xml_node& root) {
  S3ErrorBody out;
  out.code = bounded_text(text_under(root, "Code"));
  out.message = bounded_text(text_under(root, "Message"));
  out.region = bounded_text(text_under(root, "Region"));
  out.endpoint = bounded_text(text_under(root, "Endpoint"));
  out.request_id = bounded_text(text_under(root, "RequestId"));
  out.server_time = bounded_text(text_under(root, "ServerTime"));
  out.has_object_size = parse_u64(text_under(root, "ActualObjectSize"), out.object_size);
  return out;
}

}  // namespace

Result<std::string> url_decode(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '+') {
      out.push_back(' ');
    } else if (text[i] != '%') {
      out.push_back(text[i]);
    } else {
      const int high = i + 1 < text.size() ? hex_value(text[i + 1]) : -1;
      const int low = i + 2 < text.size() ? hex_value(text[i + 2]) : -1;
      if (high < 0 || low < 0) return not_s3("a listed key is not percent-encoded");
      out.push_back(static_cast<char>(high * 16 + low));
      i += 2;
    }
  }
  return out;
}

Result<int64_t> parse_iso8601(std::string_view text) {
  // Year to second, then an optional fraction, then 'Z'.
  constexpr std::string_view kShape = "dddd-dd-ddTdd:dd:dd";
  const auto bad = [] { return not_s3("a listed object has no usable time"); };
  if (text.size() < kShape.size() + 1 || text.back() != 'Z') return bad();
  for (size_t i = 0; i < kShape.size(); ++i) {
    const bool digit = text[i] >= '0' && text[i] <= '9';
    if (kShape[i] == 'd' ? !digit : text[i] != kShape[i]) return bad();
  }
  const auto number = [&](size_t at, size_t digits) {
    int value = 0;
    for (size_t i = at; i < at + digits; ++i) value = value * 10 + (text[i] - '0');
    return value;
  };
  int64_t nanos = 0;
  std::string_view fraction = text.substr(kShape.size(), text.size() - kShape.size() - 1);
  if (!fraction.empty()) {
    if (fraction.front() != '.' || fraction.size() > 10 || fraction.size() < 2) return bad();
    fraction.remove_prefix(1);
    for (size_t i = 0; i < 9; ++i) {
      const char c = i < fraction.size() ? fraction[i] : '0';
      if (c < '0' || c > '9') return bad();
      nanos = nanos * 10 + (c - '0');
    }
  }
  const std::chrono::year_month_day day{std::chrono::year(number(0, 4)),
                                        std::chrono::month(static_cast<unsigned>(number(5, 2))),
                                        std::chrono::day(static_cast<unsigned>(number(8, 2)))};
  const int hour = number(11, 2);
  const int minute = number(14, 2);
  const int second = number(17, 2);
  if (!day.ok() || hour > 23 || minute > 59 || second > 60) return bad();
  const int64_t days = std::chrono::sys_days(day).time_since_epoch().count();
  // What int64 nanoseconds can hold: 1678 to 2261.
  if (number(0, 4) < 1678 || number(0, 4) > 2261) return bad();
  return ((days * 24 + hour) * 60 + minute) * 60'000'000'000 + second * 1'000'000'000LL + nanos;
}

Result<S3Listing> parse_list_objects(Bytes xml, size_t max_objects) {
  pugi::xml_document document;
  TRY(load_xml(document, xml));
  const pugi::xml_node root = document.child("ListBucketResult");
  if (!root) return not_s3("expected a ListBucketResult");
  const bool encoded = text_under(root, "EncodingType") == "url";
  S3Listing out;
  const std::string_view truncated = text_under(root, "IsTruncated");
  if (truncated != "true" && truncated != "false") return not_s3("IsTruncated is missing");
  out.truncated = truncated == "true";
  for (const pugi::xml_node& node : root.children("Contents")) {
    if (out.objects.size() == max_objects) return not_s3("more objects than were asked for");
    TRY_ASSIGN(S3ListedObject object, parse_contents(node, encoded));
    out.objects.push_back(std::move(object));
  }
  for (const pugi::xml_node& node : root.children("CommonPrefixes")) {
    if (out.objects.size() + out.prefixes.size() == max_objects)
      return not_s3("more prefixes than were asked for");
    TRY_ASSIGN(std::string prefix, parse_key(text_under(node, "Prefix"), encoded));
    out.prefixes.push_back(std::move(prefix));
  }
  const std::string_view token = text_under(root, "NextContinuationToken");
  if (token.size() > kMaxPlaceBytes) return not_s3("the continuation token is too long");
  out.next_token = std::string(token);
  return out;
}

Result<S3BucketListing> parse_list_buckets(Bytes xml, size_t max_buckets) {
  pugi::xml_document document;
  TRY(load_xml(document, xml));
  const pugi::xml_node root = document.child("ListAllMyBucketsResult");
  if (!root) return not_s3("expected a ListAllMyBucketsResult");
  S3BucketListing out;
  for (const pugi::xml_node& node : root.child("Buckets").children("Bucket")) {
    if (out.buckets.size() == max_buckets) return not_s3("more buckets than there can be");
    const std::string_view name = text_under(node, "Name");
    if (name.empty() || name.size() > kMaxBucketBytes)
      return not_s3("a listed bucket has no usable name");
    // A region has a short name; what else it may be is not kept for each of many buckets.
    const std::string_view region = text_under(node, "BucketRegion").substr(0, kMaxRegionBytes);
    out.buckets.push_back({std::string(name), std::string(region)});
  }
  const std::string_view token = text_under(root, "ContinuationToken");
  if (token.size() > kMaxPlaceBytes) return not_s3("the continuation token is too long");
  out.next_token = std::string(token);
  return out;
}

Result<S3ErrorBody> parse_s3_error(Bytes xml) {
  pugi::xml_document document;
  TRY(load_xml(document, xml));
  const pugi::xml_node root = document.child("Error");
  if (!root || text_under(root, "Code").empty()) return not_s3("expected an Error");
  return read_error(root);
}

Result<Credentials> parse_sts_credentials(Bytes xml) {
  pugi::xml_document document;
  TRY(load_xml(document, xml));
  const pugi::xml_node root = document.first_child();
  for (const char* action : {"AssumeRole", "AssumeRoleWithWebIdentity"}) {
    if (std::string_view(root.name()) != std::string(action) + "Response") continue;
    const pugi::xml_node keys =
        root.child((std::string(action) + "Result").c_str()).child("Credentials");
    Credentials out;
    out.access_key = bounded_text(text_under(keys, "AccessKeyId"));
    out.secret_key = Secret(bounded_text(text_under(keys, "SecretAccessKey")));
    const std::string_view token = text_under(keys, "SessionToken");
    if (out.access_key.empty() || out.secret_key.empty() || token.empty() ||
        token.size() > kMaxTokenBytes)
      return fail(Errc::kIo, "not an STS answer: it has no keys");
    out.session_token = Secret(std::string(token));
    const auto expires = parse_iso8601(text_under(keys, "Expiration"));
    if (!expires) return fail(Errc::kIo, "not an STS answer: Expiration is not a time");
    out.expires_wall_ns = *expires;
    return out;
  }
  return fail(Errc::kIo, "not an STS answer: expected an AssumeRoleResponse");
}

Result<S3ErrorBody> parse_sts_error(Bytes xml) {
  pugi::xml_document document;
  TRY(load_xml(document, xml));
  const pugi::xml_node root = document.child("ErrorResponse").child("Error");
  if (!root || text_under(root, "Code").empty())
    return fail(Errc::kIo, "not an STS answer: expected an ErrorResponse");
  return read_error(root);
}

Result<S3Copied> parse_copy_result(Bytes xml) {
  pugi::xml_document document;
  TRY(load_xml(document, xml));
  const pugi::xml_node root = document.first_child();
  const std::string_view name = root.name();
  if (name != "CopyObjectResult" && name != "CopyPartResult")
    return not_s3("expected the result of a copy");
  S3Copied out;
  out.etag = bounded_text(text_under(root, "ETag"));
  out.crc32c = bounded_text(text_under(root, "ChecksumCRC32C"));
  if (out.etag.empty()) return not_s3("a copy has no ETag");
  return out;
}

Result<S3UploadListing> parse_list_uploads(Bytes xml, size_t max_uploads) {
  pugi::xml_document document;
  TRY(load_xml(document, xml));
  const pugi::xml_node root = document.child("ListMultipartUploadsResult");
  if (!root) return not_s3("expected a ListMultipartUploadsResult");
  const bool encoded = text_under(root, "EncodingType") == "url";
  S3UploadListing out;
  const std::string_view truncated = text_under(root, "IsTruncated");
  if (truncated != "true" && truncated != "false") return not_s3("IsTruncated is missing");
  out.truncated = truncated == "true";
  for (const pugi::xml_node& node : root.children("Upload")) {
    if (out.uploads.size() == max_uploads) return not_s3("more uploads than were asked for");
    S3ListedUpload upload;
    TRY_ASSIGN(upload.key, parse_key(text_under(node, "Key"), encoded));
    const std::string_view id = text_under(node, "UploadId");
    if (id.empty() || id.size() > kMaxPlaceBytes) return not_s3("an upload has no usable id");
    upload.id = std::string(id);
    TRY_ASSIGN(upload.begun_ns, parse_iso8601(text_under(node, "Initiated")));
    out.uploads.push_back(std::move(upload));
  }
  const std::string_view id = text_under(root, "NextUploadIdMarker");
  if (id.size() > kMaxPlaceBytes) return not_s3("the next upload's id is too long");
  out.next_upload_id = std::string(id);
  const std::string_view key = text_under(root, "NextKeyMarker");
  if (!key.empty()) {
    TRY_ASSIGN(out.next_key, parse_key(key, encoded));
  }
  return out;
}

namespace {

Result<ObjectVersion> parse_version(const pugi::xml_node& node, bool encoded) {
  ObjectVersion out;
  out.deleted = std::string_view(node.name()) == "DeleteMarker";
  TRY_ASSIGN(out.info.key, parse_key(text_under(node, "Key"), encoded));
  out.version_id = bounded_text(text_under(node, "VersionId"));
  if (out.version_id.find('\n') != std::string::npos) return not_s3("a version has no usable id");
  if (out.version_id.empty()) out.version_id = "null";
  out.latest = text_under(node, "IsLatest") == "true";
  TRY_ASSIGN(out.info.mtime_ns, parse_iso8601(text_under(node, "LastModified")));
  if (out.deleted) return out;
  if (!parse_u64(text_under(node, "Size"), out.info.size))
    return not_s3("a listed version has no usable size");
  out.info.etag = bounded_text(text_under(node, "ETag"));
  return out;
}

}  // namespace

Result<S3VersionListing> parse_list_versions(Bytes xml, size_t max_entries) {
  pugi::xml_document document;
  TRY(load_xml(document, xml));
  const pugi::xml_node root = document.first_child();
  const std::string_view name = root.name();
  if (name != "ListVersionsResult" && name != "ListBucketVersionsResult" &&
      name != "ListObjectVersionsResult")
    return not_s3("expected a ListVersionsResult");
  const bool encoded = text_under(root, "EncodingType") == "url";
  S3VersionListing out;
  const std::string_view truncated = text_under(root, "IsTruncated");
  if (truncated != "true" && truncated != "false") return not_s3("IsTruncated is missing");
  out.truncated = truncated == "true";
  for (const pugi::xml_node& node : root.children()) {
    const std::string_view kind = node.name();
    const bool is_prefix = kind == "CommonPrefixes";
    if (!is_prefix && kind != "Version" && kind != "DeleteMarker") continue;
    if (out.versions.size() + out.prefixes.size() == max_entries)
      return not_s3("more versions than were asked for");
    if (is_prefix) {
      TRY_ASSIGN(std::string prefix, parse_key(text_under(node, "Prefix"), encoded));
      out.prefixes.push_back(std::move(prefix));
    } else {
      TRY_ASSIGN(ObjectVersion version, parse_version(node, encoded));
      out.versions.push_back(std::move(version));
    }
  }
  out.next_version = bounded_text(text_under(root, "NextVersionIdMarker"));
  if (const std::string_view key = text_under(root, "NextKeyMarker"); !key.empty()) {
    TRY_ASSIGN(out.next_key, parse_key(key, encoded));
  }
  return out;
}

Result<bool> parse_versioning(Bytes xml) {
  pugi::xml_document document;
  TRY(load_xml(document, xml));
  const pugi::xml_node root = document.child("VersioningConfiguration");
  if (!root) return not_s3("expected a VersioningConfiguration");
  const std::string_view status = text_under(root, "Status");
  return status == "Enabled" || status == "Suspended";
}

Result<ObjectTags> parse_tagging(Bytes xml) {
  constexpr size_t kMost = 100;
  pugi::xml_document document;
  TRY(load_xml(document, xml));
  const pugi::xml_node root = document.child("Tagging");
  if (!root) return not_s3("expected a Tagging");
  ObjectTags tags;
  for (const pugi::xml_node& node : root.child("TagSet").children("Tag")) {
    if (tags.size() == kMost) return not_s3("it has too many tags");
    tags.emplace_back(bounded_text(text_under(node, "Key")),
                      bounded_text(text_under(node, "Value")));
  }
  return tags;
}

std::string format_tagging(const ObjectTags& tags) {
  std::string out = "<Tagging xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><TagSet>";
  for (const auto& [name, value] : tags) {
    out += "<Tag><Key>";
    append_escaped(out, name);
    out += "</Key><Value>";
    append_escaped(out, value);
    out += "</Value></Tag>";
  }
  return out + "</TagSet></Tagging>";
}

Result<std::string> parse_initiate_multipart(Bytes xml) {
  pugi::xml_document document;
  TRY(load_xml(document, xml));
  const std::string_view id =
      text_under(document.child("InitiateMultipartUploadResult"), "UploadId");
  if (id.empty() || id.size() > kMaxErrorTextBytes) return not_s3("expected an UploadId");
  return std::string(id);
}

Result<std::string> parse_complete_multipart(Bytes xml) {
  pugi::xml_document document;
  TRY(load_xml(document, xml));
  const pugi::xml_node root = document.child("CompleteMultipartUploadResult");
  if (!root) return not_s3("expected a CompleteMultipartUploadResult");
  return bounded_text(text_under(root, "ETag"));
}

std::string format_complete_multipart(const std::vector<S3Part>& parts) {
  std::string out = "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">";
  for (const S3Part& part : parts) {
    out += fmt::format("<Part><PartNumber>{}</PartNumber><ETag>", part.number);
    append_escaped(out, part.etag);
    out += "</ETag>";
    if (!part.crc32c.empty()) out += "<ChecksumCRC32C>" + part.crc32c + "</ChecksumCRC32C>";
    out += "</Part>";
  }
  return out + "</CompleteMultipartUpload>";
}

}  // namespace cairn
