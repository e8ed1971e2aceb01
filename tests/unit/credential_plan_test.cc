#include "s3/credential_plan.h"

#include <doctest/doctest.h>

#include "cache/base/digest.h"
#include "cache/base/legacy_digest.h"
#include "cache/base/process.h"
#include "s3/credential_json.h"
#include "tests/support/aws_home.h"

using namespace cairn;

namespace {

Result<CredentialPlan> plan(const AwsHome& home, const std::string& profile = "default",
                            bool is_explicit = false) {
  const auto files = read_aws_files(posix_env(), aws_paths(home.vars()));
  REQUIRE(files);
  return plan_credentials(*files, home.vars(), profile, is_explicit);
}

template <class T>
T planned(const AwsHome& home, const std::string& profile = "default", bool is_explicit = false) {
  const auto found = plan(home, profile, is_explicit);
  REQUIRE_MESSAGE(found, found.error().message());
  REQUIRE(std::holds_alternative<T>(found->how));
  return std::get<T>(found->how);
}

std::string refusal(const AwsHome& home, const std::string& profile) {
  const auto found = plan(home, profile, true);
  REQUIRE_FALSE(found);
  return found.error().message();
}

bool says(const std::string& text, std::string_view part) {
  if (text.find(part) != std::string::npos) return true;
  MESSAGE(text);
  return false;
}

constexpr const char* kKeys = "aws_access_key_id = AK\naws_secret_access_key = s\n";

}  // namespace

TEST_CASE("plan: the order of the AWS CLI") {
  AwsHome home;
  // From the last to the first: each one added goes before those that are there.
  CHECK(planned<InstanceKeys>(home).endpoint == "http://169.254.169.254");
  home.set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/x");
  CHECK(planned<ContainerKeys>(home).url == "http://169.254.170.2/v2/x");
  const std::string keys = std::string("[default]\n") + kKeys;
  home.config(keys);
  CHECK(planned<StaticKeys>(home).keys.source.find("config") != std::string::npos);
  home.config(keys + "credential_process = /bin/x 'a b'\n");
  CHECK(planned<ProcessKeys>(home).command == std::vector<std::string>{"/bin/x", "a b"});
  home.credentials(std::string("[default]\n") + kKeys);
  CHECK(planned<StaticKeys>(home).keys.source.find("credentials") != std::string::npos);
  home.config(keys + "sso_account_id = 1\nsso_role_name = r\nsso_start_url = u\nsso_region = e\n");
  CHECK(planned<SsoKeys>(home).account_id == "1");
  home.set("AWS_WEB_IDENTITY_TOKEN_FILE", "/token");
  home.set("AWS_ROLE_ARN", "arn:web");
  CHECK(planned<WebIdentityKeys>(home).role_arn == "arn:web");
  home.config("[default]\nrole_arn = arn:role\nsource_profile = default\n");
  CHECK(planned<AssumedRole>(home).role_arn == "arn:role");
  home.set("AWS_ACCESS_KEY_ID", "AKENV");
  home.set("AWS_SECRET_ACCESS_KEY", "e");
  CHECK(planned<StaticKeys>(home).keys.access_key == "AKENV");
  // A profile named by the command line takes the environment out.
  CHECK(planned<AssumedRole>(home, "default", true).role_arn == "arn:role");
  home.config("[profile web]\nweb_identity_token_file = /t2\nrole_arn = arn:t2\n");
  const auto web = planned<WebIdentityKeys>(home, "web", true);
  CHECK(web.token_file == "/t2");
  CHECK(web.role_arn == "arn:t2");
}

TEST_CASE("plan: roles, whose keys ask for them, and what they say") {
  AwsHome home;
  home.credentials(std::string("[base]\n") + kKeys);
  home.config(
      "[profile outer]\nrole_arn = arn:outer\nsource_profile = inner\nexternal_id = ext\n"
      "role_session_name = me\nduration_seconds = 900\n"
      "[profile inner]\nrole_arn = arn:inner\nsource_profile = base\n"
      "[profile itself]\nrole_arn = arn:itself\nsource_profile = itself\n"
      "aws_access_key_id = OWN\naws_secret_access_key = s\n"
      "[profile env]\nrole_arn = arn:env\ncredential_source = Environment\n"
      "[profile ec2]\nrole_arn = arn:ec2\ncredential_source = Ec2InstanceMetadata\n"
      "[profile ecs]\nrole_arn = arn:ecs\ncredential_source = EcsContainer\n");
  const auto outer = planned<AssumedRole>(home, "outer", true);
  CHECK(outer.external_id == "ext");
  CHECK(outer.session_name == "me");
  CHECK(outer.duration_seconds == 900);
  const auto& inner = std::get<AssumedRole>(outer.base.at(0).how);
  CHECK(inner.role_arn == "arn:inner");
  CHECK(std::get<StaticKeys>(inner.base.at(0).how).keys.access_key == "AK");
  const auto itself = planned<AssumedRole>(home, "itself", true);
  CHECK(std::get<StaticKeys>(itself.base.at(0).how).keys.access_key == "OWN");
  CHECK(says(refusal(home, "env"), "AWS_ACCESS_KEY_ID is not set"));
  home.set("AWS_ACCESS_KEY_ID", "AKENV");
  home.set("AWS_SECRET_ACCESS_KEY", "e");
  const auto env = planned<AssumedRole>(home, "env", true);
  CHECK(std::get<StaticKeys>(env.base.at(0).how).keys.access_key == "AKENV");
  const auto ec2 = planned<AssumedRole>(home, "ec2", true);
  CHECK(std::holds_alternative<InstanceKeys>(ec2.base.at(0).how));
  home.set("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://localhost:8080/k?v=1");
  home.set("AWS_CONTAINER_AUTHORIZATION_TOKEN", "auth");
  const auto ecs = planned<AssumedRole>(home, "ecs", true);
  CHECK(std::get<ContainerKeys>(ecs.base.at(0).how).url == "http://localhost:8080/k?v=1");
  CHECK(planned<AssumedRole>(home, "outer", true) == outer);
  CHECK_FALSE(planned<AssumedRole>(home, "ecs", true) == outer);
}

TEST_CASE("plan: what cannot be used is one sentence that names profile and setting") {
  AwsHome home;
  home.set("AWS_EC2_METADATA_DISABLED", "true");
  home.config(
      "[profile mfa]\nrole_arn = a\nsource_profile = x\nmfa_serial = m\n"
      "[profile both]\nrole_arn = a\nsource_profile = x\ncredential_source = Environment\n"
      "[profile neither]\nrole_arn = a\n"
      "[profile gone]\nrole_arn = a\nsource_profile = nowhere\n"
      "[profile odd]\nrole_arn = a\ncredential_source = Moon\n"
      "[profile c1]\nrole_arn = a\nsource_profile = c2\n"
      "[profile c2]\nrole_arn = a\nsource_profile = c1\n"
      "[profile selfish]\nrole_arn = a\nsource_profile = selfish\n"
      "[profile empty]\nregion = r\n"
      "[profile onempty]\nrole_arn = a\nsource_profile = empty\n"
      "[profile long]\nrole_arn = a\nsource_profile = empty\nduration_seconds = 12\n"
      "[profile sso]\nsso_session = missing\nsso_account_id = 1\nsso_role_name = r\n"
      "[profile sso2]\nsso_account_id = 1\nsso_role_name = r\nsso_region = e\n"
      "[profile sso3]\nsso_session = s\nsso_account_id = 1\nsso_role_name = r\nsso_region = other\n"
      "[sso-session s]\nsso_start_url = https://s\nsso_region = e\n"
      "[profile login]\nlogin_session = l\n"
      "[profile web]\nweb_identity_token_file = /t\n"
      "[profile quote]\ncredential_process = /bin/x 'open\n"
      "[profile half]\naws_access_key_id = A\n");
  CHECK(says(refusal(home, "mfa"), "MFA code (mfa_serial), which a mount cannot ask for"));
  CHECK(says(refusal(home, "mfa"), "export-credentials --profile mfa"));
  CHECK(says(refusal(home, "both"), "both source_profile and credential_source"));
  CHECK(says(refusal(home, "neither"), "neither source_profile nor credential_source"));
  CHECK(says(refusal(home, "gone"), "'nowhere', which is not there"));
  CHECK(says(refusal(home, "odd"), "must be Environment, Ec2InstanceMetadata or EcsContainer"));
  CHECK(says(refusal(home, "c1"), "lead in a circle"));
  CHECK(says(refusal(home, "selfish"), "its own source_profile but has no keys"));
  CHECK(says(refusal(home, "onempty"), "source_profile 'empty' of AWS profile 'onempty' has no"));
  CHECK(says(refusal(home, "long"), "duration_seconds of AWS profile 'long' must be a number"));
  CHECK(says(refusal(home, "sso"), "sso_session 'missing'"));
  CHECK(says(refusal(home, "sso2"), "has no sso_start_url"));
  CHECK(says(refusal(home, "sso3"), "sso_region of AWS profile 'sso3' differs"));
  CHECK(says(refusal(home, "login"), "'aws login'"));
  CHECK(says(refusal(home, "web"), "set AWS_ROLE_ARN or role_arn"));
  CHECK(says(refusal(home, "quote"), "a quote that is not closed"));
  CHECK(says(refusal(home, "half"), "no aws_secret_access_key"));
  CHECK(says(refusal(home, "empty"), "no S3 credentials"));
}

TEST_CASE("plan: where keys may be asked for without TLS") {
  for (const char* url :
       {"http://127.0.0.1:80/x", "http://127.9.9.9", "http://localhost:1234/a?b=c",
        "http://[::1]:8080/", "http://169.254.170.2/v2", "http://169.254.170.23",
        "http://[fd00:ec2::23]:80/v1", "https://anywhere.example/x"})
    CHECK_MESSAGE(check_container_url(url), url);
  for (const char* url :
       {"http://example.com/x", "http://127.example.com", "http://169.254.169.254",
        "http://127.0.0.1.evil.example", "http://localhost.evil.example", "ftp://127.0.0.1",
        "127.0.0.1/x", "http://evil@127.0.0.1/"})
    CHECK_FALSE_MESSAGE(check_container_url(url), url);
  AwsHome home;
  home.set("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://example.com/x");
  CHECK(says(plan(home).error().message(), "plain http only on this machine"));
}

TEST_CASE("plan: the SSO token file's name is what the AWS CLI makes of the session") {
  CHECK(sha1_hex(as_bytes("abc")) == "a9993e364706816aba3e25717850c26c9cd0d89d");
  CHECK(to_base64(md5(as_bytes("abc"))) == "kAFQmDzST7DWlj99KOF/cg==");
  AwsHome home;
  home.config(
      "[profile new]\nsso_session = my-sso\nsso_account_id = 1\nsso_role_name = r\n"
      "[sso-session my-sso]\nsso_start_url = https://s\nsso_region = e\n"
      "[profile old]\nsso_start_url = https://d.example/start\nsso_region = e\n"
      "sso_account_id = 1\nsso_role_name = r\n");
  CHECK(planned<SsoKeys>(home, "new", true).token_path ==
        home.path() + "/.aws/sso/cache/" + sha1_hex(as_bytes("my-sso")) + ".json");
  CHECK(planned<SsoKeys>(home, "old", true).token_path ==
        home.path() + "/.aws/sso/cache/" + sha1_hex(as_bytes("https://d.example/start")) + ".json");
}

TEST_CASE("commands are split as a shell does it, and nothing is expanded") {
  const auto words = [](std::string_view text) {
    return split_command(text).value_or(std::vector<std::string>{"refused"});
  };
  using Words = std::vector<std::string>;
  CHECK(words("a  b\tc") == Words{"a", "b", "c"});
  CHECK(words("'a b' \"c d\" e' 'f") == Words{"a b", "c d", "e f"});
  CHECK(words("a\\ b \"x\\\"y\\z\" '\\n'") == Words{"a b", "x\"y\\z", "\\n"});
  CHECK(words("$HOME * ''") == Words{"$HOME", "*", ""});
  CHECK(words("  ").empty());
  CHECK(words("'open") == Words{"refused"});
}

TEST_CASE("times as services write them") {
  const int64_t at = 1'795'380'427'000'000'000;  // 2026-11-22T20:47:07Z
  for (const char* text :
       {"2026-11-22T20:47:07Z", "2026-11-22T20:47:07UTC", "2026-11-22T20:47:07+00:00",
        "2026-11-22T22:17:07+01:30", "2026-11-22T15:47:07-0500"})
    CHECK_MESSAGE(parse_timestamp(text).value_or(0) == at, text);
  CHECK(parse_timestamp("2026-11-22T20:47:07.500+00:00").value_or(0) == at + 500'000'000);
  for (const char* text :
       {"", "tomorrow", "2026-11-22", "2026-11-22T20:47:07", "2026-11-22T20:47:07+1"})
    CHECK_FALSE_MESSAGE(parse_timestamp(text), text);
}

TEST_CASE("answers in JSON: what is missing is named, no value is shown") {
  const auto process = [](std::string_view json) {
    return parse_process_credentials(as_bytes(json));
  };
  const auto good =
      process(R"({"Version":1,"AccessKeyId":"A","SecretAccessKey":"s","SessionToken":"t",)"
              R"("Expiration":"2026-11-22T20:47:07Z","More":[]})");
  REQUIRE(good);
  CHECK(good->session_token.reveal() == "t");
  CHECK(good->expires_wall_ns == 1'795'380'427'000'000'000);
  CHECK(process(R"({"Version":1,"AccessKeyId":"A","SecretAccessKey":"s"})")->expires_wall_ns == 0);
  for (const char* json :
       {"", "[]", "secretsecret", R"({"AccessKeyId":"A","SecretAccessKey":"secretsecret"})",
        R"({"Version":2,"AccessKeyId":"A","SecretAccessKey":"secretsecret"})",
        R"({"Version":1,"AccessKeyId":"secretsecret"})",
        R"({"Version":1,"AccessKeyId":"A\r\nX: y","SecretAccessKey":"secretsecret"})",
        R"({"Version":1,"AccessKeyId":"A","SecretAccessKey":"s","Expiration":"secretsecret"})"}) {
    const auto bad = process(json);
    REQUIRE_FALSE_MESSAGE(bad, json);
    CHECK(bad.error().message().find("secretsecret") == std::string::npos);
  }
  const auto refused = parse_metadata_credentials(
      as_bytes(R"({"Code":"AssumeRoleUnauthorizedAccess","Message":"no trust"})"));
  REQUIRE_FALSE(refused);
  CHECK(says(refused.error().message(), "AssumeRoleUnauthorizedAccess: no trust"));
  const auto sso = parse_sso_credentials(
      as_bytes(R"({"roleCredentials":{"accessKeyId":"A","secretAccessKey":"s",)"
               R"("sessionToken":"t","expiration":1795380427000}})"));
  REQUIRE(sso);
  CHECK(sso->expires_wall_ns == 1'795'380'427'000'000'000);
  CHECK_FALSE(parse_sso_credentials(as_bytes(R"({"roleCredentials":{"accessKeyId":"A"}})")));
}

TEST_CASE("a process: output, status, arguments, time limit") {
  const auto run = [](std::vector<std::string> command, Duration limit = std::chrono::seconds(20)) {
    return run_process(command, {Deadline::after(system_clock(), limit), {}}, system_clock(), 100);
  };
  const auto echo = run({"sh", "-c", "printf '%s' \"$1\"; echo bad >&2; exit 3", "sh", "a b"});
  REQUIRE(echo);
  CHECK(to_string(echo->output) == "a b");
  CHECK(echo->complaint == "bad\n");
  CHECK(echo->exit_status == 3);
  CHECK(run({"sh", "-c", "kill -9 $$"})->exit_status == 128 + 9);
  CHECK(run({"/no/such/program"}).error().code() == Errc::kNotFound);
  CHECK(run({"sh", "-c", "yes | head -c 1000"}).error().code() == Errc::kIo);
  CHECK(run({"sleep", "1000"}, std::chrono::milliseconds(50)).error().code() == Errc::kTimeout);
  // Neither our descriptors nor our standard input reach it.
  CHECK(to_string(run({"sh", "-c", "cat; ls /proc/self/fd | wc -l"})->output) == "4\n");
}
