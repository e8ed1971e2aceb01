// What an S3 answer that is not a success means for the engine and for a person.
//
// Pure. Every message is one sentence that names the operation and the object, says what happened
// and, where a person can do something about it, what; the server's own words follow in brackets,
// shortened and without control characters.
// Source: Amazon S3 API reference, "List of error codes"; MinIO's and Ceph's additions.
#pragma once

#include <cstdint>
#include <string>

#include "cache/base/result.h"
#include "s3/http.h"

namespace cairn {

// What it means when the store finds a condition of a call not met.
enum class S3Conflict : uint8_t {
  kExists,        // there is such an object
  kOtherVersion,  // the object is gone or another version
  kOtherSource,   // the same of what a copy is made of, or of the object when that had a condition
};

struct S3ErrorContext {
  std::string operation;
  std::string object;
  std::string bucket;
  std::string endpoint;
  std::string region;
  std::string access_key;
  bool is_head = false;  // an answer without a body, whatever happened
  S3Conflict conflict = S3Conflict::kExists;
  int64_t wall_ns = 0;  // our clock, to say how wrong it is
};

// Requires a status other than 2xx, or an Error document with status 200.
Error s3_error(const HttpResponse& response, const S3ErrorContext& context);

// Words of a server, fit for one line of a terminal: at most 200 bytes.
std::string printable(std::string_view text);

// The region the answer sends us to; empty when it says none.
std::string region_hint(const HttpResponse& response);

// "Sun, 22 Nov 2026 20:47:07 GMT" in seconds since the epoch; -1 when malformed.
int64_t parse_http_date(const std::string& text);

}  // namespace cairn
