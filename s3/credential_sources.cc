#include "s3/credential_sources.h"

#include <fmt/format.h>

#include <utility>

#include "cache/base/log.h"
#include "cache/base/process.h"
#include "s3/credential_json.h"

namespace cairn {

namespace {

constexpr size_t kMaxProcessOutput = 256 << 10;
constexpr size_t kMaxComplaint = 200;

// The first line of what a program complained about, fit for a message.
std::string first_line(const std::string& text) {
  std::string out = text.substr(0, std::min(text.find('\n'), kMaxComplaint));
  for (char& c : out)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  return out;
}

class ProcessSource final : public CredentialSource,
                            public std::enable_shared_from_this<ProcessSource> {
 public:
  ProcessSource(ProcessKeys plan, const CredentialDeps& deps)
      : plan_(std::move(plan)), deps_(deps) {}

  void fetch(Context context, Callback<Credentials> done) override {
    deps_.executor.submit([self = shared_from_this(), context = std::move(context),
                           done = std::move(done)] { done(self->run(context)); });
  }
  std::string description() const override {
    return "credential_process of AWS profile '" + plan_.profile + "'";
  }

 private:
  Result<Credentials> run(const Context& context) const {
    auto result = run_process(plan_.command, context, deps_.clock, kMaxProcessOutput);
    if (!result) return fail(Errc::kPermission, description() + ": " + result.error().message());
    if (result->exit_status != 0) {
      const std::string said = first_line(result->complaint);
      return fail(Errc::kPermission,
                  fmt::format("{}: '{}' ended with status {}{}", description(), plan_.command[0],
                              result->exit_status, said.empty() ? "" : ": " + said));
    }
    auto keys = parse_process_credentials(result->output);
    if (!result->output.empty()) ::explicit_bzero(result->output.data(), result->output.size());
    if (!keys) return fail(Errc::kPermission, description() + ": " + keys.error().message());
    return keys;
  }

  const ProcessKeys plan_;
  const CredentialDeps deps_;
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

// Follows the environment and the shared files; passes every request on to what they say now.
class DefaultCredentials final : public CredentialsProvider,
                                 public std::enable_shared_from_this<DefaultCredentials> {
 public:
  DefaultCredentials(EnvVars vars, AwsOverrides overrides, const CredentialDeps& deps)
      : vars_(std::move(vars)),
        overrides_(std::move(overrides)),
        deps_(deps),
        paths_(aws_paths(vars_)) {}

  void get(Context context, Callback<Credentials> done) override {
    deps_.executor.submit(
        [self = shared_from_this(), context = std::move(context), done = std::move(done)] {
          auto provider = self->current();
          if (!provider) return done(tl::unexpected<Error>(std::move(provider).error()));
          (*provider)->get(context, done);
        });
  }

  void refused(const Credentials& keys) override {
    std::shared_ptr<CredentialsProvider> provider;
    {
      const std::lock_guard lock(mutex_);
      provider = provider_;
    }
    if (provider) provider->refused(keys);
  }

 private:
  struct Choice {
    CredentialPlan plan;
    CredentialServices services;
    bool operator==(const Choice&) const = default;
  };

  Result<std::shared_ptr<CredentialsProvider>> current() {
    const std::lock_guard lock(mutex_);
    const std::pair now(stamp_of(deps_.env, paths_.config),
                        stamp_of(deps_.env, paths_.credentials));
    if (provider_ && seen_ == now) return provider_;
    auto chosen = choose();
    if (chosen && provider_ && *chosen == choice_) {
      seen_ = now;  // something else in the files changed
      return provider_;
    }
    auto made =
        chosen
            ? make_credentials(chosen->plan, chosen->services, deps_)
            : Result<std::shared_ptr<CredentialsProvider>>(tl::unexpected<Error>(chosen.error()));
    if (made) {
      provider_ = *made;
      choice_ = *std::move(chosen);
      seen_ = now;
      return made;
    }
    if (!provider_) return made;
    seen_ = now;  // do not try the same broken files before every request
    log_warn("{}; going on with the keys found before", made.error().message());
    return provider_;
  }

  Result<Choice> choose() const {
    TRY_ASSIGN(const AwsFiles files, read_aws_files(deps_.env, paths_));
    const auto [profile, is_explicit] = aws_profile_name(vars_, overrides_.profile);
    Choice out;
    TRY_ASSIGN(out.plan, plan_credentials(files, vars_, profile, is_explicit));
    TRY_ASSIGN(const AwsSettings settings, resolve_aws_settings(deps_.env, vars_, overrides_));
    out.services.region = settings.region;
    out.services.sts_url = aws_service_url(files, vars_, profile, "sts");
    out.services.sso_url = aws_service_url(files, vars_, profile, "sso");
    out.services.sso_oidc_url = aws_service_url(files, vars_, profile, "sso_oidc");
    return out;
  }

  const EnvVars vars_;
  const AwsOverrides overrides_;
  const CredentialDeps deps_;
  const AwsPaths paths_;
  RankedMutex<Rank::kStore> mutex_;
  std::shared_ptr<CredentialsProvider> provider_;
  Choice choice_;
  std::pair<FileStamp, FileStamp> seen_;
};

using MadeSource = Result<std::shared_ptr<CredentialSource>>;

struct SourceMaker {
  const CredentialServices& services;
  const CredentialDeps& deps;

  MadeSource operator()(const StaticKeys& /*plan*/) const { return nullptr; }
  MadeSource operator()(const ProcessKeys& plan) const { return make_process_source(plan, deps); }
  MadeSource operator()(const AssumedRole& plan) const {
    TRY_ASSIGN(auto base, make_credentials(plan.base.at(0), services, deps));
    return make_role_source(plan, std::move(base), services, deps);
  }
  MadeSource operator()(const WebIdentityKeys& plan) const {
    return make_web_identity_source(plan, services, deps);
  }
  MadeSource operator()(const SsoKeys& plan) const { return make_sso_source(plan, services, deps); }
  MadeSource operator()(const ContainerKeys& plan) const {
    return make_container_source(plan, deps);
  }
  MadeSource operator()(const InstanceKeys& plan) const { return make_instance_source(plan, deps); }
};

}  // namespace

std::shared_ptr<CredentialSource> make_process_source(const ProcessKeys& plan,
                                                      const CredentialDeps& deps) {
  return std::make_shared<ProcessSource>(plan, deps);
}

Result<std::shared_ptr<CredentialsProvider>> make_credentials(const CredentialPlan& plan,
                                                              const CredentialServices& services,
                                                              const CredentialDeps& deps) {
  if (const auto* keys = std::get_if<StaticKeys>(&plan.how))
    return std::shared_ptr<CredentialsProvider>(make_static_credentials(keys->keys, deps.executor));
  TRY_ASSIGN(auto source, std::visit(SourceMaker{services, deps}, plan.how));
  return std::shared_ptr<CredentialsProvider>(std::make_shared<RefreshingCredentials>(
      std::move(source), deps.executor, deps.clock, deps.rng, deps.policy));
}

std::shared_ptr<CredentialsProvider> make_default_credentials(EnvVars vars,
                                                              const AwsOverrides& overrides,
                                                              const CredentialDeps& deps) {
  return std::make_shared<DefaultCredentials>(std::move(vars), overrides, deps);
}

}  // namespace cairn
