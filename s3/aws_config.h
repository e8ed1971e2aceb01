// The AWS CLI's files and environment: what they say about profile, region, endpoint and keys.
//
// Pure parsing plus the rules of precedence; nothing is kept. Files and environment come from
// outside, so they are injected. Messages name file and line, never a line's content: it may be a
// secret.
// Errors: kInvalid with a sentence that says what to do; kIo when a file cannot be read.
// Source: AWS SDKs and Tools Reference Guide ("Shared config and credentials files"), and what
// botocore does where that is silent.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cache/base/env.h"
#include "cache/base/result.h"
#include "s3/secret.h"

namespace cairn {

// Looks a variable of the environment up; nullopt when it is not set.
using EnvVars = std::function<std::optional<std::string>(std::string_view)>;
// The process's own environment. Read before threads change it.
EnvVars process_env_vars();
// An empty variable counts as one that is not set.
std::optional<std::string> non_empty(const EnvVars& vars, std::string_view name);

std::string ascii_lower(std::string_view text);

// One section: names in lower case. A block ("s3 =" followed by indented lines) is kept apart.
struct AwsSection {
  std::map<std::string, Secret> values;
  std::map<std::string, std::map<std::string, std::string>> blocks;
  // nullptr when it is not there.
  const Secret* find(const std::string& name) const;
  std::optional<std::string> text(const std::string& name) const;
  std::optional<std::string> block_text(const std::string& block, const std::string& name) const;
};

// Section names as written, without brackets and quotes: "default", "profile dev", "services x".
using AwsIniFile = std::map<std::string, AwsSection>;

// `name` is for messages.
Result<AwsIniFile> parse_aws_ini(std::string_view text, const std::string& name);

struct AwsPaths {
  std::string config;
  std::string credentials;
};
AwsPaths aws_paths(const EnvVars& vars);

// Both files; one that does not exist is empty.
struct AwsFiles {
  AwsPaths paths;
  AwsIniFile config;
  AwsIniFile credentials;
  // The profile's section in the config file and in the credentials file; nullptr when missing.
  const AwsSection* config_profile(const std::string& profile) const;
  const AwsSection* credentials_profile(const std::string& profile) const;
  bool has_profile(const std::string& profile) const;
};
Result<AwsFiles> read_aws_files(Env& env, const AwsPaths& paths);

// What a person asked for on the command line; it goes before everything else.
struct AwsOverrides {
  std::optional<std::string> profile;
  std::optional<std::string> region;
  std::optional<std::string> endpoint_url;
  std::optional<std::string> ca_bundle;
  std::optional<std::string> addressing_style;  // auto, path, virtual
  bool force_path_style = false;
  bool dual_stack = false;
};

struct AwsSettings {
  std::string profile;               // "default" when none was named
  bool profile_is_explicit = false;  // named by the command line, not by the environment
  std::string region;                // us-east-1 when nobody says otherwise
  std::string endpoint_url;          // empty: AWS itself
  std::optional<bool> path_style;
  std::string ca_bundle;  // empty: the system's
  bool dual_stack = false;
};

// Order for each: command line, environment, profile, default.
Result<AwsSettings> resolve_aws_settings(Env& env, const EnvVars& vars,
                                         const AwsOverrides& overrides);

// The configured endpoint URL of a service ("s3", "sts", "sso", "sso_oidc"): AWS_ENDPOINT_URL_STS,
// AWS_ENDPOINT_URL, the profile's [services] section, its endpoint_url; empty: AWS itself.
std::string aws_service_url(const AwsFiles& files, const EnvVars& vars,
                            const std::string& profile_name, const std::string& service);

// The profile to use, and whether the command line named it.
std::pair<std::string, bool> aws_profile_name(const EnvVars& vars,
                                              const std::optional<std::string>& overridden);

}  // namespace cairn
