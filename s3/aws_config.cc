#include "s3/aws_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>

namespace cairn {

namespace {

constexpr uint64_t kMaxFileBytes = 1 << 20;

bool blank(char c) {
  return c == ' ' || c == '\t' || c == '\r';
}

std::string_view trim(std::string_view s) {
  while (!s.empty() && blank(s.front())) s.remove_prefix(1);
  while (!s.empty() && blank(s.back())) s.remove_suffix(1);
  return s;
}

// [profile "my name"] is [profile my name].
std::string section_name(std::string_view inside) {
  std::string out;
  for (const char c : trim(inside))
    if (c != '"' && c != '\'') out.push_back(c == '\t' ? ' ' : c);
  std::string squeezed;
  for (const char c : out)
    if (c != ' ' || (!squeezed.empty() && squeezed.back() != ' ')) squeezed.push_back(c);
  while (!squeezed.empty() && squeezed.back() == ' ') squeezed.pop_back();
  return squeezed;
}

class IniParser {
 public:
  explicit IniParser(const std::string& name) : name_(name) {}

  Status add_line(std::string_view line) {
    ++number_;
    const std::string_view content = trim(line);
    if (content.empty() || content.front() == '#' || content.front() == ';') return {};
    if (blank(line.front())) return add_indented(content);
    block_ = nullptr;
    return content.front() == '[' ? add_section(content) : add_value(content);
  }

  AwsIniFile take() { return std::move(file_); }

 private:
  tl::unexpected<Error> bad(std::string_view what) const {
    return fail(Errc::kInvalid, fmt::format("{} line {}: {}", name_, number_, what));
  }

  Status add_section(std::string_view content) {
    const size_t end = content.find(']');
    if (end == std::string_view::npos) return bad("a section name lacks its ']'");
    const std::string_view rest = trim(content.substr(end + 1));
    if (!rest.empty() && rest.front() != '#' && rest.front() != ';')
      return bad("something follows the ']' of a section name");
    const std::string name = section_name(content.substr(1, end - 1));
    if (name.empty()) return bad("a section has no name");
    section_ = &file_[name];  // a section that comes again goes on
    last_key_.clear();
    return {};
  }

  Status add_value(std::string_view content) {
    if (section_ == nullptr) return bad("a setting stands before the first [section]");
    const size_t at = content.find_first_of("=:");
    if (at == std::string_view::npos || at == 0) return bad("expected 'name = value'");
    last_key_ = ascii_lower(trim(content.substr(0, at)));
    const std::string_view value = trim(content.substr(at + 1));
    section_->values[last_key_] = Secret(std::string(value));
    if (value.empty()) block_ = &section_->blocks[last_key_];
    return {};
  }

  // A line of a block, or (after a name with a value) more of that value, which none of the
  // settings we read has.
  Status add_indented(std::string_view content) {
    if (section_ == nullptr) return bad("an indented line stands before the first [section]");
    if (last_key_.empty()) return bad("an indented line does not belong to a setting");
    if (block_ == nullptr) return {};
    const size_t at = content.find_first_of("=:");
    if (at == std::string_view::npos || at == 0) return bad("expected 'name = value'");
    (*block_)[ascii_lower(trim(content.substr(0, at)))] = std::string(trim(content.substr(at + 1)));
    return {};
  }

  const std::string& name_;
  size_t number_ = 0;
  AwsIniFile file_;
  AwsSection* section_ = nullptr;
  std::map<std::string, std::string>* block_ = nullptr;
  std::string last_key_;
};

const AwsSection* section_of(const AwsIniFile& file, const std::string& name) {
  const auto it = file.find(name);
  return it == file.end() ? nullptr : &it->second;
}

Result<AwsIniFile> read_ini(Env& env, const std::string& path) {
  if (path.empty()) return AwsIniFile{};
  auto bytes = read_file(env, path, kMaxFileBytes);
  if (!bytes) {
    if (bytes.error().code() == Errc::kNotFound) return AwsIniFile{};
    return tl::unexpected<Error>(std::move(bytes).error());
  }
  auto parsed = parse_aws_ini(as_chars(*bytes), path);
  if (!bytes->empty()) ::explicit_bzero(bytes->data(), bytes->size());
  return parsed;
}

bool is_true(const std::optional<std::string>& text) {
  return text && ascii_lower(*text) == "true";
}

// endpoint_url for a service as the profile says it: in its [services] section, or for every
// service.
std::optional<std::string> profile_endpoint(const AwsFiles& files, const AwsSection& profile,
                                            const std::string& service) {
  if (const auto services = profile.text("services")) {
    const AwsSection* section = section_of(files.config, "services " + *services);
    if (section != nullptr)
      if (auto url = section->block_text(service, "endpoint_url")) return url;
  }
  if (auto url = profile.block_text(service, "endpoint_url")) return url;
  return profile.text("endpoint_url");
}

const AwsSection& section_or_none(const AwsSection* section) {
  static const AwsSection kNone;
  return section == nullptr ? kNone : *section;
}

Result<std::optional<bool>> path_style_of(const std::optional<std::string>& style,
                                          const char* where) {
  if (!style || ascii_lower(*style) == "auto") return std::optional<bool>();
  if (ascii_lower(*style) == "path") return std::optional<bool>(true);
  if (ascii_lower(*style) == "virtual") return std::optional<bool>(false);
  return fail(Errc::kInvalid, fmt::format("{} must be auto, path or virtual", where));
}

Result<std::optional<bool>> chosen_path_style(const AwsOverrides& overrides,
                                              const AwsSection& profile) {
  if (overrides.force_path_style && overrides.addressing_style == "virtual")
    return fail(Errc::kInvalid,
                "--force-path-style and --addressing-style virtual exclude each "
                "other");
  if (overrides.force_path_style) return std::optional<bool>(true);
  if (overrides.addressing_style)
    return path_style_of(overrides.addressing_style, "--addressing-style");
  return path_style_of(profile.block_text("s3", "addressing_style"),
                       "s3 addressing_style of the AWS profile");
}

bool chosen_dual_stack(const EnvVars& vars, const AwsOverrides& overrides,
                       const AwsSection& profile) {
  if (overrides.dual_stack) return true;
  if (const auto said = non_empty(vars, "AWS_USE_DUALSTACK_ENDPOINT")) return is_true(said);
  return is_true(profile.block_text("s3", "use_dualstack_endpoint")) ||
         is_true(profile.text("use_dualstack_endpoint"));
}

}  // namespace

std::optional<std::string> non_empty(const EnvVars& vars, std::string_view name) {
  auto value = vars(name);
  if (value && value->empty()) return std::nullopt;
  return value;
}

std::string ascii_lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

EnvVars process_env_vars() {
  return [](std::string_view name) -> std::optional<std::string> {
    const char* value = std::getenv(std::string(name).c_str());
    if (value == nullptr) return std::nullopt;
    return std::string(value);
  };
}

const Secret* AwsSection::find(const std::string& name) const {
  const auto it = values.find(name);
  return it == values.end() || it->second.empty() ? nullptr : &it->second;
}

std::optional<std::string> AwsSection::text(const std::string& name) const {
  const Secret* value = find(name);
  if (value == nullptr) return std::nullopt;
  return std::string(value->reveal());
}

std::optional<std::string> AwsSection::block_text(const std::string& block,
                                                  const std::string& name) const {
  const auto it = blocks.find(block);
  if (it == blocks.end()) return std::nullopt;
  const auto value = it->second.find(name);
  if (value == it->second.end() || value->second.empty()) return std::nullopt;
  return value->second;
}

Result<AwsIniFile> parse_aws_ini(std::string_view text, const std::string& name) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);  // some editors put it there
  if (text.find('\0') != std::string_view::npos)
    return fail(Errc::kInvalid, name + " is not a text file");
  IniParser parser(name);
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    if (!line.empty()) {
      TRY(parser.add_line(line));
    } else {
      TRY(parser.add_line(" "));  // counted
    }
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return parser.take();
}

AwsPaths aws_paths(const EnvVars& vars) {
  const std::string home = vars("HOME").value_or("");
  const auto path = [&](std::string_view variable, const char* standard) -> std::string {
    if (auto named = non_empty(vars, variable)) {
      if (named->starts_with("~/")) return home + named->substr(1);
      return *named;
    }
    return home.empty() ? std::string() : home + standard;
  };
  return {path("AWS_CONFIG_FILE", "/.aws/config"),
          path("AWS_SHARED_CREDENTIALS_FILE", "/.aws/credentials")};
}

const AwsSection* AwsFiles::config_profile(const std::string& profile) const {
  if (const AwsSection* section = section_of(config, "profile " + profile)) return section;
  return profile == "default" ? section_of(config, "default") : nullptr;
}

const AwsSection* AwsFiles::credentials_profile(const std::string& profile) const {
  return section_of(credentials, profile);
}

bool AwsFiles::has_profile(const std::string& profile) const {
  return config_profile(profile) != nullptr || credentials_profile(profile) != nullptr;
}

Result<AwsFiles> read_aws_files(Env& env, const AwsPaths& paths) {
  AwsFiles files;
  files.paths = paths;
  TRY_ASSIGN(files.config, read_ini(env, paths.config));
  TRY_ASSIGN(files.credentials, read_ini(env, paths.credentials));
  return files;
}

std::pair<std::string, bool> aws_profile_name(const EnvVars& vars,
                                              const std::optional<std::string>& overridden) {
  if (overridden && !overridden->empty()) return {*overridden, true};
  if (auto named = non_empty(vars, "AWS_PROFILE")) return {*named, false};
  if (auto named = non_empty(vars, "AWS_DEFAULT_PROFILE")) return {*named, false};
  return {"default", false};
}

Result<AwsSettings> resolve_aws_settings(Env& env, const EnvVars& vars,
                                         const AwsOverrides& overrides) {
  AwsSettings out;
  std::tie(out.profile, out.profile_is_explicit) = aws_profile_name(vars, overrides.profile);
  TRY_ASSIGN(const AwsFiles files, read_aws_files(env, aws_paths(vars)));
  if (!files.has_profile(out.profile) && out.profile != "default")
    return fail(Errc::kInvalid,
                fmt::format("there is no AWS profile '{}' in {} or {}; 'aws configure "
                            "list-profiles' shows which there are",
                            out.profile, files.paths.config, files.paths.credentials));
  const AwsSection& profile = section_or_none(files.config_profile(out.profile));

  const auto first = [](std::initializer_list<std::optional<std::string>> choices) {
    for (const auto& choice : choices)
      if (choice && !choice->empty()) return *choice;
    return std::string();
  };
  out.region = first({overrides.region, vars("AWS_REGION"), vars("AWS_DEFAULT_REGION"),
                      profile.text("region"), "us-east-1"});
  out.endpoint_url = first({overrides.endpoint_url});
  if (out.endpoint_url.empty()) out.endpoint_url = aws_service_url(files, vars, out.profile, "s3");
  out.ca_bundle = first({overrides.ca_bundle, vars("AWS_CA_BUNDLE"), profile.text("ca_bundle")});
  TRY_ASSIGN(out.path_style, chosen_path_style(overrides, profile));
  out.dual_stack = chosen_dual_stack(vars, overrides, profile);
  if (!out.endpoint_url.empty()) {
    if (overrides.dual_stack)
      return fail(Errc::kInvalid,
                  "--dual-stack chooses among the endpoints of AWS; leave it out "
                  "or give no endpoint URL");
    out.dual_stack = false;
  }
  return out;
}

std::string aws_service_url(const AwsFiles& files, const EnvVars& vars,
                            const std::string& profile_name, const std::string& service) {
  const AwsSection& profile = section_or_none(files.config_profile(profile_name));
  if (is_true(vars("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")) ||
      is_true(profile.text("ignore_configured_endpoint_urls")))
    return {};
  std::string variable = "AWS_ENDPOINT_URL_";
  for (const char c : service)
    variable.push_back(static_cast<char>(std::toupper(static_cast<unsigned char>(c))));
  if (auto url = non_empty(vars, variable)) return *url;
  if (auto url = non_empty(vars, "AWS_ENDPOINT_URL")) return *url;
  return profile_endpoint(files, profile, service).value_or("");
}

}  // namespace cairn
