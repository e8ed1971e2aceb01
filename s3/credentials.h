// Where the keys that sign requests come from.
//
// A CredentialsProvider is asked before every request and answers from memory when it can, so that
// keys which change (rotated files, and later temporary ones) need no remount. Providers that must
// wait (an instance's metadata service, a role, a process) fit the same interface: the answer comes
// as a task of the executor, bounded by the context.
// Owner: the composition root; shared by the stores. All methods from any thread.
// Errors: kPermission with one sentence that says what to do when there are no usable keys.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "cache/base/clock.h"
#include "cache/base/env.h"
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
};

class CredentialsProvider {
 public:
  virtual ~CredentialsProvider() = default;
  virtual void get(Context context, Callback<Credentials> done) = 0;
};

// Always these; also what --no-sign-request is (Credentials{.anonymous = true}).
std::unique_ptr<CredentialsProvider> make_static_credentials(Credentials credentials,
                                                             Executor& executor);

// The AWS CLI's order: the environment (unless the command line names a profile), then the profile
// in the shared files, which are read again when they change. A file that becomes unreadable or
// broken later leaves the last good keys in use and is said in the log.
std::unique_ptr<CredentialsProvider> make_default_credentials(
    Env& env, EnvVars vars, std::optional<std::string> profile_override, Executor& executor);

// The pieces of the above, for tests and for what joins later.
// nullopt: nothing there; an error: something there that cannot be used.
Result<std::optional<Credentials>> credentials_from_environment(const EnvVars& vars);
Result<std::optional<Credentials>> credentials_from_profile(const AwsFiles& files,
                                                            const std::string& profile);
// "AKIA...MPLE": enough to recognise a key by.
std::string masked_key(const std::string& access_key);

}  // namespace cairn
