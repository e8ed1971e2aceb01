#include "tools/config_file.h"

#include <fmt/format.h>

#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

namespace cairn {

namespace {

constexpr uint64_t kLargestFile = 1U << 20;

Result<std::string> as_typed(const toml::node& node) {
  if (const auto text = node.value_exact<std::string>()) return *text;
  if (const auto number = node.value_exact<int64_t>()) return std::to_string(*number);
  if (const auto number = node.value_exact<double>()) return fmt::format("{}", *number);
  if (const auto yes = node.value_exact<bool>()) return std::string(*yes ? "true" : "false");
  return fail(Errc::kInvalid, "must be a text, a number, true or false");
}

}  // namespace

Result<std::vector<ConfigEntry>> parse_config(std::string_view text, const std::string& path) {
  const toml::parse_result parsed = toml::parse(text, path);
  if (!parsed)
    return fail(Errc::kInvalid,
                fmt::format("{}:{}: {}; write name = \"text\", also for sizes and times", path,
                            parsed.error().source().begin.line, parsed.error().description()));
  std::vector<ConfigEntry> entries;
  for (const auto& [key, node] : parsed.table()) {
    ConfigEntry entry{std::string(key.str()), {}, key.source().begin.line};
    auto value = as_typed(node);
    if (!value)
      return fail(Errc::kInvalid, fmt::format("{}:{}: {} {}", path, entry.line, entry.key,
                                              value.error().message()));
    entry.value = std::move(*value);
    entries.push_back(std::move(entry));
  }
  return entries;
}

Result<std::vector<ConfigEntry>> read_config(Env& env, const std::string& path) {
  auto bytes = read_file(env, path, kLargestFile);
  if (!bytes) return tl::unexpected<Error>(std::move(bytes).error().wrap("configuration file"));
  return parse_config(std::string_view(reinterpret_cast<const char*>(bytes->data()), bytes->size()),
                      path);
}

}  // namespace cairn
