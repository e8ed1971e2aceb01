#include "s3/credentials.h"

#include <fmt/format.h>

#include <array>
#include <utility>

#include "cache/base/log.h"

namespace cairn {

namespace {

std::optional<std::string> non_empty(const EnvVars& vars, std::string_view name) {
  auto value = vars(name);
  if (value && value->empty()) return std::nullopt;
  return value;
}

class StaticCredentials final : public CredentialsProvider {
 public:
  StaticCredentials(Credentials credentials, Executor& executor)
      : credentials_(std::move(credentials)), executor_(executor) {}

  void get(Context /*context*/, Callback<Credentials> done) override {
    executor_.submit([credentials = credentials_, done = std::move(done)] { done(credentials); });
  }

 private:
  const Credentials credentials_;
  Executor& executor_;
};

// What a file looked like when it was read.
struct FileStamp {
  bool exists = false;
  uint64_t size = 0;
  int64_t mtime_ns = 0;
  uint64_t inode = 0;
  bool operator==(const FileStamp&) const = default;
};

FileStamp stamp_of(Env& env, const std::string& path) {
  if (path.empty()) return {};
  const auto info = env.stat(path);
  if (!info) return {};
  return {true, info->size, info->mtime_ns, info->inode};
}

tl::unexpected<Error> no_credentials(const EnvVars& vars, const AwsPaths& paths,
                                     const std::string& profile) {
  std::string other;
  if (non_empty(vars, "AWS_WEB_IDENTITY_TOKEN_FILE")) {
    other = "AWS_WEB_IDENTITY_TOKEN_FILE (web identity)";
  } else if (non_empty(vars, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") ||
             non_empty(vars, "AWS_CONTAINER_CREDENTIALS_FULL_URI")) {
    other = "AWS_CONTAINER_CREDENTIALS_* (container credentials)";
  }
  if (!other.empty())
    return fail(Errc::kPermission,
                fmt::format("the environment offers {}, which cairn cannot use yet: set "
                            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead",
                            other));
  return fail(Errc::kPermission,
              fmt::format("no S3 credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
                          "run 'aws configure' (profile '{}' in {} has no keys), or use "
                          "--no-sign-request for a public bucket",
                          profile, paths.credentials.empty() ? "~/.aws" : paths.credentials));
}

// Environment first, then the profile's files, read again whenever they look different.
class DefaultCredentials final : public CredentialsProvider {
 public:
  DefaultCredentials(Env& env, EnvVars vars, const std::optional<std::string>& profile_override,
                     Executor& executor)
      : env_(env), vars_(std::move(vars)), executor_(executor), paths_(aws_paths(vars_)) {
    std::tie(profile_, explicit_) = aws_profile_name(vars_, profile_override);
  }

  void get(Context /*context*/, Callback<Credentials> done) override {
    executor_.submit([this, done = std::move(done)] { done(current()); });
  }

 private:
  Result<Credentials> current() {
    if (!explicit_) {
      TRY_ASSIGN(auto found, credentials_from_environment(vars_));
      if (found) return *std::move(found);
    }
    const std::lock_guard lock(mutex_);
    const std::pair now(stamp_of(env_, paths_.config), stamp_of(env_, paths_.credentials));
    if (cached_ && seen_ == now) return *cached_;
    auto read = read_profile();
    if (read) {
      cached_ = *read;
      seen_ = now;
      return read;
    }
    if (!cached_) return read;
    seen_ = now;  // do not try the same broken files before every request
    log_warn("{}; going on with the keys read before", read.error().message());
    return *cached_;
  }

  Result<Credentials> read_profile() {
    TRY_ASSIGN(const AwsFiles files, read_aws_files(env_, paths_));
    if (profile_ != "default" && !files.has_profile(profile_))
      return fail(Errc::kPermission,
                  fmt::format("there is no AWS profile '{}' in {} or {}; 'aws configure "
                              "list-profiles' shows which there are",
                              profile_, paths_.config, paths_.credentials));
    TRY_ASSIGN(auto found, credentials_from_profile(files, profile_));
    if (found) return *std::move(found);
    return no_credentials(vars_, paths_, profile_);
  }

  Env& env_;
  const EnvVars vars_;
  Executor& executor_;
  const AwsPaths paths_;
  std::string profile_;
  bool explicit_ = false;
  RankedMutex<Rank::kStore> mutex_;
  std::optional<Credentials> cached_;
  std::pair<FileStamp, FileStamp> seen_;
};

// Settings by which a profile says that its keys come from somewhere else, and what that is.
struct OtherSource {
  const char* setting;
  const char* what;
};
constexpr std::array kRoleSources = {
    OtherSource{"role_arn", "an assumed role"},
    OtherSource{"web_identity_token_file", "web identity"},
};
constexpr std::array kLaterSources = {
    OtherSource{"sso_session", "IAM Identity Center (SSO)"},
    OtherSource{"sso_start_url", "IAM Identity Center (SSO)"},
    OtherSource{"login_session", "'aws login'"},
    OtherSource{"credential_process", "a credential process"},
    OtherSource{"credential_source", "another credential source"},
};

tl::unexpected<Error> refuse_source(const std::string& profile, const OtherSource& source) {
  return fail(Errc::kPermission,
              fmt::format("AWS profile '{0}' takes its keys from {1} ({2}), which cairn cannot use "
                          "yet: run eval \"$(aws configure export-credentials --profile {0} "
                          "--format env)\" and try again",
                          profile, source.what, source.setting));
}

template <size_t N>
const OtherSource* find_source(const std::array<OtherSource, N>& sources, const AwsSection* config,
                               const AwsSection* credentials) {
  for (const OtherSource& source : sources)
    for (const AwsSection* section : {config, credentials})
      if (section != nullptr && section->find(source.setting) != nullptr) return &source;
  return nullptr;
}

Result<std::optional<Credentials>> keys_in(const AwsSection* section, const std::string& profile,
                                           const std::string& path) {
  if (section == nullptr) return std::optional<Credentials>();
  const Secret* id = section->find("aws_access_key_id");
  const Secret* key = section->find("aws_secret_access_key");
  if (id == nullptr && key == nullptr) return std::optional<Credentials>();
  if (id == nullptr || key == nullptr)
    return fail(Errc::kPermission,
                fmt::format("AWS profile '{}' in {} has {} but no {}: add it", profile, path,
                            id == nullptr ? "aws_secret_access_key" : "aws_access_key_id",
                            id == nullptr ? "aws_access_key_id" : "aws_secret_access_key"));
  Credentials out;
  out.access_key = std::string(id->reveal());
  out.secret_key = *key;
  if (const Secret* token = section->find("aws_session_token")) out.session_token = *token;
  out.source = fmt::format("profile '{}' in {}", profile, path);
  return std::optional(std::move(out));
}

}  // namespace

std::string masked_key(const std::string& access_key) {
  if (access_key.size() < 12) return access_key.substr(0, 2) + "...";
  return access_key.substr(0, 4) + "..." + access_key.substr(access_key.size() - 4);
}

Result<std::optional<Credentials>> credentials_from_environment(const EnvVars& vars) {
  auto id = non_empty(vars, "AWS_ACCESS_KEY_ID");
  auto key = non_empty(vars, "AWS_SECRET_ACCESS_KEY");
  if (!id && !key) return std::optional<Credentials>();
  if (!id || !key)
    return fail(Errc::kPermission, fmt::format("{} is set but {} is not: set both or neither",
                                               id ? "AWS_ACCESS_KEY_ID" : "AWS_SECRET_ACCESS_KEY",
                                               id ? "AWS_SECRET_ACCESS_KEY" : "AWS_ACCESS_KEY_ID"));
  Credentials out;
  out.access_key = *std::move(id);
  out.secret_key = Secret(*std::move(key));
  auto token = non_empty(vars, "AWS_SESSION_TOKEN");
  if (!token) token = non_empty(vars, "AWS_SECURITY_TOKEN");  // its old name
  if (token) out.session_token = Secret(*std::move(token));
  out.source = "the environment";
  return std::optional(std::move(out));
}

Result<std::optional<Credentials>> credentials_from_profile(const AwsFiles& files,
                                                            const std::string& profile) {
  const AwsSection* config = files.config_profile(profile);
  const AwsSection* credentials = files.credentials_profile(profile);
  // A role goes before keys in the same profile: those are for asking for the role.
  if (const OtherSource* source = find_source(kRoleSources, config, credentials))
    return refuse_source(profile, *source);
  TRY_ASSIGN(auto found, keys_in(credentials, profile, files.paths.credentials));
  if (!found) {
    TRY_ASSIGN(found, keys_in(config, profile, files.paths.config));
  }
  if (found) return found;
  if (const OtherSource* source = find_source(kLaterSources, config, credentials))
    return refuse_source(profile, *source);
  return std::optional<Credentials>();
}

std::unique_ptr<CredentialsProvider> make_static_credentials(Credentials credentials,
                                                             Executor& executor) {
  return std::make_unique<StaticCredentials>(std::move(credentials), executor);
}

std::unique_ptr<CredentialsProvider> make_default_credentials(
    Env& env, EnvVars vars, std::optional<std::string> profile_override, Executor& executor) {
  return std::make_unique<DefaultCredentials>(env, std::move(vars), profile_override, executor);
}

}  // namespace cairn
