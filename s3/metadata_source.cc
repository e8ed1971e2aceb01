// Keys from the metadata services of containers (ECS, EKS) and of EC2 instances (IMDSv2).
#include <fmt/format.h>

#include <atomic>
#include <cctype>
#include <utility>

#include "s3/credential_json.h"
#include "s3/credential_sources.h"
#include "s3/sigv4.h"

namespace cairn {

namespace {

constexpr Duration kContainerTimeout = std::chrono::seconds(5);
constexpr const char* kRolePath = "/latest/meta-data/iam/security-credentials/";

std::string host_in(std::string_view url) {
  url.remove_prefix(std::min(url.find("://") + 3, url.size()));
  return std::string(url.substr(0, url.find_first_of("/?")));
}

std::string trimmed(std::string text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0)
    text.pop_back();
  return text;
}

// The sooner of the caller's deadline and `limit` from now.
Context bounded(const Context& context, Clock& clock, Duration limit) {
  Context out = context;
  const Deadline own = Deadline::after(clock, limit);
  if (own.at() < out.deadline.at()) out.deadline = own;
  return out;
}

HttpRequest metadata_request(std::string method, std::string url, Context context) {
  HttpRequest out;
  out.method = std::move(method);
  out.headers = {{"host", host_in(url)}};
  out.url = std::move(url);
  out.context = std::move(context);
  out.max_response_bytes = kAnswerBytesMax;
  return out;
}

// Not answering within our own limit is like not being there: asking again may help.
Error unreachable(Error error, const std::string& what) {
  const Errc code = error.code() == Errc::kTimeout ? Errc::kTransient : error.code();
  return {code, what + ": " + error.message()};
}

class ContainerSource final : public CredentialSource,
                              public std::enable_shared_from_this<ContainerSource> {
 public:
  ContainerSource(ContainerKeys plan, const CredentialDeps& deps)
      : plan_(std::move(plan)), deps_(deps) {}

  void fetch(Context context, Callback<Credentials> done) override {
    deps_.executor.submit([self = shared_from_this(), context = std::move(context),
                           done = std::move(done)] { self->ask(context, done); });
  }
  std::string description() const override {
    return "the container's credentials at " + host_in(plan_.url);
  }

 private:
  void ask(const Context& context, const Callback<Credentials>& done) const {
    HttpRequest request =
        metadata_request("GET", plan_.url, bounded(context, deps_.clock, kContainerTimeout));
    request.headers.push_back({"accept", "application/json"});
    request.direct = request.url.starts_with("http://");
    auto token = authorization_token();
    if (!token) return done(tl::unexpected<Error>(std::move(token).error()));
    if (!token->empty()) request.headers.push_back({"authorization", std::string(token->reveal())});
    deps_.http->send(std::move(request),
                     [what = "asking for " + description(), done](Result<HttpResponse> response) {
                       done(read(std::move(response), what));
                     });
  }

  static Result<Credentials> read(Result<HttpResponse> response, const std::string& what) {
    if (!response) return tl::unexpected<Error>(unreachable(std::move(response).error(), what));
    if (response->status != 200) {
      const bool again = response->status >= 500 || response->status == 429;
      return fail(again ? Errc::kTransient : Errc::kPermission,
                  fmt::format("{}: it refuses (HTTP {} {})", what, response->status,
                              json_refusal(response->body)));
    }
    auto keys = parse_metadata_credentials(response->body);
    if (!keys) return tl::unexpected<Error>(std::move(keys).error().wrap(what));
    return keys;
  }

  // EKS replaces the file: it is read for every request.
  Result<Secret> authorization_token() const {
    if (plan_.token_file.empty()) return checked(plan_.token, "AWS_CONTAINER_AUTHORIZATION_TOKEN");
    auto bytes = read_file(deps_.env, plan_.token_file, kTokenFileBytesMax);
    if (!bytes)
      return fail(Errc::kPermission,
                  "the container's authorization token cannot be read: " + bytes.error().message());
    return checked(Secret(trimmed(to_string(*bytes))), plan_.token_file);
  }

  static Result<Secret> checked(Secret token, const std::string& where) {
    if (token.reveal().find_first_of(std::string_view("\r\n\0", 3)) != std::string_view::npos)
      return fail(Errc::kPermission,
                  "the container's authorization token in " + where + " has a line break in it");
    return token;
  }

  const ContainerKeys plan_;
  const CredentialDeps deps_;
};

// Three questions: a token for this session, the name of the instance's role, the role's keys.
class InstanceSource final : public CredentialSource,
                             public std::enable_shared_from_this<InstanceSource> {
 public:
  InstanceSource(InstanceKeys plan, const CredentialDeps& deps)
      : plan_(std::move(plan)), deps_(deps) {}

  void fetch(Context context, Callback<Credentials> done) override {
    HttpRequest request = question("PUT", "/latest/api/token", context);
    request.headers.push_back({"x-aws-ec2-metadata-token-ttl-seconds", "21600"});
    ask(std::move(request), 1,
        [self = shared_from_this(), context, done](Result<HttpResponse> response) {
          self->have_token(context, done, std::move(response));
        });
  }
  std::string description() const override {
    return "the instance's metadata service at " + host_in(plan_.endpoint);
  }

 private:
  HttpRequest question(std::string method, const std::string& path, const Context& context) const {
    HttpRequest out = metadata_request(
        std::move(method), plan_.endpoint + path,
        bounded(context, deps_.clock, std::chrono::seconds(plan_.timeout_seconds)));
    out.direct = true;
    return out;
  }

  void ask(HttpRequest request, unsigned attempt, Callback<HttpResponse> done) {
    HttpRequest sent = request;
    deps_.http->send(std::move(sent), [self = shared_from_this(), request = std::move(request),
                                       attempt, done](Result<HttpResponse> response) {
      const bool again = !response || response->status >= 500;
      if (!again || attempt >= self->plan_.attempts) return done(std::move(response));
      HttpRequest next = request;
      next.context = bounded({Deadline::never(), request.context.cancel}, self->deps_.clock,
                             std::chrono::seconds(self->plan_.timeout_seconds));
      self->ask(std::move(next), attempt + 1, done);
    });
  }

  void have_token(const Context& context, const Callback<Credentials>& done,
                  Result<HttpResponse> response) {
    if (!response) return done(tl::unexpected<Error>(not_there(response.error().message())));
    const int status = response->status;
    if (status == 200) return ask_role(Secret(trimmed(to_string(response->body))), context, done);
    // As the AWS CLI: a service that knows no tokens is asked without one.
    const bool is_v1 = status == 403 || status == 404 || status == 405;
    if (is_v1 && plan_.may_use_v1) return ask_role(Secret(), context, done);
    done(tl::unexpected<Error>(
        not_there(fmt::format("HTTP {} to the request for a token", status))));
  }

  void ask_role(const Secret& token, const Context& context, const Callback<Credentials>& done) {
    get(kRolePath, token, context,
        [self = shared_from_this(), token, context, done](Result<ByteVec> body) {
          if (!body) return done(tl::unexpected<Error>(std::move(body).error()));
          const std::string text = to_string(*body);
          const std::string role = trimmed(text.substr(0, text.find('\n')));
          if (role.empty())
            return done(tl::unexpected<Error>(self->not_there("the instance has no role")));
          self->ask_keys(role, token, context, done);
        });
  }

  void ask_keys(const std::string& role, const Secret& token, const Context& context,
                const Callback<Credentials>& done) {
    get(kRolePath + uri_encode(role, false), token, context,
        [self = shared_from_this(), done](Result<ByteVec> body) {
          if (!body) return done(tl::unexpected<Error>(std::move(body).error()));
          auto keys = parse_metadata_credentials(*body);
          if (!keys)
            return done(tl::unexpected<Error>(
                std::move(keys).error().wrap("asking " + self->description())));
          self->has_answered_ = true;
          done(std::move(keys));
        });
  }

  void get(const std::string& path, const Secret& token, const Context& context,
           Callback<ByteVec> done) {
    HttpRequest request = question("GET", path, context);
    if (!token.empty())
      request.headers.push_back({"x-aws-ec2-metadata-token", std::string(token.reveal())});
    ask(std::move(request), 1,
        [self = shared_from_this(), path, done = std::move(done)](Result<HttpResponse> response) {
          if (!response)
            return done(tl::unexpected<Error>(self->not_there(response.error().message())));
          if (response->status != 200)
            return done(tl::unexpected<Error>(
                self->not_there(fmt::format("HTTP {} for {}", response->status, path))));
          done(std::move(response->body));
        });
  }

  // No answer from a service that never gave one means that this is no instance with a role, and
  // that nobody has keys for us; from one that did, that it is having a bad moment.
  Error not_there(const std::string& why) const {
    if (has_answered_) return {Errc::kTransient, "asking " + description() + ": " + why};
    return {Errc::kPermission, fmt::format("{} ({}: {})", plan_.otherwise, description(), why)};
  }

  const InstanceKeys plan_;
  const CredentialDeps deps_;
  std::atomic<bool> has_answered_{false};
};

}  // namespace

std::shared_ptr<CredentialSource> make_container_source(const ContainerKeys& plan,
                                                        const CredentialDeps& deps) {
  return std::make_shared<ContainerSource>(plan, deps);
}

std::shared_ptr<CredentialSource> make_instance_source(const InstanceKeys& plan,
                                                       const CredentialDeps& deps) {
  return std::make_shared<InstanceSource>(plan, deps);
}

}  // namespace cairn
