// Where the keys that sign requests come from.
//
// A CredentialsProvider is asked before every request and answers from memory when it can, so that
// keys which change (rotated files, temporary ones) need no remount. Providers that must wait (an
// instance's metadata service, a role, a process) fit the same interface: the answer comes as a
// task of the executor, bounded by the context. Owner: the composition root; shared by the stores.
// All methods from any thread. Errors: kPermission with one sentence that says what to do when
// there are no usable keys.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "cache/base/clock.h"
#include "cache/base/executor.h"
#include "cache/base/mutex.h"
#include "cache/object_store.h"
#include "s3/aws_config.h"
#include "s3/secret.h"

namespace cairn {

struct Credentials {
  bool anonymous = false;  // requests are not signed
  std::string access_key;
  Secret secret_key;
  Secret session_token;         // empty: none
  int64_t expires_wall_ns = 0;  // 0: not known to expire
  std::string source;           // for messages: "the environment", "profile 'dev'"
  bool same_keys(const Credentials& other) const {
    return anonymous == other.anonymous && access_key == other.access_key &&
           secret_key == other.secret_key && session_token == other.session_token;
  }
  bool operator==(const Credentials&) const = default;
};

class CredentialsProvider {
 public:
  virtual ~CredentialsProvider() = default;
  virtual void get(Context context, Callback<Credentials> done) = 0;
  // The store does not accept these keys any more (expired, revoked), whatever their date says: the
  // next get asks for new ones where that is possible. No answer, never waits.
  virtual void refused(const Credentials& /*keys*/) {}
};

// Always these; also what --no-sign-request is (Credentials{.anonymous = true}).
std::unique_ptr<CredentialsProvider> make_static_credentials(Credentials credentials,
                                                             Executor& executor);

// Keys in the environment; nullopt when there are none, an error when there is only half of them.
Result<std::optional<Credentials>> credentials_from_environment(const EnvVars& vars);
// "AKIA...MPLE": enough to recognise a key by.
std::string masked_key(const std::string& access_key);

}  // namespace cairn
