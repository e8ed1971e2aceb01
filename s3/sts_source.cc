// Keys from the Security Token Service: AssumeRole and AssumeRoleWithWebIdentity.
#include <fmt/format.h>

#include <cctype>
#include <utility>

#include "cache/base/digest.h"
#include "s3/credential_sources.h"
#include "s3/endpoint.h"
#include "s3/s3_xml.h"
#include "s3/sigv4.h"

namespace cairn {

namespace {


struct StsService {
  HttpUrl url;
  std::string region;
};

Result<StsService> sts_service(const CredentialServices& services) {
  TRY(check_region_name(services.region));
  StsService out;
  out.region = services.region;
  if (services.sts_url.empty()) {
    out.url.host = aws_host("sts", services.region);
    return out;
  }
  auto url = parse_http_url(services.sts_url);
  if (!url) return tl::unexpected<Error>(std::move(url).error().wrap("the endpoint URL of STS"));
  out.url = *std::move(url);
  return out;
}

// A session's name shows in the account's audit log: the same for all requests of a process.
std::string session_name(const std::string& given, Clock& clock) {
  return given.empty() ? fmt::format("cairn-{}", clock.wall_ns() / 1'000'000'000) : given;
}

bool sts_may_work_again(int status, const std::string& code) {
  return status >= 500 || status == 429 || code == "Throttling" || code == "ThrottlingException" ||
         code == "RequestLimitExceeded" || code == "IDPCommunicationError";
}

std::string one_line(std::string text) {
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  return text.substr(0, 300);
}

struct StsAnswer {
  Result<Credentials> keys;
  std::string code;  // of a refusal
};

class StsRequest {
 public:
  StsRequest(const StsService& service, const CredentialDeps& deps, std::string asking_for)
      : service_(service), deps_(deps), asking_for_(std::move(asking_for)) {}

  // `signer`: whose keys sign it; nullptr: nobody's.
  void send(const QueryParameters& form, const Credentials* signer, Context context,
            std::function<void(StsAnswer)> done) const {
    HttpRequest request;
    request.method = "POST";
    const std::string path = service_.url.path + "/";
    request.url = service_.url.scheme_and_host() + path;
    const std::string body = canonical_query(form);
    request.headers = {{"content-type", "application/x-www-form-urlencoded; charset=utf-8"},
                       {"host", service_.url.host}};
    if (signer != nullptr) sign(request, path, body, *signer);
    request.body = Body(Buffer::copy(body));
    request.context = std::move(context);
    request.max_response_bytes = kAnswerBytesMax;
    deps_.http->send(std::move(request), [what = asking_for_, host = service_.url.host,
                                          done = std::move(done)](Result<HttpResponse> response) {
      if (!response)
        return done({tl::unexpected<Error>(std::move(response).error().wrap(what)), {}});
      done(read(*response, what, host));
    });
  }

 private:
  void sign(HttpRequest& request, const std::string& path, const std::string& body,
            const Credentials& signer) const {
    const std::string timestamp = amz_timestamp(deps_.clock.wall_ns());
    const std::string hash = sha256(as_bytes(body)).hex();
    request.headers.push_back({"x-amz-date", timestamp});
    if (!signer.session_token.empty())
      request.headers.push_back(
          {"x-amz-security-token", std::string(signer.session_token.reveal())});
    const SigningInput input{request.method, path, "", request.headers, hash};
    request.headers.push_back(
        {"authorization", authorization(input, {timestamp, service_.region, "sts"},
                                        signer.access_key, signer.secret_key)});
  }

  static StsAnswer read(const HttpResponse& response, const std::string& what,
                        const std::string& host) {
    if (response.status == 200) {
      auto keys = parse_sts_credentials(response.body);
      if (!keys) return {tl::unexpected<Error>(std::move(keys).error().wrap(what)), {}};
      return {std::move(keys), {}};
    }
    const auto refusal = parse_sts_error(response.body);
    const std::string code = refusal ? refusal->code : "";
    const Errc kind =
        sts_may_work_again(response.status, code) ? Errc::kTransient : Errc::kPermission;
    std::string said = fmt::format("HTTP {}", response.status);
    if (refusal) said += fmt::format(" {}: {}", one_line(code), one_line(refusal->message));
    return {fail(kind, fmt::format("{}: {} refuses ({})", what, host, said)), code};
  }

  const StsService& service_;
  const CredentialDeps& deps_;
  const std::string asking_for_;
};

class RoleSource final : public CredentialSource, public std::enable_shared_from_this<RoleSource> {
 public:
  RoleSource(const AssumedRole& plan, std::shared_ptr<CredentialsProvider> base, StsService service,
             const CredentialDeps& deps)
      : profile_(plan.profile),
        role_(plan.role_arn),
        base_(std::move(base)),
        service_(std::move(service)),
        deps_(deps) {
    form_ = {{"Action", "AssumeRole"},
             {"Version", "2011-06-15"},
             {"RoleArn", plan.role_arn},
             {"RoleSessionName", session_name(plan.session_name, deps.clock)}};
    if (!plan.external_id.empty()) form_.emplace_back("ExternalId", plan.external_id);
    if (plan.duration_seconds != 0)
      form_.emplace_back("DurationSeconds", std::to_string(plan.duration_seconds));
  }

  void fetch(Context context, Callback<Credentials> done) override {
    ask(std::move(context), /*first=*/true, std::move(done));
  }
  std::string description() const override {
    return fmt::format("role {} (AWS profile '{}')", role_, profile_);
  }

 private:
  void ask(Context context, bool first, Callback<Credentials> done) {
    base_->get(context, [self = shared_from_this(), context, first,
                         done = std::move(done)](Result<Credentials> keys) {
      if (!keys)
        return done(tl::unexpected<Error>(
            std::move(keys).error().wrap("asking for " + self->description())));
      self->ask_with(*keys, context, first, done);
    });
  }

  void ask_with(const Credentials& keys, const Context& context, bool first,
                const Callback<Credentials>& done) {
    const StsRequest request(service_, deps_, "asking for " + description());
    request.send(form_, &keys, context,
                 [self = shared_from_this(), keys, context, first, done](StsAnswer answer) {
                   const bool keys_are_old = answer.code == "ExpiredToken" ||
                                             answer.code == "InvalidClientTokenId" ||
                                             answer.code == "ExpiredTokenException";
                   if (!keys_are_old || !first) return done(std::move(answer.keys));
                   self->base_->refused(keys);
                   self->ask(context, /*first=*/false, done);
                 });
  }

  const std::string profile_;
  const std::string role_;
  const std::shared_ptr<CredentialsProvider> base_;
  const StsService service_;
  const CredentialDeps deps_;
  QueryParameters form_;
};

class WebIdentitySource final : public CredentialSource,
                                public std::enable_shared_from_this<WebIdentitySource> {
 public:
  WebIdentitySource(WebIdentityKeys plan, StsService service, const CredentialDeps& deps)
      : plan_(std::move(plan)),
        session_(session_name(plan_.session_name, deps.clock)),
        service_(std::move(service)),
        deps_(deps) {}

  void fetch(Context context, Callback<Credentials> done) override {
    deps_.executor.submit([self = shared_from_this(), context = std::move(context),
                           done = std::move(done)] { self->ask(context, done); });
  }
  std::string description() const override {
    return fmt::format("role {} (web identity in {})", plan_.role_arn, plan_.token_file);
  }

 private:
  // The token is a file that somebody keeps fresh: it is read for every request.
  void ask(const Context& context, const Callback<Credentials>& done) const {
    auto bytes = read_file(deps_.env, plan_.token_file, kTokenFileBytesMax);
    if (!bytes)
      return done(fail(Errc::kPermission,
                       "the web identity token cannot be read: " + bytes.error().message()));
    std::string token = to_string(*bytes);
    while (!token.empty() && std::isspace(static_cast<unsigned char>(token.back())) != 0)
      token.pop_back();
    if (token.empty())
      return done(
          fail(Errc::kPermission, "the web identity token file " + plan_.token_file + " is empty"));
    const StsRequest request(service_, deps_, "asking for " + description());
    const QueryParameters form = {{"Action", "AssumeRoleWithWebIdentity"},
                                  {"Version", "2011-06-15"},
                                  {"RoleArn", plan_.role_arn},
                                  {"RoleSessionName", session_},
                                  {"WebIdentityToken", token}};
    request.send(form, nullptr, context,
                 [done](StsAnswer answer) { done(std::move(answer.keys)); });
    wipe(token);
  }

  const WebIdentityKeys plan_;
  const std::string session_;
  const StsService service_;
  const CredentialDeps deps_;
};

}  // namespace

Result<std::shared_ptr<CredentialSource>> make_role_source(
    const AssumedRole& plan, std::shared_ptr<CredentialsProvider> base,
    const CredentialServices& services, const CredentialDeps& deps) {
  TRY_ASSIGN(StsService service, sts_service(services));
  return std::shared_ptr<CredentialSource>(
      std::make_shared<RoleSource>(plan, std::move(base), std::move(service), deps));
}

Result<std::shared_ptr<CredentialSource>> make_web_identity_source(
    const WebIdentityKeys& plan, const CredentialServices& services, const CredentialDeps& deps) {
  TRY_ASSIGN(StsService service, sts_service(services));
  return std::shared_ptr<CredentialSource>(
      std::make_shared<WebIdentitySource>(plan, std::move(service), deps));
}

}  // namespace cairn
