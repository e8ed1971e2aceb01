#include "s3/credential_json.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "s3/s3_error.h"
#include "s3/s3_xml.h"
#include "s3/sigv4.h"

namespace cairn {

namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMaxJsonBytes = 256 << 10;
constexpr size_t kMaxTextBytes = 64 << 10;
constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kMaxLifetimeSeconds = 10LL * 366 * 86400;

tl::unexpected<Error> unusable(std::string_view what, std::string_view why) {
  return fail(Errc::kIo, fmt::format("{} is no usable answer: {}", what, why));
}

Result<Json> load(Bytes text, std::string_view what) {
  if (text.size() > kMaxJsonBytes) return unusable(what, "it is too long");
  Json json = Json::parse(as_chars(text), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return unusable(what, "it is not a JSON object");
  return json;
}

std::string text_of(const Json& json, const char* name) {
  const auto it = json.find(name);
  if (it == json.end() || !it->is_string()) return {};
  const auto& text = it->get_ref<const std::string&>();
  return text.size() > kMaxTextBytes ? std::string() : text;
}

// These go into HTTP headers: what would break one is refused where it comes from.
Result<std::string> header_text(const Json& json, const char* name, std::string_view what) {
  std::string text = text_of(json, name);
  if (text.empty()) return unusable(what, fmt::format("{} is missing", name));
  for (const char c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      return unusable(what, fmt::format("{} has control characters in it", name));
  return text;
}

struct KeyNames {
  const char* id;
  const char* secret;
  const char* token;
};

Result<Credentials> keys_of(const Json& json, const KeyNames& names, std::string_view what) {
  Credentials out;
  TRY_ASSIGN(out.access_key, header_text(json, names.id, what));
  TRY_ASSIGN(std::string secret, header_text(json, names.secret, what));
  out.secret_key = Secret(std::move(secret));
  if (json.contains(names.token) && !json.at(names.token).is_null()) {
    TRY_ASSIGN(std::string token, header_text(json, names.token, what));
    out.session_token = Secret(std::move(token));
  }
  return out;
}

Result<int64_t> time_of(const Json& json, const char* name, std::string_view what) {
  auto time = parse_timestamp(text_of(json, name));
  if (!time) return unusable(what, fmt::format("{} is not a time", name));
  return time;
}

std::string utc_text(int64_t wall_ns) {
  const std::string compact = amz_timestamp(wall_ns);  // 20261122T204707Z
  return fmt::format("{}-{}-{}:{}:{}", compact.substr(0, 4), compact.substr(4, 2),
                     compact.substr(6, 5), compact.substr(11, 2), compact.substr(13));
}

}  // namespace

Result<int64_t> parse_timestamp(std::string_view text) {
  if (text.ends_with("UTC")) {
    return parse_iso8601(std::string(text.substr(0, text.size() - 3)) + "Z");
  }
  // An offset: +hh:mm or -hhmm behind the time.
  const size_t sign = text.find_last_of("+-");
  if (text.ends_with('Z') || sign == std::string_view::npos || sign < 19)
    return parse_iso8601(text);
  std::string digits;
  for (const char c : text.substr(sign + 1))
    if (c != ':') digits.push_back(c);
  if (digits.size() != 4 || digits.find_first_not_of("0123456789") != std::string::npos)
    return unusable("a time", "its offset is malformed");
  const int minutes =
      (digits[0] * 10 + digits[1] - '0' * 11) * 60 + (digits[2] * 10 + digits[3] - '0' * 11);
  TRY_ASSIGN(const int64_t local, parse_iso8601(std::string(text.substr(0, sign)) + "Z"));
  const int64_t offset = minutes * 60 * kSecond;
  int64_t out = 0;
  if (text[sign] == '+' ? __builtin_sub_overflow(local, offset, &out)
                        : __builtin_add_overflow(local, offset, &out))
    return unusable("a time", "it is out of range");
  return out;
}

Result<Credentials> parse_process_credentials(Bytes json) {
  constexpr std::string_view kWhat = "what the credential process printed";
  TRY_ASSIGN(const Json doc, load(json, kWhat));
  const auto version = doc.find("Version");
  if (version == doc.end() || !version->is_number_integer() || *version != 1)
    return unusable(kWhat, "Version is not 1");
  TRY_ASSIGN(Credentials out,
             keys_of(doc, {"AccessKeyId", "SecretAccessKey", "SessionToken"}, kWhat));
  if (doc.contains("Expiration") && !doc.at("Expiration").is_null()) {
    TRY_ASSIGN(out.expires_wall_ns, time_of(doc, "Expiration", kWhat));
  }
  return out;
}

Result<Credentials> parse_metadata_credentials(Bytes json) {
  constexpr std::string_view kWhat = "what the metadata service says";
  TRY_ASSIGN(const Json doc, load(json, kWhat));
  const std::string code = text_of(doc, "Code");
  if (!code.empty() && code != "Success")
    return fail(Errc::kPermission, fmt::format("it refuses ({}: {})", printable(code),
                                               printable(text_of(doc, "Message"))));
  TRY_ASSIGN(Credentials out, keys_of(doc, {"AccessKeyId", "SecretAccessKey", "Token"}, kWhat));
  if (doc.contains("Expiration") && !doc.at("Expiration").is_null()) {
    TRY_ASSIGN(out.expires_wall_ns, time_of(doc, "Expiration", kWhat));
  }
  return out;
}

Result<Credentials> parse_sso_credentials(Bytes json) {
  constexpr std::string_view kWhat = "what the SSO portal says";
  TRY_ASSIGN(const Json doc, load(json, kWhat));
  const auto inner = doc.find("roleCredentials");
  if (inner == doc.end() || !inner->is_object())
    return unusable(kWhat, "roleCredentials is missing");
  TRY_ASSIGN(Credentials out,
             keys_of(*inner, {"accessKeyId", "secretAccessKey", "sessionToken"}, kWhat));
  const auto expires = inner->find("expiration");
  if (expires == inner->end() || !expires->is_number_unsigned() ||
      expires->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX / 1'000'000))
    return unusable(kWhat, "expiration is not a time in milliseconds");
  out.expires_wall_ns = static_cast<int64_t>(expires->get<uint64_t>()) * 1'000'000;
  return out;
}

Result<SsoToken> parse_sso_token(Bytes json) {
  constexpr std::string_view kWhat = "the SSO token file";
  TRY_ASSIGN(const Json doc, load(json, kWhat));
  SsoToken out;
  TRY_ASSIGN(std::string token, header_text(doc, "accessToken", kWhat));
  out.access_token = Secret(std::move(token));
  TRY_ASSIGN(out.expires_wall_ns, time_of(doc, "expiresAt", kWhat));
  out.refresh_token = Secret(text_of(doc, "refreshToken"));
  out.client_id = text_of(doc, "clientId");
  out.client_secret = Secret(text_of(doc, "clientSecret"));
  if (const auto expires = parse_timestamp(text_of(doc, "registrationExpiresAt")))
    out.client_expires_wall_ns = *expires;
  return out;
}

Secret format_token_request(const SsoToken& token) {
  Json json;
  json["clientId"] = token.client_id;
  json["clientSecret"] = std::string(token.client_secret.reveal());
  json["grantType"] = "refresh_token";
  json["refreshToken"] = std::string(token.refresh_token.reveal());
  return Secret(json.dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace));
}

Result<SsoToken> parse_token_answer(Bytes json, const SsoToken& old, int64_t now_wall_ns) {
  constexpr std::string_view kWhat = "what the SSO service says";
  TRY_ASSIGN(const Json doc, load(json, kWhat));
  SsoToken out = old;
  TRY_ASSIGN(std::string token, header_text(doc, "accessToken", kWhat));
  out.access_token = Secret(std::move(token));
  const auto lifetime = doc.find("expiresIn");
  if (lifetime == doc.end() || !lifetime->is_number_unsigned() ||
      lifetime->get<uint64_t>() > static_cast<uint64_t>(kMaxLifetimeSeconds))
    return unusable(kWhat, "expiresIn is not a number of seconds");
  out.expires_wall_ns = now_wall_ns + static_cast<int64_t>(lifetime->get<uint64_t>()) * kSecond;
  if (std::string next = text_of(doc, "refreshToken"); !next.empty())
    out.refresh_token = Secret(std::move(next));
  return out;
}

Result<Secret> replace_sso_token(Bytes file, const SsoToken& token) {
  TRY_ASSIGN(Json doc, load(file, "the SSO token file"));
  doc["accessToken"] = std::string(token.access_token.reveal());
  doc["expiresAt"] = utc_text(token.expires_wall_ns);
  doc["refreshToken"] = std::string(token.refresh_token.reveal());
  return Secret(doc.dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace));
}

std::string json_refusal(Bytes json) {
  const auto doc = load(json, "");
  if (!doc) return {};
  std::string out;
  for (const char* name : {"error", "code", "Code", "__type"})
    if (out.empty()) out = text_of(*doc, name);
  for (const char* name : {"error_description", "message", "Message"}) {
    const std::string words = text_of(*doc, name);
    if (words.empty()) continue;
    out += (out.empty() ? "" : ": ") + words;
    break;
  }
  return printable(out);
}

}  // namespace cairn
