#include "s3/s3_client.h"

#include <fmt/format.h>

#include <array>

#include "cache/base/coding.h"
#include "cache/base/digest.h"
#include "cache/base/log.h"
#include "s3/s3_error.h"
#include "s3/s3_xml.h"

namespace cairn {

namespace {

constexpr size_t kHashStep = 1 << 20;

std::string crc32c_base64(uint32_t crc) {
  const std::array bytes{static_cast<std::byte>(crc >> 24), static_cast<std::byte>(crc >> 16),
                         static_cast<std::byte>(crc >> 8), static_cast<std::byte>(crc)};
  return to_base64(bytes);
}

// Reads a body in steps, from memory or files.
template <class Fn>
Status for_each_step(const Body& body, const Fn& fn) {
  ByteVec step(static_cast<size_t>(std::min<uint64_t>(kHashStep, body.size())));
  for (uint64_t at = 0; at < body.size();) {
    TRY_ASSIGN(const size_t n, body.read_at(at, step));
    if (n == 0) return fail(Errc::kCorruption, "the body to send is shorter than it should be");
    fn(Bytes(step).first(n));
    at += n;
  }
  return {};
}

}  // namespace

// One call with everything that is known about it so far.
struct S3Client::Attempt {
  S3Call call;
  Callback<S3Answer> done;
  std::shared_ptr<const Target> target;
  Credentials credentials;
  bool hashed = false;
  std::string payload_hash;
  std::string crc32c;
  // A CRC32C beside the signed hash, to see; instead of it, because one was checked; not any more.
  enum class Crc32c : uint8_t { kNone, kTried, kRelied, kRefused };
  Crc32c crc32c_is = Crc32c::kNone;
  bool moved = false;                   // sent to the region that the store named
  bool refreshed = false;               // sent again with newer keys
  std::optional<HttpResponse> refused;  // the answer to older keys
};

Result<std::shared_ptr<S3Client>> S3Client::make(S3Settings settings, S3Parts parts) {
  auto target = std::make_shared<Target>();
  target->region = settings.region;
  TRY_ASSIGN(target->endpoint,
             make_endpoint(settings.endpoint_url, settings.region, settings.bucket,
                           settings.path_style, settings.dual_stack));
  TRY(check_s3_options(settings.options));
  if (!settings.options.sse_c_key.empty() && !target->endpoint.tls)
    return fail(Errc::kInvalid,
                "--sse-c-key-file sends the key with every request, which needs an "
                "endpoint URL that begins with https://");
  if (!settings.prefix.empty()) {
    TRY(check_key(settings.prefix));
  }
  return std::shared_ptr<S3Client>(
      new S3Client(std::move(settings), std::move(parts), std::move(target)));
}

std::shared_ptr<const S3Client::Target> S3Client::target() const {
  const std::lock_guard lock(mutex_);
  return target_;
}

bool S3Client::sends_crc32c() const {
  const auto where = target();
  return settings_.payload == S3Payload::kChecksumCrc32c ||
         (settings_.payload == S3Payload::kAuto && where->endpoint.aws && where->endpoint.tls);
}

std::string S3Client::object_name(const std::string& key) const {
  return "s3://" + settings_.bucket + (key.empty() ? "" : "/" + key);
}

void S3Client::send(S3Call call, Callback<S3Answer> done) {
  auto attempt = std::make_shared<Attempt>();
  attempt->call = std::move(call);
  attempt->done = std::move(done);
  start(std::move(attempt));
}

void S3Client::start(std::shared_ptr<Attempt> attempt) {
  auto self = shared_from_this();
  const Context context = attempt->call.context;
  parts_.credentials->get(context, [self, attempt](Result<Credentials> keys) {
    if (!keys) {
      attempt->done(tl::unexpected<Error>(std::move(keys).error().with_no_effect()));
      return;
    }
    if (attempt->refused && keys->same_keys(attempt->credentials)) {
      // Nothing newer: what was refused stays refused.
      attempt->done(S3Answer{*std::move(attempt->refused), attempt->credentials.access_key, {}});
      return;
    }
    attempt->refused.reset();
    attempt->credentials = *std::move(keys);
    self->sign_and_send(attempt);
  });
}

Status S3Client::hash_body(Attempt& attempt) const {
  if (attempt.hashed) return {};
  const Body& body = attempt.call.body;
  if (body.size() == 0) {
    attempt.payload_hash = kEmptyPayloadHash;
  } else {
    // Not for POST: with the last step of an upload it would mean the whole object.
    const bool is_put = attempt.call.method == "PUT";
    const bool learns = is_put && attempt.call.use == S3Use::kCreate && may_trust_crc32c() &&
                        attempt.crc32c_is != Attempt::Crc32c::kRefused;
    const Checks checks = learns ? checks_crc32c_.load() : Checks::kNo;
    if (checks == Checks::kUnknown) attempt.crc32c_is = Attempt::Crc32c::kTried;
    if (checks == Checks::kYes) attempt.crc32c_is = Attempt::Crc32c::kRelied;
    const bool instead = (is_put && sends_crc32c()) || checks == Checks::kYes;
    if (instead || checks == Checks::kUnknown) {
      uint32_t crc = 0;
      TRY(for_each_step(body, [&](Bytes step) { crc = crc32c(step, crc); }));
      attempt.crc32c = crc32c_base64(crc);
    }
    if (instead) {
      attempt.payload_hash = kUnsignedPayload;
    } else if (!attempt.credentials.anonymous) {
      Sha256 hash;
      TRY(for_each_step(body, [&](Bytes step) { hash.update(step); }));
      attempt.payload_hash = hash.finish().hex();
    }
  }
  attempt.hashed = true;
  return {};
}

// Where nobody on the way could change a body, a checksum does what a signed hash does, at a
// fraction of the cost: of accidents there are enough.
bool S3Client::may_trust_crc32c() const {
  const auto where = target();
  return settings_.payload == S3Payload::kAuto && !where->endpoint.aws &&
         (where->endpoint.tls || is_loopback(where->endpoint.host));
}

// A store that checks it says it back. True when the call is worth sending again without: some
// refuse what they do not know, others a body that is not signed. That it was so is only believed
// when it then goes.
bool S3Client::note_crc32c(Attempt& attempt, const HttpResponse& response) {
  using Crc32c = Attempt::Crc32c;
  const Crc32c was = attempt.crc32c_is;
  if (response.status == 200 && was == Crc32c::kTried) {
    const std::string* said = response.header("x-amz-checksum-crc32c");
    checks_crc32c_ = said != nullptr && *said == attempt.crc32c ? Checks::kYes : Checks::kNo;
  } else if (response.status == 200 && was == Crc32c::kRefused) {
    checks_crc32c_ = Checks::kNo;
  }
  // A body that came too slowly, or damaged, is one as well: that goes away with another try.
  const bool is_bad =
      response.status == 400 && s3_error(response, S3ErrorContext()).code() != Errc::kTransient;
  const bool may_be_it =
      is_bad || response.status == 501 || (response.status == 403 && was == Crc32c::kRelied);
  if (!may_be_it || (was != Crc32c::kTried && was != Crc32c::kRelied)) return false;
  attempt.hashed = was == Crc32c::kTried;
  attempt.crc32c_is = Crc32c::kRefused;
  attempt.crc32c.clear();
  return true;
}

void S3Client::sign_and_send(std::shared_ptr<Attempt> attempt) {
  S3Call& call = attempt->call;
  if (auto hashed = hash_body(*attempt); !hashed) {
    attempt->done(tl::unexpected<Error>(
        std::move(hashed).error().wrap(call.operation + " " + object_name(call.key))));
    return;
  }
  attempt->target = target();
  const Endpoint& endpoint = attempt->target->endpoint;
  const std::string path = endpoint.object_path(call.key);
  const std::string query = canonical_query(call.query);

  HttpRequest request;
  request.method = call.method;
  request.url = endpoint.scheme_and_host() + path + (query.empty() ? "" : "?" + query);
  request.headers = call.headers;
  append_option_headers(settings_.options, call.use, request.headers);
  request.headers.push_back({"host", endpoint.host});
  if (!attempt->crc32c.empty())
    request.headers.push_back({"x-amz-checksum-crc32c", attempt->crc32c});
  const Credentials& keys = attempt->credentials;
  if (!keys.anonymous) {
    const std::string timestamp = amz_timestamp(parts_.clock.wall_ns());
    request.headers.push_back({"x-amz-date", timestamp});
    request.headers.push_back({"x-amz-content-sha256", attempt->payload_hash});
    if (!keys.session_token.empty())
      request.headers.push_back({"x-amz-security-token", std::string(keys.session_token.reveal())});
    const SigningInput input{call.method, path, query, request.headers, attempt->payload_hash};
    request.headers.push_back(
        {"authorization", authorization(input, {timestamp, attempt->target->region},
                                        keys.access_key, keys.secret_key)});
  }
  request.body = call.body;
  request.context = call.context;
  request.max_response_bytes = call.max_response_bytes;
  request.expected_response_bytes = call.expected_response_bytes;
  request.may_resend = call.may_resend;
  request.stall_timeout = call.stall_timeout;
  request.cleans_up = call.cleans_up;
  parts_.http->send(std::move(request),
                    [self = shared_from_this(), attempt](Result<HttpResponse> response) {
                      self->answered(attempt, std::move(response));
                    });
}

void S3Client::answered(const std::shared_ptr<Attempt>& attempt, Result<HttpResponse> response) {
  const S3Call& call = attempt->call;
  if (!response) {
    attempt->done(tl::unexpected<Error>(
        std::move(response).error().wrap(call.operation + " " + object_name(call.key))));
    return;
  }
  note_server(*response);
  if (!attempt->moved && follow_region(*attempt, *response)) {
    attempt->moved = true;
    sign_and_send(attempt);
    return;
  }
  const bool refused = !attempt->credentials.anonymous && keys_refused(*response);
  if (!refused && note_crc32c(*attempt, *response)) return sign_and_send(attempt);
  if (!attempt->refreshed && refused) {
    attempt->refreshed = true;
    attempt->refused = *std::move(response);
    parts_.credentials->refused(attempt->credentials);
    start(attempt);
    return;
  }
  attempt->done(S3Answer{*std::move(response), attempt->credentials.access_key, attempt->crc32c});
}

void S3Client::note_server(const HttpResponse& response) {
  constexpr size_t kMost = 60;
  const std::string* said = response.header("server");
  if (said == nullptr) return;
  const std::lock_guard lock(mutex_);
  if (!server_.empty()) return;
  for (const char c : said->substr(0, kMost)) server_.push_back(c >= 0x20 && c < 0x7f ? c : ' ');
}

std::string S3Client::server() const {
  const std::lock_guard lock(mutex_);
  return server_;
}

bool S3Client::keys_refused(const HttpResponse& response) {
  if (response.status != 403 && response.status != 400) return false;
  const auto error = parse_s3_error(response.body);
  return error && (error->code == "ExpiredToken" || error->code == "InvalidToken" ||
                   error->code == "InvalidTokenId" ||  // MinIO's
                   error->code == "InvalidAccessKeyId" || error->code == "TokenRefreshRequired");
}

bool S3Client::follow_region(Attempt& attempt, const HttpResponse& response) {
  const std::string region = region_hint(response);
  if (region.empty() || region == attempt.target->region) return false;
  auto moved = std::make_shared<Target>();
  moved->region = region;
  auto endpoint = make_endpoint(settings_.endpoint_url, region, settings_.bucket,
                                settings_.path_style, settings_.dual_stack);
  if (!endpoint) return false;  // the region's name makes no sense
  moved->endpoint = *std::move(endpoint);
  log_info("bucket {} is in region {}: using that", settings_.bucket, region);
  const std::lock_guard lock(mutex_);
  target_ = std::move(moved);
  return true;
}

Error S3Client::error_of(const S3Call& call, const S3Answer& answer) const {
  const auto where = target();
  return s3_error(answer.response, {.operation = call.operation,
                                    .object = object_name(call.key),
                                    .bucket = settings_.bucket,
                                    .endpoint = where->endpoint.scheme_and_host(),
                                    .region = where->region,
                                    .access_key = answer.access_key,
                                    .is_head = call.method == "HEAD",
                                    .conflict = call.conflict,
                                    .wall_ns = parts_.clock.wall_ns()});
}

}  // namespace cairn
