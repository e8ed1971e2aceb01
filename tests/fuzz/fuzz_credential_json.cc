// What services that hand out keys could answer: no crash, nothing of a value in a message, and
// keys that fit into a header.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "s3/credential_json.h"

using namespace cairn;

namespace {

void check(const Result<Credentials>& keys) {
  if (!keys) {
    if (keys.error().message().find("zqsecret") != std::string::npos) std::abort();
    return;
  }
  if (keys->access_key.empty() || keys->secret_key.empty()) std::abort();
  for (const std::string_view text :
       {std::string_view(keys->access_key), keys->session_token.reveal()})
    if (text.find_first_of(std::string_view("\r\n\0", 3)) != std::string_view::npos) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const Bytes input(reinterpret_cast<const std::byte*>(data), size);
  check(parse_process_credentials(input));
  check(parse_sso_credentials(input));
  // A refusal's own words are shown, so they are not looked at for a secret.
  if (const auto keys = parse_metadata_credentials(input)) check(keys);
  (void)parse_timestamp(as_chars(input));
  for (const char c : json_refusal(input))
    if (static_cast<unsigned char>(c) < 0x20) std::abort();
  const auto token = parse_sso_token(input);
  if (!token) return 0;
  // What is written back says the same again.
  if (const auto file = replace_sso_token(input, *token)) {
    const auto again = parse_sso_token(as_bytes(file->reveal()));
    const bool in_years = token->expires_wall_ns > 0;
    if (in_years && (!again || !(again->access_token == token->access_token))) std::abort();
  }
  (void)format_token_request(*token);
  (void)parse_token_answer(input, *token, 1'700'000'000'000'000'000);
  return 0;
}
