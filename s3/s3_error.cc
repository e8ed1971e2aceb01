#include "s3/s3_error.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <ctime>
#include <optional>
#include <string_view>
#include <utility>

#include "s3/credentials.h"
#include "s3/s3_xml.h"

namespace cairn {

namespace {

constexpr int64_t kMaxRetryAfterSeconds = 120;
struct Meaning {
  Errc code;
  std::string sentence;
  bool no_effect = false;
};

bool is_any(std::string_view code, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), code) != names.end();
}

std::string clock_sentence(const HttpResponse& response, const S3ErrorContext& context) {
  const std::string* date = response.header("date");
  const int64_t server = date != nullptr ? parse_http_date(*date) : -1;
  if (server < 0) return "this machine's clock is wrong; set it (for example with NTP)";
  const int64_t off = (context.wall_ns / 1'000'000'000 - server) / 60;
  return fmt::format(
      "this machine's clock is {} minutes {} the store's; set it (for example with "
      "NTP)",
      std::abs(off), off < 0 ? "behind" : "ahead of");
}

// What a policy must allow for an operation. What mounts do all the time is named together.
std::string_view rights_for(std::string_view operation) {
  constexpr std::pair<std::string_view, std::string_view> kOwn[] = {
      {"get the tags of",
       "s3:GetObjectTagging (and s3:GetBucketTagging where a rule asks for "
       "the bucket's)"},
      {"put the tags of", "s3:PutObjectTagging"},
      {"list versions of", "s3:ListBucketVersions"},
      {"get a version of", "s3:GetObjectVersion"},
      {"head a version of", "s3:GetObjectVersion"},
      {"get the tags of a version of", "s3:GetObjectVersionTagging"},
      {"put the tags of a version of", "s3:PutObjectVersionTagging"},
      {"get the versioning of", "s3:GetBucketVersioning"},
      {"abort old uploads of", "s3:ListBucketMultipartUploads and s3:AbortMultipartUpload"},
  };
  for (const auto& [name, rights] : kOwn)
    if (operation == name) return rights;
  return "s3:ListBucket, s3:GetObject, s3:PutObject and s3:DeleteObject";
}

// Who we are and whether that is enough.
std::optional<Meaning> meaning_of_identity(const S3ErrorBody& error, const HttpResponse& response,
                                           const S3ErrorContext& context) {
  const std::string key = context.access_key.empty()
                              ? "an anonymous request"
                              : "access key " + masked_key(context.access_key);
  const std::string& code = error.code;
  const auto refused = [](std::string sentence) {
    return Meaning{Errc::kPermission, std::move(sentence), true};
  };
  if (is_any(code,
             {"InvalidAccessKeyId", "XAdminUserNotFound"}))  // the second: versitygw, as a 404
    return refused(fmt::format("{} does not know {}: check AWS_ACCESS_KEY_ID or the profile",
                               context.endpoint, key));
  if (code == "SignatureDoesNotMatch")
    return refused(
        fmt::format("the secret key does not belong to {}: check AWS_SECRET_ACCESS_KEY "
                    "or the profile",
                    key));
  if (is_any(code, {"RequestTimeTooSkewed", "RequestExpired"}))
    return refused(clock_sentence(response, context));
  if (is_any(code, {"ExpiredToken", "TokenRefreshRequired"}))
    return refused("the session token has expired: get a new one");
  if (is_any(code, {"InvalidToken", "InvalidTokenId"}))
    return refused("the session token is not valid: get a new one");
  if (response.status != 401 && response.status != 403) return std::nullopt;
  if (code == "QuotaExceeded") return std::nullopt;
  if (code == "AccessDenied" && context.bucket.empty())
    return refused(
        fmt::format("{} may not list the buckets: its policy must allow s3:ListAllMyBuckets; one "
                    "bucket is named as s3://BUCKET",
                    key));
  if (code == "AccessDenied" || code == "AllAccessDisabled" || code.empty() || context.is_head)
    return refused(fmt::format("{} may not {} here: its policy must allow {} on bucket {}", key,
                               context.operation, rights_for(context.operation), context.bucket));
  return refused(fmt::format("the store refuses {}", key));
}

std::optional<Meaning> meaning_of_place(const S3ErrorBody& error, const HttpResponse& response,
                                        const S3ErrorContext& context) {
  // No "no such object": objects that nobody can see any more may be back with their bucket.
  if (error.code == "NoSuchBucket")
    return Meaning{Errc::kPermission,
                   fmt::format("bucket '{}' does not exist at {}: create it, or check its name and "
                               "--endpoint-url",
                               context.bucket, context.endpoint),
                   true};
  if (error.code == "InvalidBucketName")
    return Meaning{Errc::kInvalid, fmt::format("'{}' is not a bucket name", context.bucket), true};
  const std::string region = region_hint(response);
  if (!region.empty() && region != context.region)
    return Meaning{Errc::kInvalid,
                   fmt::format("bucket '{0}' is in region {1}: use --region {1}", context.bucket,
                               printable(region)),
                   true};
  if (response.status >= 300 && response.status < 400) {
    const std::string* location = response.header("location");
    const std::string to = !error.endpoint.empty() ? error.endpoint
                           : location != nullptr   ? *location
                                                   : std::string("another place");
    return Meaning{Errc::kInvalid,
                   fmt::format("{} redirects to {}: name the right place with --endpoint-url and "
                               "--region",
                               context.endpoint, printable(to)),
                   true};
  }
  return std::nullopt;
}

Meaning meaning_of_conflict(S3Conflict conflict) {
  const char* sentence = "the object exists already";
  if (conflict == S3Conflict::kOtherVersion) sentence = "the object is another version now";
  if (conflict == S3Conflict::kOtherSource)
    sentence = "an object that was to be copied is another version now";
  return Meaning{Errc::kPrecondition, sentence, true};
}

std::optional<Meaning> meaning_of_code(const S3ErrorBody& error, S3Conflict conflict) {
  const std::string& code = error.code;
  if (is_any(code, {"NoSuchKey", "NoSuchVersion"})) {
    if (conflict != S3Conflict::kExists) return meaning_of_conflict(conflict);
    return Meaning{Errc::kNotFound, "there is no such object", true};
  }
  if (code == "NoSuchUpload") return Meaning{Errc::kTransient, "somebody aborted the upload", true};
  if (code == "PreconditionFailed")  // also inside an answer that began as a success
    return meaning_of_conflict(conflict);
  // Over a version the caller looks at the object again in any case.
  if (code == "ConditionalRequestConflict" && conflict == S3Conflict::kOtherVersion)
    return meaning_of_conflict(conflict);
  if (is_any(code, {"SlowDown", "SlowDownRead", "SlowDownWrite", "Throttling",
                    "RequestLimitExceeded", "TooManyRequests"}))
    return Meaning{Errc::kTransient, "the store asks to slow down", true};
  if (is_any(code, {"XMinioStorageFull", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded",
                    "InsufficientStorage"}))
    return Meaning{Errc::kNoSpace, "the store is full or its quota is used up", true};
  if (is_any(code, {"ConditionalRequestConflict", "OperationAborted"}))
    return Meaning{Errc::kTransient, "another request for the same object is under way"};
  if (code == "RequestTimeout")
    return Meaning{Errc::kTransient, "the store waited too long for the body"};
  if (is_any(code, {"XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "BadDigest",
                    "IncompleteBody"}))
    return Meaning{Errc::kTransient, "the body was damaged on its way to the store", true};
  if (code == "NotImplemented")
    return Meaning{Errc::kUnsupported, "the store does not offer this", true};
  return std::nullopt;
}

Meaning meaning_of_status(int status, bool s3_answer, const S3ErrorContext& context) {
  switch (status) {
    case 404:
      // A web server that is no S3 store says 404 to everything, and stores use it for other things
      // too. Taking those for "no such object" would make a full bucket look empty, so the store
      // has to say NoSuchKey.
      if (s3_answer) return {Errc::kIo, "the store refuses the request"};
      if (!context.is_head)
        return {Errc::kIo, fmt::format("{} does not answer like an S3 store: check --endpoint-url",
                                       context.endpoint)};
      return {Errc::kNotFound, "there is no such object", true};
    case 405:
    case 501:
      return {Errc::kUnsupported, "the store does not offer this", true};
    case 408:
      return {Errc::kTransient, "the store waited too long for the request"};
    case 409:
      return {Errc::kTransient, "another request for the same object is under way"};
    case 412:
      return meaning_of_conflict(context.conflict);
    case 429:
      return {Errc::kTransient, "the store asks to slow down", true};
    case 507:
      return {Errc::kNoSpace, "the store is full or its quota is used up", true};
    default:
      break;
  }
  if (status >= 500) return {Errc::kTransient, "the store failed"};
  if (!s3_answer && !context.is_head)
    return {Errc::kIo, fmt::format("{} does not answer like an S3 store: check --endpoint-url",
                                   context.endpoint)};
  return {Errc::kInvalid, "the store refuses the request", true};
}

std::chrono::nanoseconds retry_after(const HttpResponse& response, const S3ErrorContext& context) {
  const std::string* text = response.header("retry-after");
  if (text == nullptr) return {};
  int64_t seconds = 0;
  const auto [end, ec] = std::from_chars(text->data(), text->data() + text->size(), seconds);
  if (ec != std::errc() || end != text->data() + text->size()) {
    const int64_t at = parse_http_date(*text);
    if (at < 0) return {};
    seconds = at - context.wall_ns / 1'000'000'000;
  }
  return std::chrono::seconds(std::clamp<int64_t>(seconds, 0, kMaxRetryAfterSeconds));
}

}  // namespace

std::string printable(std::string_view text) {
  constexpr size_t kMost = 200;
  std::string out(text.substr(0, kMost));
  for (char& c : out)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  return out;
}

int64_t parse_http_date(const std::string& text) {
  std::tm tm{};
  const char* end = ::strptime(text.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &tm);
  if (end == nullptr || *end != '\0') return -1;
  return static_cast<int64_t>(::timegm(&tm));
}

std::string region_hint(const HttpResponse& response) {
  if (response.status < 300 || response.status == 404 || response.status >= 500) return {};
  if (const std::string* named = response.header("x-amz-bucket-region")) return *named;
  if (response.status != 400 && response.status >= 400) return {};
  const auto error = parse_s3_error(response.body);
  if (!error) return {};
  return error->region;
}

Error s3_error(const HttpResponse& response, const S3ErrorContext& context) {
  const auto parsed = parse_s3_error(response.body);
  const S3ErrorBody error = parsed ? *parsed : S3ErrorBody{};
  std::optional<Meaning> meaning = meaning_of_identity(error, response, context);
  if (!meaning) meaning = meaning_of_place(error, response, context);
  if (!meaning) meaning = meaning_of_code(error, context.conflict);
  // An Error document in an answer that began as a success: the store failed half way.
  const int status = response.status < 300 ? 500 : response.status;
  if (!meaning) meaning = meaning_of_status(status, parsed.has_value(), context);

  std::string said = fmt::format("HTTP {}", response.status);
  if (!error.code.empty()) said += " " + printable(error.code);
  if (!error.message.empty()) said += ": " + printable(error.message);
  const std::string* id = response.header("x-amz-request-id");
  if (id != nullptr) said += "; request " + printable(*id);
  Error out(meaning->code, fmt::format("{} {}: {} ({})", context.operation, context.object,
                                       meaning->sentence, said));
  if (meaning->no_effect) out = std::move(out).with_no_effect();
  return std::move(out).with_retry_after(retry_after(response, context));
}

}  // namespace cairn
