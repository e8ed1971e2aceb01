// The places keys come from, each as the protocol of its service has it.
//
// make_credentials puts a CredentialPlan into practice: every source that must ask somebody is
// behind RefreshingCredentials. make_default_credentials does that for what the environment and the
// shared files say now, and looks at the files again whenever they change: a mount follows them.
// Owner: the composition root. Lifetime: env, executor, clock and rng must outlive the providers
// and what they have under way. All methods from any thread. Blocking steps (a credential process,
// files) are tasks of the executor. Errors: kPermission with one sentence that says what to do;
// kTransient when asking again may help (a service that does not answer). Secrets never reach a
// message.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "cache/base/env.h"
#include "cache/base/random.h"
#include "s3/credential_plan.h"
#include "s3/http.h"
#include "s3/refreshing_credentials.h"

namespace cairn {

// Of what a service answers, and of a file that holds a token.
constexpr uint64_t kAnswerBytesMax = 1 << 20;
constexpr uint64_t kTokenFileBytesMax = 64 << 10;

struct CredentialDeps {
  Env& env;
  Executor& executor;
  Clock& clock;
  Rng& rng;
  std::shared_ptr<HttpClient> http;
  RefreshPolicy policy = {};
};

// Where the services that hand out keys are. Empty URLs: AWS's own.
struct CredentialServices {
  std::string region;  // of STS
  std::string sts_url;
  std::string sso_url;
  std::string sso_oidc_url;
  bool operator==(const CredentialServices&) const = default;
};

Result<std::shared_ptr<CredentialsProvider>> make_credentials(const CredentialPlan& plan,
                                                              const CredentialServices& services,
                                                              const CredentialDeps& deps);

// The AWS CLI's order (s3/credential_plan.h). A file that becomes unreadable or broken later leaves
// the last good source in use and is said in the log.
std::shared_ptr<CredentialsProvider> make_default_credentials(EnvVars vars,
                                                              const AwsOverrides& overrides,
                                                              const CredentialDeps& deps);

// One source each, for make_credentials.
std::shared_ptr<CredentialSource> make_process_source(const ProcessKeys& plan,
                                                      const CredentialDeps& deps);
Result<std::shared_ptr<CredentialSource>> make_role_source(
    const AssumedRole& plan, std::shared_ptr<CredentialsProvider> base,
    const CredentialServices& services, const CredentialDeps& deps);
Result<std::shared_ptr<CredentialSource>> make_web_identity_source(
    const WebIdentityKeys& plan, const CredentialServices& services, const CredentialDeps& deps);
Result<std::shared_ptr<CredentialSource>> make_sso_source(const SsoKeys& plan,
                                                          const CredentialServices& services,
                                                          const CredentialDeps& deps);
std::shared_ptr<CredentialSource> make_container_source(const ContainerKeys& plan,
                                                        const CredentialDeps& deps);
std::shared_ptr<CredentialSource> make_instance_source(const InstanceKeys& plan,
                                                       const CredentialDeps& deps);

}  // namespace cairn
