#include "s3/aws_config.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include "cache/base/env.h"
#include "cache/base/executor.h"
#include "tests/support/aws_home.h"

using namespace cairn;

namespace {

using Home = AwsHome;

std::shared_ptr<CredentialsProvider> default_keys(const Home& home, Executor& executor,
                                                  std::optional<std::string> profile = {}) {
  AwsOverrides overrides;
  overrides.profile = std::move(profile);
  return make_default_credentials(
      home.vars(), overrides,
      {posix_env(), executor, system_clock(), os_rng(), std::make_shared<NoHttp>(executor)});
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
    return get_keys(*default_keys(home, executor, std::move(profile)));
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
  CHECK(get_keys(*default_keys(home, executor, "a"))->access_key == "C");
  CHECK(get_keys(*default_keys(home, executor, "dev"))->access_key == "AKDEV");
}

TEST_CASE("credentials that change on disk are used from the next request on") {
  Home home;
  home.credentials(kTwoProfiles);
  ThreadExecutor executor("aws-test", 1);
  const auto provider = default_keys(home, executor);
  CHECK(get_keys(*provider)->access_key == "AKDEFAULT");
  home.credentials("[default]\naws_access_key_id = AKROTATED\naws_secret_access_key = n\n");
  CHECK(get_keys(*provider)->access_key == "AKROTATED");
  home.credentials("[default\n");  // half written: the last good ones stay in use
  CHECK(get_keys(*provider)->access_key == "AKROTATED");
  home.credentials("[default]\naws_access_key_id = AKTHIRD\naws_secret_access_key = n\n");
  CHECK(get_keys(*provider)->access_key == "AKTHIRD");
}

TEST_CASE("missing credentials are one sentence that says what to do") {
  Home home;
  ThreadExecutor executor("aws-test", 1);
  const auto message = [&](std::optional<std::string> profile = std::nullopt) {
    const auto keys = get_keys(*default_keys(home, executor, std::move(profile)));
    REQUIRE_FALSE(keys);
    CHECK(keys.error().code() == Errc::kPermission);
    return keys.error().message();
  };
  CHECK(message().find("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") != std::string::npos);
  CHECK(message().find("169.254.169.254") != std::string::npos);
  home.set("AWS_EC2_METADATA_DISABLED", "true");
  CHECK(message().find("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") != std::string::npos);
  CHECK(message().find("169.254.169.254") == std::string::npos);
  CHECK(message().find("--no-sign-request") != std::string::npos);
  CHECK(message("nope").find("no AWS profile 'nope'") != std::string::npos);
  CHECK(masked_key("AKIAIOSFODNN7EXAMPLE") == "AKIA...MPLE");
  CHECK(masked_key("short") == "sh...");
}

TEST_CASE("settings: how a bucket is addressed, dual stack, endpoints of other services") {
  Home home;
  home.config(
      "[default]\nservices = here\ns3 =\n  addressing_style = path\n"
      "  use_dualstack_endpoint = true\n"
      "[services here]\nsts =\n  endpoint_url = http://sts-here\n");
  const auto resolve = [&](const AwsOverrides& overrides = {}) {
    return resolve_aws_settings(posix_env(), home.vars(), overrides);
  };
  CHECK(resolve()->path_style == true);
  CHECK(resolve()->dual_stack);
  AwsOverrides virtual_style;
  virtual_style.addressing_style = "virtual";
  CHECK(resolve(virtual_style)->path_style == false);
  AwsOverrides automatic;
  automatic.addressing_style = "auto";
  CHECK_FALSE(resolve(automatic)->path_style.has_value());
  virtual_style.force_path_style = true;
  CHECK(resolve(virtual_style).error().message().find("exclude") != std::string::npos);

  const auto files = read_aws_files(posix_env(), aws_paths(home.vars()));
  REQUIRE(files);
  const auto url = [&](const char* service) {
    return aws_service_url(*files, home.vars(), "default", service);
  };
  CHECK(url("sts") == "http://sts-here");
  CHECK(url("sso").empty());
  home.set("AWS_ENDPOINT_URL_SSO_OIDC", "http://oidc-env");
  CHECK(url("sso_oidc") == "http://oidc-env");
  home.set("AWS_ENDPOINT_URL", "http://all-env");
  CHECK(url("sts") == "http://all-env");
  CHECK(url("sso_oidc") == "http://oidc-env");
  CHECK_FALSE(resolve()->dual_stack);  // an endpoint URL says where to go
  AwsOverrides both;
  both.dual_stack = true;
  CHECK(resolve(both).error().message().find("--dual-stack") != std::string::npos);
}
