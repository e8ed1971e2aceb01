#include "s3/credential_sources.h"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <atomic>
#include <mutex>
#include <utility>

#include "cache/base/legacy_digest.h"
#include "s3/curl_pool.h"
#include "s3/s3_store.h"
#include "s3/sigv4.h"
#include "tests/support/aws_home.h"
#include "tests/support/manual_clock.h"
#include "tests/support/scripted_server.h"

using namespace cairn;

namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kHour = 3600 * kSecond;

// Monotonic time as it is, a date that a test moves.
class MovableDate final : public Clock {
 public:
  MonotonicTime now() override { return system_clock().now(); }
  int64_t wall_ns() override { return 1'795'380'427 * kSecond + moved_; }
  void move(int64_t ns) { moved_ += ns; }

 private:
  std::atomic<int64_t> moved_{0};
};

std::string iso_time(int64_t wall_ns) {
  const std::string t = amz_timestamp(wall_ns);
  return fmt::format("{}-{}-{}:{}:{}", t.substr(0, 4), t.substr(4, 2), t.substr(6, 5),
                     t.substr(11, 2), t.substr(13));
}

// S3 and every service that hands out keys, on one loopback port. Keys are good for an hour; the
// n-th set has the token "tok<n>", and S3 takes nothing but the newest.
class Cloud {
 public:
  Cloud()
      : server_([this](const ScriptedRequest& r) { return ScriptedReply{.bytes = reply(r)}; }) {}

  std::string url() const { return server_.url(); }
  MovableDate& clock() { return clock_; }
  std::vector<ScriptedRequest> requests() const { return server_.requests(); }
  int issued() const { return issued_; }
  int late() const { return late_; }  // requests to S3 with keys that were good once
  int count(const std::string& part) const {
    int n = 0;
    for (const ScriptedRequest& r : requests())
      n += (r.target + " " + r.body).find(part) != std::string::npos ? 1 : 0;
    return n;
  }

  std::function<void(int)> on_part = [](int) {};  // before part n is answered
  // Answers instead of everything above; empty: not this one.
  std::function<std::string(const ScriptedRequest&)> instead;
  std::string process_output() { return process_json(issue()); }
  int64_t life = kHour;

 private:
  static bool has(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
  }
  static std::string header(const ScriptedRequest& r, const std::string& name) {
    const auto it = r.headers.find(name);
    return it == r.headers.end() ? "" : it->second;
  }

  int issue() {
    expires_ = clock_.wall_ns() + life;
    return ++issued_;
  }
  std::string process_json(int n) const {
    return fmt::format(
        R"({{"Version":1,"AccessKeyId":"ASIA{0}","SecretAccessKey":"sec{0}",)"
        R"("SessionToken":"tok{0}","Token":"tok{0}","Code":"Success","Expiration":"{1}"}})",
        n, iso_time(expires_));
  }
  std::string sts(const std::string& action) {
    const int n = issue();
    return http_reply(
        200, fmt::format("<{0}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">"
                         "<{0}Result><Credentials><AccessKeyId>ASIA{1}</AccessKeyId>"
                         "<SecretAccessKey>sec{1}</SecretAccessKey><SessionToken>tok{1}"
                         "</SessionToken><Expiration>{2}</Expiration></Credentials></{0}Result>"
                         "</{0}Response>",
                         action, n, iso_time(expires_)));
  }

  std::string reply(const ScriptedRequest& r) {
    const std::lock_guard lock(mutex_);
    if (instead) {
      std::string other = instead(r);
      if (!other.empty()) return other;
    }
    if (has(r.body, "Action=AssumeRole&"))
      return has(header(r, "authorization"), "/us-east-1/sts/aws4_request") ? sts("AssumeRole")
                                                                            : http_reply(403, "");
    if (has(r.body, "Action=AssumeRoleWithWebIdentity&"))
      return has(r.body, "WebIdentityToken=jwt") ? sts("AssumeRoleWithWebIdentity")
                                                 : http_reply(403, "");
    if (r.target == "/container?x=1")
      return header(r, "authorization") == "let me in" ? http_reply(200, process_json(issue()))
                                                       : http_reply(401, "{\"message\":\"no\"}");
    if (has(r.target, "/latest/")) return instance(r);
    if (has(r.target, "/federation/credentials")) return portal(r);
    if (r.target == "/token") return oidc(r);
    return s3(r);
  }

  std::string instance(const ScriptedRequest& r) {
    if (r.target == "/latest/api/token") {
      const bool good =
          r.method == "PUT" && header(r, "x-aws-ec2-metadata-token-ttl-seconds") == "21600";
      return good ? http_reply(200, "imds-token") : http_reply(400, "");
    }
    if (header(r, "x-aws-ec2-metadata-token") != "imds-token") return http_reply(401, "");
    const std::string base = "/latest/meta-data/iam/security-credentials/";
    if (r.target == base) return http_reply(200, "my-role\n");
    return r.target == base + "my-role" ? http_reply(200, process_json(issue()))
                                        : http_reply(404, "");
  }

  std::string portal(const ScriptedRequest& r) {
    if (r.target != "/federation/credentials?account_id=123&role_name=dev")
      return http_reply(403, R"({"message":"No access"})");
    if (header(r, "x-amz-sso_bearer_token") != access_token_)
      return http_reply(401, R"({"message":"Session token not found or invalid"})");
    const int n = issue();
    return http_reply(200, fmt::format(R"({{"roleCredentials":{{"accessKeyId":"ASIA{0}",)"
                                       R"("secretAccessKey":"sec{0}","sessionToken":"tok{0}",)"
                                       R"("expiration":{1}}}}})",
                                       n, expires_ / 1'000'000));
  }

  std::string oidc(const ScriptedRequest& r) {
    if (!has(r.body, R"("grantType":"refresh_token")") ||
        !has(r.body, R"("refreshToken":"refresh1")") || !has(r.body, R"("clientSecret":"cs")"))
      return http_reply(400, R"({"error":"invalid_grant","error_description":"used"})");
    access_token_ = "access2";
    return http_reply(200,
                      R"({"accessToken":"access2","expiresIn":28800,"refreshToken":"refresh2"})");
  }

  std::string s3(const ScriptedRequest& r) {
    if (header(r, "x-amz-security-token") != fmt::format("tok{}", issued_.load())) {
      ++late_;
      return http_reply(400, "<Error><Code>ExpiredToken</Code><Message>old</Message></Error>");
    }
    if (has(r.target, "?uploads="))
      return http_reply(200,
                        "<InitiateMultipartUploadResult><UploadId>u</UploadId>"
                        "</InitiateMultipartUploadResult>");
    if (has(r.target, "partNumber=")) {
      on_part(++parts_);
      return http_reply(200, "", fmt::format("ETag: \"p{}\"\r\n", parts_));
    }
    if (r.method == "POST")
      return http_reply(200,
                        "<CompleteMultipartUploadResult><ETag>\"whole\"</ETag>"
                        "</CompleteMultipartUploadResult>");
    return http_reply(200, "", "ETag: \"one\"\r\n");
  }

  MovableDate clock_;
  std::mutex mutex_;
  std::atomic<int> issued_{0};
  std::atomic<int> late_{0};
  int64_t expires_ = 0;
  int parts_ = 0;
  std::string access_token_ = "access1";
  ScriptedServer server_;  // last: it uses all of the above
};

// What a mount has: default credentials on a real HTTP client, and a bucket.
struct Client {
  explicit Client(Cloud& cloud, const AwsHome& home, std::optional<std::string> profile = {})
      : http(std::make_shared<CurlPool>(CurlOptions{}, executor, system_clock())) {
    AwsOverrides overrides;
    overrides.profile = std::move(profile);
    overrides.region = "us-east-1";
    CredentialDeps deps{posix_env(), executor, cloud.clock(), *rng, http};
    deps.policy.first_pause = std::chrono::milliseconds(1);
    deps.policy.pause_after_failure = std::chrono::milliseconds(1);
    deps.policy.failure_kept = Duration::zero();
    keys = make_default_credentials(home.vars(), overrides, deps);
    S3Settings settings;
    settings.endpoint_url = cloud.url();
    settings.bucket = "data";
    settings.multipart_threshold = 64;
    settings.part_size = 64;
    settings.parts_in_flight = 1;
    auto made = S3Store::make(settings, {http, keys, executor, cloud.clock(), *rng});
    REQUIRE_MESSAGE(made, made.error().message());
    store = *std::move(made);
  }
  Result<std::string> put(size_t bytes) {
    return put_sync(*store, "k", Body(Buffer::copy(std::string(bytes, 'x'))), PutCondition::kAlways,
                    {Deadline::after(system_clock(), std::chrono::seconds(60)), {}});
  }

  std::unique_ptr<Rng> rng = make_seeded_rng(3);
  ThreadExecutor executor{"creds-test", 2};
  std::shared_ptr<CurlPool> http;
  std::shared_ptr<CredentialsProvider> keys;
  std::unique_ptr<S3Store> store;
};

constexpr const char* kBaseKeys = "[base]\naws_access_key_id = AKBASE\naws_secret_access_key = b\n";
constexpr const char* kSsoProfile =
    "[profile p]\nsso_session = s\nsso_account_id = 123\nsso_role_name = dev\n"
    "[sso-session s]\nsso_start_url = https://start\nsso_region = us-east-1\n";

std::string token_file_name() {
  return ".aws/sso/cache/" + sha1_hex(as_bytes("s")) + ".json";
}

void write_sso_token(AwsHome& home, int64_t expires, const std::string& more = "") {
  home.write(token_file_name(), fmt::format(R"({{"startUrl":"https://start","region":"us-east-1",)"
                                            R"("accessToken":"access1","expiresAt":"{}"{}}})",
                                            iso_time(expires), more));
}

std::string refresh_fields(int64_t until) {
  return fmt::format(R"(,"clientId":"cid","clientSecret":"cs","registrationExpiresAt":"{}",)"
                     R"("refreshToken":"refresh1","mine":"kept")",
                     iso_time(until));
}

// Everything a source needs, on `cloud`; "p" is the profile, or the environment does it.
std::optional<std::string> set_up(const std::string& kind, Cloud& cloud, AwsHome& home) {
  home.set("AWS_ENDPOINT_URL", cloud.url());
  if (kind == "role") {
    home.credentials(kBaseKeys);
    home.config(
        "[profile p]\nrole_arn = arn:r\nsource_profile = base\nexternal_id = e&x\n"
        "duration_seconds = 3600\n");
    return "p";
  }
  if (kind == "web identity") {
    home.set("AWS_WEB_IDENTITY_TOKEN_FILE", home.write("token", "jwt\n"));
    home.set("AWS_ROLE_ARN", "arn:w");
    return std::nullopt;
  }
  if (kind == "container") {
    home.set("AWS_CONTAINER_CREDENTIALS_FULL_URI", cloud.url() + "/container?x=1");
    home.set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", home.write("auth", "let me in\n"));
    home.set("AWS_CONTAINER_AUTHORIZATION_TOKEN", "not this one");
    return std::nullopt;
  }
  if (kind == "instance") {
    home.set("AWS_EC2_METADATA_SERVICE_ENDPOINT", cloud.url() + "/");
    home.set("AWS_METADATA_SERVICE_TIMEOUT", "30");
    return std::nullopt;
  }
  if (kind == "sso") {
    home.config(kSsoProfile);
    write_sso_token(home, cloud.clock().wall_ns() + 10 * kHour);
    return "p";
  }
  // A process: it prints what the test wrote for its n-th run.
  const std::string script = home.write("keys.sh",
                                        "#!/bin/sh\nn=$(cat \"$0.n\" 2>/dev/null || echo 1)\n"
                                        "cat \"$0.$n\"\necho $((n + 1)) >\"$0.n\"\n");
  REQUIRE(::chmod(script.c_str(), 0700) == 0);
  home.write("keys.sh.1", cloud.process_output());
  home.config("[profile p]\ncredential_process = \"" + script + "\"\n");
  return "p";
}

}  // namespace

TEST_CASE("credentials of every source expire in the middle of an upload, which goes on") {
  for (const std::string kind :
       {"role", "web identity", "container", "instance", "sso", "process"}) {
    CAPTURE(kind);
    Cloud cloud;
    AwsHome home;
    const auto profile = set_up(kind, cloud, home);
    Client client(cloud, home, profile);
    // After the third part the keys are an hour old: the next request waits for new ones.
    cloud.on_part = [&](int part) {
      if (part != 3) return;
      cloud.clock().move(kHour + kSecond);
      if (kind == "process") home.write("keys.sh.2", cloud.process_output());
    };
    const auto etag = client.put(6 * 64);
    REQUIRE_MESSAGE(etag, etag.error().message());
    CHECK(*etag == "\"whole\"");
    CHECK(cloud.issued() == 2);
    CHECK(cloud.late() == 0);
    CHECK(cloud.count("partNumber=") == 6);
  }
}

TEST_CASE("keys that the store calls expired are replaced, whatever their date says") {
  Cloud cloud;
  AwsHome home;
  Client client(cloud, home, set_up("role", cloud, home));
  REQUIRE(client.put(1));
  (void)cloud.process_output();  // somebody else's newer keys: ours are refused from now on
  const auto etag = client.put(1);
  REQUIRE_MESSAGE(etag, etag.error().message());
  CHECK(cloud.late() == 1);
  CHECK(cloud.issued() == 3);
}

TEST_CASE("new keys are asked for ahead of time, once, while the old ones are in use") {
  Cloud cloud;
  AwsHome home;
  Client client(cloud, home, set_up("container", cloud, home));
  CHECK(get_keys(*client.keys)->access_key == "ASIA1");
  cloud.clock().move(kHour - 16 * 60 * kSecond);
  CHECK(get_keys(*client.keys)->access_key == "ASIA1");
  CHECK(cloud.issued() == 1);
  cloud.clock().move(2 * 60 * kSecond);  // 14 minutes left
  std::vector<std::string> seen;
  while (seen.empty() || seen.back() == "ASIA1") seen.push_back(get_keys(*client.keys)->access_key);
  CHECK(seen.front() == "ASIA1");
  CHECK(seen.back() == "ASIA2");
  CHECK(cloud.issued() == 2);
}

TEST_CASE("a service that fails leaves the old keys in use until they expire") {
  Cloud cloud;
  AwsHome home;
  std::atomic<bool> broken{false};
  std::atomic<int> refused{0};
  cloud.instead = [&](const ScriptedRequest& r) -> std::string {
    if (!broken || r.body.find("Action=") == std::string::npos) return "";
    ++refused;
    return http_reply(503,
                      "<ErrorResponse><Error><Code>ServiceUnavailable</Code></Error>"
                      "</ErrorResponse>");
  };
  Client client(cloud, home, set_up("web identity", cloud, home));
  REQUIRE(get_keys(*client.keys));
  broken = true;
  cloud.clock().move(kHour - 60 * kSecond);
  while (refused < 4) CHECK(get_keys(*client.keys)->access_key == "ASIA1");
  cloud.clock().move(61 * kSecond);
  const auto none = get_keys(*client.keys);
  REQUIRE_FALSE(none);
  CHECK(none.error().code() == Errc::kTransient);
  CHECK(none.error().message().find("ServiceUnavailable") != std::string::npos);
  broken = false;
  CHECK(get_keys(*client.keys)->access_key == "ASIA2");
}

TEST_CASE("many who need keys at once ask once") {
  Cloud cloud;
  AwsHome home;
  Client client(cloud, home, set_up("instance", cloud, home));
  std::vector<std::shared_ptr<std::promise<Result<Credentials>>>> answers;
  for (int i = 0; i < 20; ++i) {
    auto answer = std::make_shared<std::promise<Result<Credentials>>>();
    answers.push_back(answer);
    client.keys->get({},
                     [answer](Result<Credentials> keys) { answer->set_value(std::move(keys)); });
  }
  for (const auto& answer : answers) CHECK(answer->get_future().get()->access_key == "ASIA1");
  CHECK(cloud.issued() == 1);
  CHECK(cloud.count("/latest/api/token") == 1);
}

TEST_CASE("a request for keys ends with its own deadline, the refresh goes on") {
  test::ManualClock clock;
  ManualExecutor executor(clock);
  struct Slow final : CredentialSource {
    Callback<Credentials> waiting;
    void fetch(Context /*context*/, Callback<Credentials> done) override {
      waiting = std::move(done);
    }
    std::string description() const override { return "a slow service"; }
  };
  const auto source = std::make_shared<Slow>();
  const auto rng = make_seeded_rng(1);
  const auto keys = std::make_shared<RefreshingCredentials>(source, executor, clock, *rng);
  std::optional<Result<Credentials>> first;
  std::optional<Result<Credentials>> second;
  keys->get({Deadline::after(clock, std::chrono::seconds(5)), {}},
            [&](Result<Credentials> result) { first = std::move(result); });
  keys->get({}, [&](Result<Credentials> result) { second = std::move(result); });
  executor.run_all();
  clock.advance(std::chrono::seconds(6));
  executor.run_all();
  REQUIRE(first);
  CHECK(first->error().code() == Errc::kTimeout);
  CHECK_FALSE(second);
  Credentials found;
  found.access_key = "A";
  std::exchange(source->waiting, nullptr)(found);  // what waits owns the source that holds it
  executor.run_all();
  REQUIRE(second);
  CHECK((*second)->access_key == "A");
}

TEST_CASE("a chain of roles: each is asked for with the keys of the one before") {
  Cloud cloud;
  AwsHome home;
  home.set("AWS_ENDPOINT_URL_STS", cloud.url());
  home.credentials(kBaseKeys);
  home.config(
      "[profile outer]\nrole_arn = arn:outer\nsource_profile = inner\nrole_session_name = me\n"
      "[profile inner]\nrole_arn = arn:inner\nsource_profile = base\n");
  Client client(cloud, home, "outer");
  const auto keys = get_keys(*client.keys);
  REQUIRE_MESSAGE(keys, keys.error().message());
  CHECK(keys->access_key == "ASIA2");
  CHECK(keys->source.find("arn:outer") != std::string::npos);
  const auto sent = cloud.requests();
  REQUIRE(sent.size() == 2);
  CHECK(sent[0].body.find("RoleArn=arn%3Ainner") != std::string::npos);
  CHECK(sent[0].headers.at("authorization").find("Credential=AKBASE/") != std::string::npos);
  CHECK(sent[1].body.find("RoleArn=arn%3Aouter&RoleSessionName=me&") != std::string::npos);
  CHECK(sent[1].headers.at("authorization").find("Credential=ASIA1/") != std::string::npos);
  CHECK(sent[1].headers.at("x-amz-security-token") == "tok1");
}

TEST_CASE("what a role is asked for with") {
  Cloud cloud;
  AwsHome home;
  Client client(cloud, home, set_up("role", cloud, home));
  REQUIRE(get_keys(*client.keys));
  const std::string body = cloud.requests().at(0).body;
  CHECK(body.find("DurationSeconds=3600&ExternalId=e%26x&RoleArn=arn%3Ar") != std::string::npos);
  CHECK(body.find("RoleSessionName=cairn-") != std::string::npos);
}

TEST_CASE("services that refuse are quoted, and say whose profile it is") {
  const auto refusal = [](const std::string& kind, int status, const std::string& body) {
    Cloud cloud;
    AwsHome home;
    cloud.instead = [&](const ScriptedRequest&) { return http_reply(status, body); };
    Client client(cloud, home, set_up(kind, cloud, home));
    const auto keys = get_keys(*client.keys);
    REQUIRE_FALSE(keys);
    CHECK(keys.error().code() == Errc::kPermission);
    return keys.error().message();
  };
  const auto says = [](const std::string& text, std::string_view part) {
    CHECK_MESSAGE(text.find(part) != std::string::npos, text);
  };
  says(refusal("role", 403,
               "<ErrorResponse><Error><Code>AccessDenied</Code><Message>not you"
               "</Message></Error></ErrorResponse>"),
       "role arn:r (AWS profile 'p')");
  says(refusal("role", 403,
               "<ErrorResponse><Error><Code>AccessDenied</Code><Message>not you"
               "</Message></Error></ErrorResponse>"),
       "AccessDenied: not you");
  says(refusal("container", 403, R"({"message":"wrong token"})"), "wrong token");
  says(refusal("sso", 401, "{}"), "run 'aws sso login --profile p'");
  says(refusal("sso", 403, R"({"message":"No access"})"), "No access");
  says(refusal("instance", 400, ""), "no S3 credentials");
}

TEST_CASE("an instance's service of the old kind is asked without a token, unless that is off") {
  for (const bool off : {false, true}) {
    Cloud cloud;
    AwsHome home;
    if (off) home.set("AWS_EC2_METADATA_V1_DISABLED", "true");
    cloud.instead = [&](const ScriptedRequest& r) -> std::string {
      if (r.method == "PUT") return http_reply(404, "");
      if (r.headers.contains("x-aws-ec2-metadata-token")) return http_reply(401, "");
      if (r.target.ends_with("/")) return http_reply(200, "my-role");
      return http_reply(200, cloud.process_output());
    };
    Client client(cloud, home, set_up("instance", cloud, home));
    CHECK(get_keys(*client.keys).has_value() == !off);
  }
}

TEST_CASE("an SSO session near its end is refreshed, and the AWS CLI finds the new token") {
  Cloud cloud;
  AwsHome home;
  const auto profile = set_up("sso", cloud, home);
  const int64_t now = cloud.clock().wall_ns();
  write_sso_token(home, now + 60 * kSecond, refresh_fields(now + kHour));
  Client client(cloud, home, profile);
  const auto keys = get_keys(*client.keys);
  REQUIRE_MESSAGE(keys, keys.error().message());
  CHECK(cloud.count("/token") == 1);
  const std::string file = home.read(token_file_name());
  for (const char* part : {R"("accessToken":"access2")", R"("refreshToken":"refresh2")",
                           R"("mine":"kept")", R"("clientId":"cid")"})
    CHECK_MESSAGE(file.find(part) != std::string::npos, file);
  CHECK(file.find(iso_time(now + 8 * kHour)) != std::string::npos);
}

TEST_CASE("an SSO session that is over names the command that begins one") {
  Cloud cloud;
  AwsHome home;
  const auto profile = set_up("sso", cloud, home);
  const int64_t now = cloud.clock().wall_ns();
  Client client(cloud, home, profile);
  const auto message = [&] {
    const auto keys = get_keys(*client.keys);
    REQUIRE_FALSE(keys);
    CHECK(keys.error().code() == Errc::kPermission);
    return keys.error().message();
  };
  write_sso_token(home, now - 1);
  CHECK(message().find("expired: run 'aws sso login --profile p'") != std::string::npos);
  // A refresh token that is used up, a registration that is over.
  std::string used = refresh_fields(now + kHour);
  used.replace(used.find("refresh1"), 8, "refresh0");
  write_sso_token(home, now - 1, used);
  CHECK(message().find("expired: run 'aws sso login --profile p'") != std::string::npos);
  write_sso_token(home, now - 1, refresh_fields(now - 1));
  CHECK(message().find("expired: run 'aws sso login --profile p'") != std::string::npos);
  home.write(token_file_name(), "{}");
  CHECK(message().find("accessToken is missing: run 'aws sso login") != std::string::npos);
  REQUIRE(posix_env().remove(home.path() + "/" + token_file_name()));
  CHECK(message().find("there is no SSO session for AWS profile 'p'") != std::string::npos);
  // After the login the same provider goes on: no remount.
  write_sso_token(home, now + 10 * kHour);
  CHECK(get_keys(*client.keys)->access_key == "ASIA1");
}

TEST_CASE("a credential process that fails is quoted by its first line") {
  Cloud cloud;
  AwsHome home;
  const std::string script =
      home.write("broken.sh", "#!/bin/sh\necho 'the vault is locked' >&2\necho more >&2\nexit 7\n");
  REQUIRE(::chmod(script.c_str(), 0700) == 0);
  home.config("[profile p]\ncredential_process = " + script + "\n[profile gone]\n" +
              "credential_process = /no/such/program\n");
  Client client(cloud, home, "p");
  const auto keys = get_keys(*client.keys);
  REQUIRE_FALSE(keys);
  CHECK(keys.error().code() == Errc::kPermission);
  CHECK(keys.error().message().find("ended with status 7: the vault is locked") !=
        std::string::npos);
  CHECK(keys.error().message().find("more") == std::string::npos);
  Client gone(cloud, home, "gone");
  CHECK(get_keys(*gone.keys).error().message().find("/no/such/program") != std::string::npos);
}

TEST_CASE("a profile that changes is followed, one that says the same keeps its keys") {
  Cloud cloud;
  AwsHome home;
  Client client(cloud, home, set_up("role", cloud, home));
  CHECK(get_keys(*client.keys)->access_key == "ASIA1");
  home.credentials(std::string(kBaseKeys) + "[other]\naws_access_key_id = X\n");
  CHECK(get_keys(*client.keys)->access_key == "ASIA1");
  home.config("[profile p]\naws_access_key_id = AKNOW\naws_secret_access_key = s\n");
  CHECK(get_keys(*client.keys)->access_key == "AKNOW");
  CHECK(cloud.issued() == 1);
}
