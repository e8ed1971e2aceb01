// Keys from IAM Identity Center (SSO), with the token that `aws sso login` left.
#include <fmt/format.h>

#include <utility>

#include "cache/base/log.h"
#include "s3/credential_json.h"
#include "s3/credential_sources.h"
#include "s3/endpoint.h"
#include "s3/sigv4.h"

namespace cairn {

namespace {

constexpr uint64_t kMaxSsoTokenFile = 256 << 10;
constexpr int64_t kRefreshAhead = 15LL * 60 * 1'000'000'000;  // before a token expires

class SsoSource final : public CredentialSource, public std::enable_shared_from_this<SsoSource> {
 public:
  SsoSource(SsoKeys plan, HttpUrl portal, HttpUrl oidc, const CredentialDeps& deps)
      : plan_(std::move(plan)), portal_(std::move(portal)), oidc_(std::move(oidc)), deps_(deps) {}

  void fetch(Context context, Callback<Credentials> done) override {
    deps_.executor.submit([self = shared_from_this(), context = std::move(context),
                           done = std::move(done)] { self->use_token(context, done); });
  }
  std::string description() const override {
    return fmt::format("SSO role {} in account {} (AWS profile '{}')", plan_.role_name,
                       plan_.account_id, plan_.profile);
  }

 private:
  tl::unexpected<Error> log_in_again(std::string_view why) const {
    return fail(Errc::kPermission,
                fmt::format("{0}: run 'aws sso login --profile {1}'", why, plan_.profile));
  }

  void use_token(const Context& context, const Callback<Credentials>& done) {
    auto token = read_token();
    if (!token) return done(tl::unexpected<Error>(std::move(token).error()));
    const int64_t now = deps_.clock.wall_ns();
    if (token->expires_wall_ns - now > kRefreshAhead) return ask_portal(*token, context, done);
    if (!token->can_refresh(now)) return use_old_token(*token, context, done);
    refresh(*token, context, done);
  }

  // Near its end or behind it, and no new one to be had.
  void use_old_token(const SsoToken& token, const Context& context,
                     const Callback<Credentials>& done) {
    if (token.expires_wall_ns > deps_.clock.wall_ns()) return ask_portal(token, context, done);
    done(log_in_again(
        fmt::format("the SSO session of AWS profile '{}' has expired", plan_.profile)));
  }

  Result<SsoToken> read_token() {
    auto bytes = read_file(deps_.env, plan_.token_path, kMaxSsoTokenFile);
    if (!bytes) {
      if (bytes.error().code() == Errc::kNotFound)
        return log_in_again(
            fmt::format("there is no SSO session for AWS profile '{}'", plan_.profile));
      return fail(Errc::kPermission, "the SSO token cannot be read: " + bytes.error().message());
    }
    auto token = parse_sso_token(*bytes);
    ::explicit_bzero(bytes->data(), bytes->size());
    if (!token)
      return log_in_again(fmt::format("{}: {}", plan_.token_path, token.error().message()));
    // Ours may be newer when the file could not be written.
    if (newer_ && newer_->expires_wall_ns > token->expires_wall_ns) return *newer_;
    return token;
  }

  void refresh(const SsoToken& old, const Context& context, const Callback<Credentials>& done) {
    HttpRequest request;
    request.method = "POST";
    request.url = oidc_.scheme_and_host() + oidc_.path + "/token";
    request.headers = {{"content-type", "application/json"}, {"host", oidc_.host}};
    request.body = Body(Buffer::copy(format_token_request(old).reveal()));
    request.context = context;
    request.max_response_bytes = kAnswerBytesMax;
    request.may_resend = false;  // a refresh token is good once
    deps_.http->send(std::move(request), [self = shared_from_this(), old, context,
                                          done](Result<HttpResponse> response) {
      self->refreshed(old, context, done, std::move(response));
    });
  }

  void refreshed(const SsoToken& old, const Context& context, const Callback<Credentials>& done,
                 Result<HttpResponse> response) {
    const std::string what = "refreshing the SSO session of AWS profile '" + plan_.profile + "'";
    const bool old_is_good = old.expires_wall_ns > deps_.clock.wall_ns();
    if (!response || response->status >= 500) {
      const std::string why =
          response ? fmt::format("HTTP {}", response->status) : response.error().message();
      log_warn("{}: {}", what, why);
      if (old_is_good) return ask_portal(old, context, done);
      return done(fail(Errc::kTransient, fmt::format("{}: {}", what, why)));
    }
    if (response->status != 200) {
      log_warn("{}: {} refuses (HTTP {} {})", what, oidc_.host, response->status,
               json_refusal(response->body));
      return use_old_token(old, context, done);
    }
    auto token = parse_token_answer(response->body, old, deps_.clock.wall_ns());
    if (!token) return done(tl::unexpected<Error>(std::move(token).error().wrap(what)));
    save(*token);
    ask_portal(*token, context, done);
  }

  // The AWS CLI finds the new token in the same file.
  void save(const SsoToken& token) {
    newer_ = token;
    auto bytes = read_file(deps_.env, plan_.token_path, kMaxSsoTokenFile);
    if (!bytes) return;
    const auto text = replace_sso_token(*bytes, token);
    if (!text) return;
    if (auto saved = replace_file(deps_.env, plan_.token_path, as_bytes(text->reveal())); !saved)
      log_warn("the new SSO token is not written back, the AWS CLI may ask for a new login: {}",
               saved.error().message());
  }

  void ask_portal(const SsoToken& token, const Context& context,
                  const Callback<Credentials>& done) {
    HttpRequest request;
    request.method = "GET";
    request.url =
        portal_.scheme_and_host() + portal_.path + "/federation/credentials?" +
        canonical_query({{"account_id", plan_.account_id}, {"role_name", plan_.role_name}});
    request.headers = {{"host", portal_.host},
                       {"x-amz-sso_bearer_token", std::string(token.access_token.reveal())}};
    request.context = context;
    request.max_response_bytes = kAnswerBytesMax;
    deps_.http->send(std::move(request),
                     [self = shared_from_this(), done](Result<HttpResponse> response) {
                       done(self->read_portal(std::move(response)));
                     });
  }

  Result<Credentials> read_portal(Result<HttpResponse> response) const {
    const std::string what = "asking for " + description();
    if (!response) return tl::unexpected<Error>(std::move(response).error().wrap(what));
    if (response->status == 401)
      return log_in_again(
          fmt::format("the SSO session of AWS profile '{}' is not valid any more", plan_.profile));
    if (response->status != 200) {
      const bool again = response->status >= 500 || response->status == 429;
      return fail(again ? Errc::kTransient : Errc::kPermission,
                  fmt::format("{}: {} refuses (HTTP {} {})", what, portal_.host, response->status,
                              json_refusal(response->body)));
    }
    auto keys = parse_sso_credentials(response->body);
    if (!keys) return tl::unexpected<Error>(std::move(keys).error().wrap(what));
    return keys;
  }

  const SsoKeys plan_;
  const HttpUrl portal_;
  const HttpUrl oidc_;
  const CredentialDeps deps_;
  std::optional<SsoToken> newer_;  // only the one fetch under way touches it
};

Result<HttpUrl> service_url(const std::string& configured, std::string_view service,
                            const std::string& region) {
  if (!configured.empty()) return parse_http_url(configured);
  TRY(check_region_name(region));
  HttpUrl out;
  out.host = aws_host(service, region);
  return out;
}

}  // namespace

Result<std::shared_ptr<CredentialSource>> make_sso_source(const SsoKeys& plan,
                                                          const CredentialServices& services,
                                                          const CredentialDeps& deps) {
  TRY_ASSIGN(HttpUrl portal, service_url(services.sso_url, "portal.sso", plan.region));
  TRY_ASSIGN(HttpUrl oidc, service_url(services.sso_oidc_url, "oidc", plan.region));
  return std::shared_ptr<CredentialSource>(
      std::make_shared<SsoSource>(plan, std::move(portal), std::move(oidc), deps));
}

}  // namespace cairn
