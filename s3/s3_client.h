// S3Client: one signed S3 request, one answer. What S3Store and its multipart uploads stand on.
//
// Asks for credentials, hashes the body, signs at the moment of sending, sends. Two things are
// tried again at once, because the first answer says that nothing was done: a bucket that lives in
// another region, and keys that were rotated since they were read. Everything else is the answer.
// Owner: shared by a store and its requests under way; they keep it, the HTTP client and the
// credentials alive. Executor, clock and random numbers must outlive them. Thread-safe.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cache/base/clock.h"
#include "cache/base/executor.h"
#include "cache/base/mutex.h"
#include "cache/base/random.h"
#include "s3/credentials.h"
#include "s3/endpoint.h"
#include "s3/http.h"
#include "s3/s3_error.h"
#include "s3/s3_options.h"
#include "s3/sigv4.h"

namespace cairn {

// How the store can tell that a body arrived as it was sent.
enum class S3Payload : uint8_t {
  kAuto,          // kChecksumCrc32c where nobody else is on the way (TLS, or this machine) and the
                  // store is AWS or was seen to check it; kSignedSha256 everywhere else
  kSignedSha256,  // the body's SHA-256 is part of the signature: every store verifies it
  kChecksumCrc32c,  // x-amz-checksum-crc32c: cheap, but only TLS protects it from tampering
};

struct S3Settings {
  std::string endpoint_url;  // empty: AWS
  std::string region = "us-east-1";
  std::string bucket;
  std::string prefix;              // without slashes at its ends; may be empty
  std::optional<bool> path_style;  // default: virtual-host style for AWS, path style elsewhere
  bool dual_stack = false;         // AWS's endpoints that IPv6 reaches too
  S3Options options;
  S3Payload payload = S3Payload::kAuto;
  uint64_t multipart_threshold = 64 << 20;  // larger bodies go in parts
  uint64_t part_size = 16 << 20;            // at least; S3 wants 5 MiB or more
  unsigned parts_in_flight = 8;
  uint64_t max_get_bytes = 1 << 30;  // of one get of a whole object
};

struct S3Parts {
  std::shared_ptr<HttpClient> http;
  std::shared_ptr<CredentialsProvider> credentials;
  Executor& executor;
  Clock& clock;
  Rng& rng;
};

struct S3Call {
  std::string operation;  // for messages: "get", "put"
  std::string method;
  S3Use use = S3Use::kOther;
  std::string key;  // as the bucket knows it; empty: the bucket itself
  QueryParameters query;
  std::vector<HttpHeader> headers;  // lower-case names
  Body body;
  Context context;
  uint64_t max_response_bytes = 1 << 20;
  uint64_t expected_response_bytes = 0;
  bool may_resend = true;
  Duration stall_timeout{0};
  bool cleans_up = false;  // as in HttpRequest
  S3Conflict conflict = S3Conflict::kExists;
};

struct S3Answer {
  HttpResponse response;
  std::string access_key;  // that signed it; empty when anonymous
  std::string crc32c;      // base64, of the body that was sent; empty unless it was sent along
};

class S3Client : public std::enable_shared_from_this<S3Client> {
 public:
  static Result<std::shared_ptr<S3Client>> make(S3Settings settings, S3Parts parts);

  // An error means that there is no complete answer; its message names operation and object.
  void send(S3Call call, Callback<S3Answer> done);
  // The error that an answer other than success stands for.
  Error error_of(const S3Call& call, const S3Answer& answer) const;

  const S3Settings& settings() const { return settings_; }
  const S3Parts& parts() const { return parts_; }
  // Whether bodies, parts of uploads included, carry a CRC32C instead of a signed hash.
  bool sends_crc32c() const;
  bool is_aws() const { return target()->endpoint.aws; }
  // "s3://bucket/key", for messages.
  std::string object_name(const std::string& key) const;
  // What the store says it is (its Server header); empty before the first answer.
  std::string server() const;

 private:
  struct Target {
    Endpoint endpoint;
    std::string region;
  };
  struct Attempt;

  S3Client(S3Settings settings, S3Parts parts, std::shared_ptr<const Target> target)
      : settings_(std::move(settings)), parts_(std::move(parts)), target_(std::move(target)) {}
  std::shared_ptr<const Target> target() const;
  void start(std::shared_ptr<Attempt> attempt);
  void sign_and_send(std::shared_ptr<Attempt> attempt);
  void answered(const std::shared_ptr<Attempt>& attempt, Result<HttpResponse> response);
  Status hash_body(Attempt& attempt) const;
  bool may_trust_crc32c() const;
  bool note_crc32c(Attempt& attempt, const HttpResponse& response);
  bool follow_region(Attempt& attempt, const HttpResponse& response);
  void note_server(const HttpResponse& response);
  static bool keys_refused(const HttpResponse& response);

  const S3Settings settings_;
  const S3Parts parts_;
  mutable RankedMutex<Rank::kStore> mutex_;
  std::shared_ptr<const Target> target_;  // changes when the bucket turns out to be elsewhere
  std::string server_;
  // Does the store check the CRC32C of an object that is put at once? The first such answer tells.
  enum class Checks : uint8_t { kUnknown, kYes, kNo };
  std::atomic<Checks> checks_crc32c_{Checks::kUnknown};
};

}  // namespace cairn
