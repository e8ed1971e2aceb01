// A home directory with AWS files, an environment that only the test sees, and a way to wait for
// keys.
#pragma once

#include <doctest/doctest.h>

#include <filesystem>
#include <future>
#include <map>
#include <optional>
#include <string>

#include "cache/base/env.h"
#include "s3/credential_sources.h"
#include "tests/support/temp_dir.h"

namespace cairn {

class AwsHome {
 public:
  AwsHome() {
    vars_["HOME"] = dir_.path();
    std::filesystem::create_directories(dir_.path() + "/.aws/sso/cache");
  }

  void config(std::string_view text) { write(".aws/config", text); }
  void credentials(std::string_view text) { write(".aws/credentials", text); }
  // Below the home directory; returns the whole path.
  std::string write(const std::string& name, std::string_view text) {
    REQUIRE(replace_file(posix_env(), path() + "/" + name, as_bytes(text)));
    return path() + "/" + name;
  }
  std::string read(const std::string& name) const {
    const auto bytes = read_file(posix_env(), path() + "/" + name, 1 << 20);
    return bytes ? to_string(*bytes) : std::string();
  }
  void set(const std::string& name, const std::string& value) { vars_[name] = value; }
  EnvVars vars() const {
    return [vars = vars_](std::string_view name) -> std::optional<std::string> {
      const auto it = vars.find(std::string(name));
      if (it == vars.end()) return std::nullopt;
      return it->second;
    };
  }
  std::string path() const { return dir_.path(); }

 private:
  TempDir dir_;
  std::map<std::string, std::string> vars_;
};

// No network: every request ends as when nobody listens.
class NoHttp final : public HttpClient {
 public:
  explicit NoHttp(Executor& executor) : executor_(executor) {}
  void send(HttpRequest /*request*/, Callback<HttpResponse> done) override {
    executor_.submit([done = std::move(done)] {
      done(tl::unexpected<Error>(
          Error(Errc::kTransient, "cannot connect: nobody listens").with_no_effect()));
    });
  }

 private:
  Executor& executor_;
};

inline Result<Credentials> get_keys(CredentialsProvider& provider) {
  auto answer = std::make_shared<std::promise<Result<Credentials>>>();
  provider.get({Deadline::after(system_clock(), std::chrono::seconds(30)), {}},
               [answer](Result<Credentials> keys) { answer->set_value(std::move(keys)); });
  return answer->get_future().get();
}

}  // namespace cairn
