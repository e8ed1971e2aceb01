// What credential processes, metadata services and IAM Identity Center (SSO) answer, in JSON.
//
// Pure functions over hostile input: at most 256 KiB, every field checked, unknown ones ignored
// (and kept where a file is written back). Messages never show a value: it may be a secret. Errors:
// kIo, "... is no usable answer: why"; kPermission when the answer itself is a refusal. Source: AWS
// CLI user guide (credential_process), EC2 and ECS user guides (metadata services), SSO portal and
// OIDC API references; the token file is the one that `aws sso login` writes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "cache/base/bytes.h"
#include "cache/base/result.h"
#include "s3/credentials.h"

namespace cairn {

// A time as these answers write it (2026-11-22T20:47:07Z; a fraction, "UTC" or an offset such as
// +00:00 at the end) in nanoseconds since the epoch.
Result<int64_t> parse_timestamp(std::string_view text);

// {"Version": 1, "AccessKeyId", "SecretAccessKey", "SessionToken"?, "Expiration"?}
Result<Credentials> parse_process_credentials(Bytes json);
// {"AccessKeyId", "SecretAccessKey", "Token", "Expiration"}, or {"Code", "Message"}.
Result<Credentials> parse_metadata_credentials(Bytes json);
// {"roleCredentials": {"accessKeyId", "secretAccessKey", "sessionToken", "expiration": ms}}
Result<Credentials> parse_sso_credentials(Bytes json);

// The file that `aws sso login` leaves.
struct SsoToken {
  Secret access_token;
  int64_t expires_wall_ns = 0;
  // What a new one is asked for with; empty or 0 when it cannot be.
  Secret refresh_token;
  std::string client_id;
  Secret client_secret;
  int64_t client_expires_wall_ns = 0;
  bool can_refresh(int64_t now_wall_ns) const {
    return !refresh_token.empty() && !client_id.empty() && !client_secret.empty() &&
           client_expires_wall_ns > now_wall_ns;
  }
};
Result<SsoToken> parse_sso_token(Bytes json);
// The body of the request for a new token, and what its answer makes of the old one.
Secret format_token_request(const SsoToken& token);
Result<SsoToken> parse_token_answer(Bytes json, const SsoToken& old, int64_t now_wall_ns);
// The file with `token` in place of what it held; every other field is kept.
Result<Secret> replace_sso_token(Bytes file, const SsoToken& token);

// What a refusal says, fit for a message: "invalid_grant: The token ...", or "".
std::string json_refusal(Bytes json);

}  // namespace cairn
