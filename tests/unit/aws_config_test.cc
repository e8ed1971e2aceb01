#include "s3/aws_config.h"

#include <doctest/doctest.h>
#include <stdlib.h>

#include <fmt/format.h>

#include <filesystem>
#include <future>
#include <type_traits>

#include "cache/base/env.h"
#include "cache/base/executor.h"
#include "s3/credentials.h"

using namespace cairn;

namespace {

// A home directory with AWS files, and an environment that only the test sees.
class Home {
 public:
  Home() {
    std::string name = std::filesystem::temp_directory_path() / "cairn-aws-XXXXXX";
    REQUIRE(::mkdtemp(name.data()) != nullptr);
    path_ = name;
    vars_["HOME"] = path_;
    std::filesystem::create_directory(path_ + "/.aws");
  }
  ~Home() { std::filesystem::remove_all(path_); }
  Home(const Home&) = delete;
  Home& operator=(const Home&) = delete;

  void config(std::string_view text) { write("config", text); }
  void credentials(std::string_view text) { write("credentials", text); }
  void set(const std::string& name, const std::string& value) { vars_[name] = value; }
  EnvVars vars() const {
    return [vars = vars_](std::string_view name) -> std::optional<std::string> {
      const auto it = vars.find(std::string(name));
      if (it == vars.end()) return std::nullopt;
      return it->second;
    };
  }
  std::string path() const { return path_; }

 private:
  void write(const std::string& name, std::string_view text) {
    REQUIRE(replace_file(posix_env(), path_ + "/.aws/" + name, as_bytes(text)));
  }
  std::string path_;
  std::map<std::string, std::string> vars_;
};

Result<Credentials> get(CredentialsProvider& provider) {
  std::promise<Result<Credentials>> answer;
  provider.get(Context{}, [&](Result<Credentials> keys) { answer.set_value(std::move(keys)); });
  return answer.get_future().get();
}

constexpr std::string_view kTwoProfiles =
    "[default]\naws_access_key_id = AKDEFAULT\naws_secret_access_key = s1\n"
    "[dev]\naws_access_key_id=AKDEV\naws_secret_access_key=s2 # kept = as it is\n"
    "aws_session_token = t2\n";

}  // namespace

TEST_CASE("a secret cannot be formatted and is wiped") {
  static_assert(!fmt::is_formattable<Secret>::value);
  std::string text = "a secret that is longer than the small buffer";
  const char* where = text.data();
  const size_t length = text.size();
  wipe(text);
  CHECK(text.empty());
  CHECK(std::string(where, length) == std::string(length, '\0'));
  Secret a("one");
  Secret b = std::move(a);
  CHECK(b.reveal() == "one");
  CHECK(a.empty());
}

TEST_CASE("AWS files: sections, comments, blocks") {
  const auto file = parse_aws_ini(
      "# comment\r\n; another\r\n\r\n[default]\r\nregion = eu-west-1\r\n"
      "[profile \"my dev\"]\ns3 =\n  addressing_style = path\n  # inside\n  endpoint_url=http://x\n"
      "Output: json\nlong = first\n   second line = of it\n[profile   "
      "spaced]\na=b=c\n[default]\nx=1",
      "config");
  REQUIRE(file);
  CHECK(file->at("default").text("region") == "eu-west-1");
  CHECK(file->at("default").text("x") == "1");
  const AwsSection& dev = file->at("profile my dev");
  CHECK(dev.block_text("s3", "addressing_style") == "path");
  CHECK(dev.block_text("s3", "endpoint_url") == "http://x");
  CHECK(dev.text("output") == "json");
  CHECK(dev.text("long") == "first");
  CHECK_FALSE(dev.text("second line"));
  CHECK(file->at("profile spaced").text("a") == "b=c");
}

TEST_CASE("AWS files that cannot be read are refused by line, without showing it") {
  for (const char* text : {"key = v", "[open", "[]", "[a] b", "[a]\nsecretsecret", "[a]\n= v",
                           "[a]\n  indented = v", "  x = 1\n[a]", "[a]\nb =\n  secretsecret"}) {
    const auto file = parse_aws_ini(text, "the-file");
    REQUIRE_FALSE(file);
    CHECK(file.error().code() == Errc::kInvalid);
    CHECK(file.error().message().starts_with("the-file line "));
    CHECK(file.error().message().find("secretsecret") == std::string::npos);
  }
  CHECK_FALSE(parse_aws_ini(std::string_view("[a]\nb=\0", 8), "f"));
}

TEST_CASE("settings: command line before environment before profile before default") {
  Home home;
  const auto resolve = [&](const AwsOverrides& overrides = {}) {
    auto out = resolve_aws_settings(posix_env(), home.vars(), overrides);
    REQUIRE(out);
    return *out;
  };
  CHECK(resolve().region == "us-east-1");
  CHECK(resolve().profile == "default");
  CHECK(resolve().endpoint_url.empty());
  CHECK_FALSE(resolve().path_style.has_value());

  home.config(
      "[default]\nregion = eu-central-1\nendpoint_url = http://all\n"
      "[profile dev]\nservices = local\ns3 =\n  addressing_style = virtual\nca_bundle = /ca.pem\n"
      "[services local]\ns3 =\n  endpoint_url = http://services\n");
  CHECK(resolve().region == "eu-central-1");
  CHECK(resolve().endpoint_url == "http://all");
  home.set("AWS_PROFILE", "dev");
  CHECK(resolve().endpoint_url == "http://services");
  CHECK(resolve().path_style == false);
  CHECK(resolve().ca_bundle == "/ca.pem");
  CHECK_FALSE(resolve().profile_is_explicit);
  home.set("AWS_DEFAULT_REGION", "r1");
  CHECK(resolve().region == "r1");
  home.set("AWS_REGION", "r2");
  CHECK(resolve().region == "r2");
  home.set("AWS_ENDPOINT_URL", "http://env");
  CHECK(resolve().endpoint_url == "http://env");
  home.set("AWS_ENDPOINT_URL_S3", "http://env-s3");
  CHECK(resolve().endpoint_url == "http://env-s3");
  home.set("AWS_CA_BUNDLE", "/env.pem");
  CHECK(resolve().ca_bundle == "/env.pem");
  home.set("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true");
  CHECK(resolve().endpoint_url.empty());

  AwsOverrides all;
  all.profile = "default";
  all.region = "r3";
  all.endpoint_url = "http://cli";
  all.ca_bundle = "/cli.pem";
  all.force_path_style = true;
  const AwsSettings out = resolve(all);
  CHECK(out.profile == "default");
  CHECK(out.profile_is_explicit);
  CHECK(out.region == "r3");
  CHECK(out.endpoint_url == "http://cli");
  CHECK(out.ca_bundle == "/cli.pem");
  CHECK(out.path_style == true);

  home.set("AWS_PROFILE", "missing");
  const auto missing = resolve_aws_settings(posix_env(), home.vars(), {});
  REQUIRE_FALSE(missing);
  CHECK(missing.error().message().find("'missing'") != std::string::npos);
}

TEST_CASE("credentials: environment, then the profile, unless the command line names one") {
  Home home;
  home.credentials(kTwoProfiles);
  ThreadExecutor executor("aws-test", 1);
  const auto fresh = [&](std::optional<std::string> profile) {
    return get(*make_default_credentials(posix_env(), home.vars(), std::move(profile), executor));
  };
  CHECK(fresh(std::nullopt)->access_key == "AKDEFAULT");
  const auto dev = fresh("dev");
  REQUIRE(dev);
  CHECK(dev->access_key == "AKDEV");
  CHECK(dev->secret_key.reveal() == "s2 # kept = as it is");
  CHECK(dev->session_token.reveal() == "t2");
  home.set("AWS_PROFILE", "dev");
  CHECK(fresh(std::nullopt)->access_key == "AKDEV");

  home.set("AWS_ACCESS_KEY_ID", "AKENV");
  const auto half = fresh(std::nullopt);
  REQUIRE_FALSE(half);
  CHECK(half.error().code() == Errc::kPermission);
  CHECK(half.error().message().find("AWS_SECRET_ACCESS_KEY is not") != std::string::npos);
  home.set("AWS_SECRET_ACCESS_KEY", "s3");
  home.set("AWS_SESSION_TOKEN", "t3");
  CHECK(fresh(std::nullopt)->access_key == "AKENV");
  CHECK(fresh(std::nullopt)->session_token.reveal() == "t3");
  CHECK(fresh("default")->access_key == "AKDEFAULT");
}

TEST_CASE("credentials: keys may stand in the config file too, the other file goes first") {
  Home home;
  home.config(
      "[profile a]\naws_access_key_id = C\naws_secret_access_key = c\n"
      "[profile dev]\naws_access_key_id = C\naws_secret_access_key = c\n");
  home.credentials(kTwoProfiles);
  ThreadExecutor executor("aws-test", 1);
  CHECK(get(*make_default_credentials(posix_env(), home.vars(), "a", executor))->access_key == "C");
  CHECK(get(*make_default_credentials(posix_env(), home.vars(), "dev", executor))->access_key ==
        "AKDEV");
}

TEST_CASE("credentials that change on disk are used from the next request on") {
  Home home;
  home.credentials(kTwoProfiles);
  ThreadExecutor executor("aws-test", 1);
  const auto provider = make_default_credentials(posix_env(), home.vars(), std::nullopt, executor);
  CHECK(get(*provider)->access_key == "AKDEFAULT");
  home.credentials("[default]\naws_access_key_id = AKROTATED\naws_secret_access_key = n\n");
  CHECK(get(*provider)->access_key == "AKROTATED");
  home.credentials("[default\n");  // half written: the last good ones stay in use
  CHECK(get(*provider)->access_key == "AKROTATED");
  home.credentials("[default]\naws_access_key_id = AKTHIRD\naws_secret_access_key = n\n");
  CHECK(get(*provider)->access_key == "AKTHIRD");
}

TEST_CASE("missing and unsupported credentials are one sentence that says what to do") {
  Home home;
  ThreadExecutor executor("aws-test", 1);
  const auto message = [&](std::optional<std::string> profile = std::nullopt) {
    const auto keys =
        get(*make_default_credentials(posix_env(), home.vars(), std::move(profile), executor));
    REQUIRE_FALSE(keys);
    CHECK(keys.error().code() == Errc::kPermission);
    return keys.error().message();
  };
  CHECK(message().find("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") != std::string::npos);
  CHECK(message().find("--no-sign-request") != std::string::npos);
  CHECK(message("nope").find("no AWS profile 'nope'") != std::string::npos);
  home.config(
      "[profile role]\nrole_arn = arn:x\nsource_profile = default\naws_access_key_id = A\n"
      "aws_secret_access_key = b\n[profile sso]\nsso_session = s\n"
      "[profile proc]\ncredential_process = /bin/x\n[profile half]\naws_access_key_id = A\n");
  CHECK(message("role").find("an assumed role (role_arn)") != std::string::npos);
  CHECK(message("sso").find("SSO") != std::string::npos);
  CHECK(message("sso").find("export-credentials --profile sso") != std::string::npos);
  CHECK(message("proc").find("credential_process") != std::string::npos);
  CHECK(message("half").find("no aws_secret_access_key") != std::string::npos);
  home.set("AWS_WEB_IDENTITY_TOKEN_FILE", "/t");
  CHECK(message().find("AWS_WEB_IDENTITY_TOKEN_FILE") != std::string::npos);
  CHECK(masked_key("AKIAIOSFODNN7EXAMPLE") == "AKIA...MPLE");
  CHECK(masked_key("short") == "sh...");
}
