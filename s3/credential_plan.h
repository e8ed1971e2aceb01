// Which source of keys the AWS CLI would use here, found out without asking anybody.
//
// Pure: from the environment and the shared files to a CredentialPlan, a value that says where keys
// come from and with which parameters. Order, as in the AWS CLI: keys in the environment; role_arn
// of the profile; web identity (environment, then profile); SSO; keys in the credentials file;
// credential_process; keys in the config file; the container's endpoint; the instance's. A profile
// named by the command line takes the environment's keys and web identity out of that list. The
// first one that is configured decides: a broken one is an error, never skipped.
// Errors: kPermission, kInvalid with one sentence that names profile and setting.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "s3/aws_config.h"
#include "s3/credentials.h"

namespace cairn {

struct CredentialPlan;

// Keys that stand in the environment or in a file.
struct StaticKeys {
  Credentials keys;
  bool operator==(const StaticKeys&) const = default;
};
struct ProcessKeys {
  std::vector<std::string> command;
  std::string profile;
  bool operator==(const ProcessKeys&) const = default;
};
struct AssumedRole {
  std::string profile;
  std::string role_arn;
  std::string session_name;  // empty: one is made up
  std::string external_id;
  unsigned duration_seconds = 0;     // 0: what the role says
  std::vector<CredentialPlan> base;  // one: the keys that ask for the role
  bool operator==(const AssumedRole& other) const;
};
struct WebIdentityKeys {
  std::string role_arn;
  std::string session_name;
  std::string token_file;
  bool operator==(const WebIdentityKeys&) const = default;
};
struct SsoKeys {
  std::string profile;
  std::string region;
  std::string account_id;
  std::string role_name;
  std::string token_path;  // of the file that `aws sso login` writes
  bool operator==(const SsoKeys&) const = default;
};
struct ContainerKeys {
  std::string url;
  std::string token_file;  // read for every request; empty: `token`
  Secret token;            // may be empty
  bool operator==(const ContainerKeys&) const = default;
};
struct InstanceKeys {
  std::string endpoint;
  bool may_use_v1 = true;
  unsigned attempts = 1;
  unsigned timeout_seconds = 1;
  std::string otherwise;  // what to say when there is no such service here
  bool operator==(const InstanceKeys&) const = default;
};

struct CredentialPlan {
  std::variant<StaticKeys, ProcessKeys, AssumedRole, WebIdentityKeys, SsoKeys, ContainerKeys,
               InstanceKeys>
      how;
  bool operator==(const CredentialPlan& other) const = default;
};

// `profile_is_explicit`: named by the command line.
Result<CredentialPlan> plan_credentials(const AwsFiles& files, const EnvVars& vars,
                                        const std::string& profile, bool profile_is_explicit);

// A command as a shell would split it: blanks, quotes, backslashes; nothing is expanded.
Result<std::vector<std::string>> split_command(std::string_view text);

// May keys be asked for at this URL of AWS_CONTAINER_CREDENTIALS_FULL_URI? https anywhere; http on
// loopback and at the addresses of ECS and EKS only. kInvalid with the reason otherwise.
Status check_container_url(const std::string& url);

}  // namespace cairn
