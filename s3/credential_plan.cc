#include "s3/credential_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <set>
#include <tuple>

#include "cache/base/legacy_digest.h"
#include "s3/endpoint.h"

namespace cairn {

namespace {

constexpr const char* kContainerHost = "http://169.254.170.2";
constexpr const char* kInstanceV4 = "http://169.254.169.254";
constexpr const char* kInstanceV6 = "http://[fd00:ec2::254]";
constexpr unsigned kMaxMetadataAttempts = 10;
constexpr unsigned kMaxMetadataSeconds = 60;

using MaybePlan = Result<std::optional<CredentialPlan>>;

tl::unexpected<Error> refuse(std::string message) {
  return fail(Errc::kPermission, std::move(message));
}

// A profile in both files; what the credentials file says goes first, as in the AWS CLI.
class Profile {
 public:
  Profile(const AwsFiles& files, std::string name)
      : name_(std::move(name)),
        config_(files.config_profile(name_)),
        credentials_(files.credentials_profile(name_)) {}

  const std::string& name() const { return name_; }
  bool exists() const { return config_ != nullptr || credentials_ != nullptr; }
  const AwsSection* config() const { return config_; }
  const AwsSection* credentials() const { return credentials_; }
  std::optional<std::string> text(const std::string& setting) const {
    for (const AwsSection* section : {credentials_, config_})
      if (section != nullptr)
        if (auto value = section->text(setting)) return value;
    return std::nullopt;
  }
  bool has(const std::string& setting) const { return text(setting).has_value(); }
  bool has_keys() const { return has("aws_access_key_id") || has("aws_secret_access_key"); }
  // A role of a web identity is not asked for with keys.
  bool has_role() const { return has("role_arn") && !has("web_identity_token_file"); }

 private:
  std::string name_;
  const AwsSection* config_;
  const AwsSection* credentials_;
};

std::string command_that_exports(const std::string& profile) {
  return fmt::format(
      "run eval \"$(aws configure export-credentials --profile {} --format env)\" "
      "and try again",
      profile);
}

Result<unsigned> number_setting(const std::string& text, const std::string& what, unsigned least,
                                unsigned most) {
  unsigned value = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (ec != std::errc() || end != text.data() + text.size() || value < least || value > most)
    return fail(Errc::kInvalid,
                fmt::format("{} must be a number from {} to {}", what, least, most));
  return value;
}

class Planner {
 public:
  Planner(const AwsFiles& files, const EnvVars& vars) : files_(files), vars_(vars) {}

  Result<CredentialPlan> plan(const std::string& profile_name, bool is_explicit) {
    const Profile profile(files_, profile_name);
    if (!is_explicit) {
      TRY_ASSIGN(auto keys, credentials_from_environment(vars_));
      if (keys) return CredentialPlan{StaticKeys{*std::move(keys)}};
    }
    if (!profile.exists() && profile_name != "default")
      return refuse(
          fmt::format("there is no AWS profile '{}' in {} or {}; 'aws configure "
                      "list-profiles' shows which there are",
                      profile_name, files_.paths.config, files_.paths.credentials));
    if (profile.has_role()) return role(profile);
    TRY_ASSIGN(auto found, from_profile(profile, !is_explicit));
    if (found) return *std::move(found);
    TRY_ASSIGN(found, container());
    if (found) return *std::move(found);
    return instance(profile_name);
  }

 private:
  // Everything but roles that keys ask for. The environment counts for the first profile only.
  MaybePlan from_profile(const Profile& profile, bool with_environment) {
    TRY_ASSIGN(auto found, web_identity(profile, with_environment));
    if (found) return found;
    if (profile.has("sso_account_id") || profile.has("sso_role_name")) return sso(profile);
    TRY_ASSIGN(found, keys_in(profile.credentials(), profile.name(), files_.paths.credentials));
    if (found) return found;
    if (profile.has("login_session"))
      return refuse(
          fmt::format("AWS profile '{}' takes its keys from 'aws login' (login_session), "
                      "which cairn cannot use: {}",
                      profile.name(), command_that_exports(profile.name())));
    if (const auto command = profile.text("credential_process")) {
      TRY_ASSIGN(auto words, split_command(*command));
      if (words.empty())
        return refuse(
            fmt::format("credential_process of AWS profile '{}' names no program", profile.name()));
      return std::optional(CredentialPlan{ProcessKeys{std::move(words), profile.name()}});
    }
    return keys_in(profile.config(), profile.name(), files_.paths.config);
  }

  MaybePlan keys_in(const AwsSection* section, const std::string& profile,
                    const std::string& path) const {
    if (section == nullptr) return std::optional<CredentialPlan>();
    const Secret* id = section->find("aws_access_key_id");
    const Secret* key = section->find("aws_secret_access_key");
    if (id == nullptr && key == nullptr) return std::optional<CredentialPlan>();
    if (id == nullptr || key == nullptr)
      return refuse(fmt::format("AWS profile '{}' in {} has {} but no {}: add it", profile, path,
                                id == nullptr ? "aws_secret_access_key" : "aws_access_key_id",
                                id == nullptr ? "aws_access_key_id" : "aws_secret_access_key"));
    Credentials out;
    out.access_key = std::string(id->reveal());
    out.secret_key = *key;
    if (const Secret* token = section->find("aws_session_token")) out.session_token = *token;
    out.source = fmt::format("profile '{}' in {}", profile, path);
    return std::optional(CredentialPlan{StaticKeys{std::move(out)}});
  }

  Result<CredentialPlan> role(const Profile& profile) {
    const std::string where =
        fmt::format("AWS profile '{}' assumes a role (role_arn)", profile.name());
    if (profile.has("mfa_serial"))
      return refuse(
          fmt::format("{} with an MFA code (mfa_serial), which a mount cannot ask for: {}", where,
                      command_that_exports(profile.name())));
    AssumedRole out;
    out.profile = profile.name();
    out.role_arn = profile.text("role_arn").value_or("");
    out.session_name = profile.text("role_session_name").value_or("");
    out.external_id = profile.text("external_id").value_or("");
    if (const auto duration = profile.text("duration_seconds")) {
      TRY_ASSIGN(
          out.duration_seconds,
          number_setting(*duration, "duration_seconds of AWS profile '" + profile.name() + "'", 900,
                         43200));
    }
    const auto source_profile = profile.text("source_profile");
    const auto credential_source = profile.text("credential_source");
    if (source_profile && credential_source)
      return refuse(where + " and names both source_profile and credential_source: keep one");
    if (!source_profile && !credential_source)
      return refuse(where +
                    " but names neither source_profile nor credential_source: add one, it "
                    "says whose keys ask for the role");
    auto base = source_profile ? base_profile(profile, *source_profile)
                               : base_source(profile, *credential_source);
    if (!base) return tl::unexpected<Error>(std::move(base).error());
    out.base.push_back(*std::move(base));
    return CredentialPlan{std::move(out)};
  }

  // The keys of a source_profile. Its own keys go before its role: only the first profile may name
  // itself, to find its keys and its role in one place.
  Result<CredentialPlan> base_profile(const Profile& user, const std::string& name) {
    const bool is_own = visited_.empty() && name == user.name();
    if (!visited_.insert(user.name()).second || (visited_.contains(name) && !is_own))
      return refuse(fmt::format("the source_profile settings of AWS profile '{}' lead in a circle",
                                user.name()));
    const Profile source(files_, name);
    if (!source.exists())
      return refuse(
          fmt::format("AWS profile '{}' names the source_profile '{}', which is not "
                      "there",
                      user.name(), name));
    if (source.has_role() && !source.has_keys()) {
      if (is_own)
        return refuse(
            fmt::format("AWS profile '{}' is its own source_profile but has no keys", name));
      return role(source);
    }
    TRY_ASSIGN(auto found, from_profile(source, false));
    if (!found)
      return refuse(fmt::format("the source_profile '{}' of AWS profile '{}' has no keys", name,
                                user.name()));
    return *std::move(found);
  }

  Result<CredentialPlan> base_source(const Profile& user, const std::string& source) {
    const std::string name = ascii_lower(source);
    if (name == "environment") {
      TRY_ASSIGN(auto keys, credentials_from_environment(vars_));
      if (keys) return CredentialPlan{StaticKeys{*std::move(keys)}};
      return refuse(
          fmt::format("AWS profile '{}' wants the environment's keys (credential_source) "
                      "but AWS_ACCESS_KEY_ID is not set",
                      user.name()));
    }
    if (name == "ecscontainer") {
      TRY_ASSIGN(auto found, container());
      if (found) return *std::move(found);
      return refuse(
          fmt::format("AWS profile '{}' wants the container's keys (credential_source) "
                      "but AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is not set",
                      user.name()));
    }
    if (name == "ec2instancemetadata") return instance(user.name());
    return refuse(
        fmt::format("credential_source of AWS profile '{}' must be Environment, "
                    "Ec2InstanceMetadata or EcsContainer",
                    user.name()));
  }

  MaybePlan web_identity(const Profile& profile, bool with_environment) const {
    const auto setting = [&](std::string_view from_env, const std::string& from_profile) {
      auto value = with_environment ? non_empty(vars_, from_env) : std::nullopt;
      return value ? value : profile.text(from_profile);
    };
    const auto file = setting("AWS_WEB_IDENTITY_TOKEN_FILE", "web_identity_token_file");
    if (!file) return std::optional<CredentialPlan>();
    const auto role_arn = setting("AWS_ROLE_ARN", "role_arn");
    if (!role_arn)
      return refuse(
          "a web identity token file is named (AWS_WEB_IDENTITY_TOKEN_FILE or "
          "web_identity_token_file) but no role: set AWS_ROLE_ARN or role_arn");
    return std::optional(CredentialPlan{WebIdentityKeys{
        *role_arn, setting("AWS_ROLE_SESSION_NAME", "role_session_name").value_or(""), *file}});
  }

  MaybePlan sso(const Profile& profile) const {
    const auto session = profile.text("sso_session");
    const AwsSection* shared = nullptr;
    if (session) {
      const auto it = files_.config.find("sso-session " + *session);
      if (it == files_.config.end())
        return refuse(fmt::format("AWS profile '{}' names the sso_session '{}', which is not in {}",
                                  profile.name(), *session, files_.paths.config));
      shared = &it->second;
    }
    SsoKeys out;
    out.profile = profile.name();
    std::string start_url;
    const std::pair<const char*, std::string*> needed[] = {{"sso_account_id", &out.account_id},
                                                           {"sso_role_name", &out.role_name},
                                                           {"sso_start_url", &start_url},
                                                           {"sso_region", &out.region}};
    for (const auto& [name, target] : needed) {
      const auto own = profile.text(name);
      const auto common = shared == nullptr ? std::nullopt : shared->text(name);
      if (own && common && *own != *common)
        return refuse(
            fmt::format("{} of AWS profile '{}' differs from the one of its sso_session "
                        "'{}': keep one",
                        name, profile.name(), *session));
      if (!own && !common)
        return refuse(
            fmt::format("AWS profile '{}' uses SSO but has no {}: run 'aws configure sso "
                        "--profile {}'",
                        profile.name(), name, profile.name()));
      *target = own ? *own : *common;
    }
    out.token_path = fmt::format("{}/.aws/sso/cache/{}.json", vars_("HOME").value_or(""),
                                 sha1_hex(as_bytes(session ? *session : start_url)));
    return std::optional(CredentialPlan{std::move(out)});
  }

  MaybePlan container() const {
    ContainerKeys out;
    if (const auto path = non_empty(vars_, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")) {
      if (!path->starts_with('/'))
        return fail(Errc::kInvalid, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI must begin with '/'");
      out.url = kContainerHost + *path;
    } else if (auto url = non_empty(vars_, "AWS_CONTAINER_CREDENTIALS_FULL_URI")) {
      if (auto allowed = check_container_url(*url); !allowed)
        return tl::unexpected<Error>(
            std::move(allowed).error().wrap("AWS_CONTAINER_CREDENTIALS_FULL_URI"));
      out.url = *std::move(url);
    } else {
      return std::optional<CredentialPlan>();
    }
    out.token_file = non_empty(vars_, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").value_or("");
    if (out.token_file.empty())
      out.token = Secret(non_empty(vars_, "AWS_CONTAINER_AUTHORIZATION_TOKEN").value_or(""));
    return std::optional(CredentialPlan{std::move(out)});
  }

  Result<CredentialPlan> instance(const std::string& profile_name) const {
    const std::string nothing = fmt::format(
        "no S3 credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run 'aws "
        "configure' (profile '{}' in {} has no keys), or use --no-sign-request for a public bucket",
        profile_name, files_.paths.credentials.empty() ? "~/.aws" : files_.paths.credentials);
    if (ascii_lower(non_empty(vars_, "AWS_EC2_METADATA_DISABLED").value_or("")) == "true")
      return refuse(nothing);
    const Profile profile(files_, profile_name);
    const auto setting = [&](std::string_view from_env, const std::string& from_profile) {
      auto value = non_empty(vars_, from_env);
      return (value ? value : profile.text(from_profile)).value_or("");
    };
    InstanceKeys out;
    out.endpoint = setting("AWS_EC2_METADATA_SERVICE_ENDPOINT", "ec2_metadata_service_endpoint");
    if (out.endpoint.empty()) {
      const std::string mode = ascii_lower(
          setting("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "ec2_metadata_service_endpoint_mode"));
      out.endpoint = mode == "ipv6" ? kInstanceV6 : kInstanceV4;
    }
    if (auto fine = parse_http_url(out.endpoint); !fine)
      return tl::unexpected<Error>(
          std::move(fine).error().wrap("AWS_EC2_METADATA_SERVICE_ENDPOINT"));
    while (out.endpoint.ends_with('/')) out.endpoint.pop_back();
    out.may_use_v1 =
        ascii_lower(setting("AWS_EC2_METADATA_V1_DISABLED", "ec2_metadata_v1_disabled")) != "true";
    TRY_ASSIGN(out.attempts,
               metadata_number("AWS_METADATA_SERVICE_NUM_ATTEMPTS", profile,
                               "metadata_service_num_attempts", kMaxMetadataAttempts));
    TRY_ASSIGN(out.timeout_seconds,
               metadata_number("AWS_METADATA_SERVICE_TIMEOUT", profile, "metadata_service_timeout",
                               kMaxMetadataSeconds));
    out.otherwise = nothing;
    return CredentialPlan{std::move(out)};
  }

  Result<unsigned> metadata_number(std::string_view from_env, const Profile& profile,
                                   const std::string& from_profile, unsigned most) const {
    auto text = non_empty(vars_, from_env);
    if (!text) text = profile.text(from_profile);
    if (!text) return 1U;
    return number_setting(*text, from_profile, 1, most);
  }

  const AwsFiles& files_;
  const EnvVars& vars_;
  std::set<std::string> visited_;
};

}  // namespace

bool AssumedRole::operator==(const AssumedRole& other) const {
  return std::tie(profile, role_arn, session_name, external_id, duration_seconds, base) ==
         std::tie(other.profile, other.role_arn, other.session_name, other.external_id,
                  other.duration_seconds, other.base);
}

Result<CredentialPlan> plan_credentials(const AwsFiles& files, const EnvVars& vars,
                                        const std::string& profile, bool profile_is_explicit) {
  return Planner(files, vars).plan(profile, profile_is_explicit);
}

Status check_container_url(const std::string& url) {
  TRY_ASSIGN(const HttpUrl parsed, parse_http_url(url.substr(0, url.find('?'))));
  if (parsed.tls) return {};
  const std::string host = without_port(parsed.host);
  if (is_loopback(parsed.host) || host == "169.254.170.2" || host == "169.254.170.23" ||
      host == "[fd00:ec2::23]")
    return {};
  return fail(Errc::kInvalid,
              fmt::format("keys are asked for over plain http only on this machine and at "
                          "169.254.170.2, 169.254.170.23 and [fd00:ec2::23], not at '{}'",
                          host.substr(0, 80)));
}

Result<std::vector<std::string>> split_command(std::string_view text) {
  std::vector<std::string> words;
  std::string word;
  bool in_word = false;
  char quote = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const bool escapes = c == '\\' && quote != '\'' && i + 1 < text.size() &&
                         (quote == 0 || text[i + 1] == '"' || text[i + 1] == '\\');
    if (escapes) {
      word.push_back(text[++i]);
      in_word = true;
    } else if (quote != 0) {
      if (c == quote) {
        quote = 0;
      } else {
        word.push_back(c);
      }
    } else if (c == '"' || c == '\'') {
      quote = c;
      in_word = true;
    } else if (c == ' ' || c == '\t') {
      if (in_word) words.push_back(std::move(word));
      word.clear();
      in_word = false;
    } else {
      word.push_back(c);
      in_word = true;
    }
  }
  if (quote != 0) return fail(Errc::kInvalid, "credential_process has a quote that is not closed");
  if (in_word) words.push_back(std::move(word));
  return words;
}

}  // namespace cairn
