#include "s3/credentials.h"

#include <fmt/format.h>

#include <utility>

namespace cairn {

namespace {

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

std::unique_ptr<CredentialsProvider> make_static_credentials(Credentials credentials,
                                                             Executor& executor) {
  return std::make_unique<StaticCredentials>(std::move(credentials), executor);
}

}  // namespace cairn
