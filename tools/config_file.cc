#include "tools/config_file.h"

#include <fmt/format.h>

#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

namespace cairn {

namespace {

constexpr uint64_t kLargestFile = 1U << 20;
constexpr const char* kTable = "filter";

Result<std::string> as_typed(const toml::node& node) {
  if (const auto text = node.value_exact<std::string>()) return *text;
  if (const auto number = node.value_exact<int64_t>()) return std::to_string(*number);
  if (const auto number = node.value_exact<double>()) return fmt::format("{}", *number);
  if (const auto yes = node.value_exact<bool>()) return std::string(*yes ? "true" : "false");
  return fail(Errc::kInvalid, "must be a text, a number, true or false");
}

// One value, or each of a list.
Status take(const std::string& key, const toml::node& node, uint32_t line, const std::string& path,
            std::vector<ConfigEntry>& entries) {
  const auto add = [&](const toml::node& value, uint32_t at, bool in_list) -> Status {
    auto text = as_typed(value);
    if (!text)
      return fail(Errc::kInvalid,
                  fmt::format("{}:{}: {} {}", path, at, key, text.error().message()));
    entries.push_back({key, *std::move(text), at, in_list});
    return {};
  };
  const toml::array* list = node.as_array();
  if (list == nullptr) return add(node, line, false);
  for (const toml::node& each : *list) TRY(add(each, each.source().begin.line, true));
  return {};
}

}  // namespace

Result<std::vector<ConfigEntry>> parse_config(std::string_view text, const std::string& path) {
  const toml::parse_result parsed = toml::parse(text, path);
  if (!parsed) {
    const std::string what(parsed.error().description());
    // What is said twice is written as it should be.
    const bool is_twice = what.find("redefin") != std::string::npos;
    return fail(
        Errc::kInvalid,
        fmt::format("{}:{}: {}; {}", path, parsed.error().source().begin.line, what,
                    is_twice ? "say it once" : "write name = \"text\", also for sizes and times"));
  }
  std::vector<ConfigEntry> entries;
  const std::string table = kTable;
  for (const auto& [key, node] : parsed.table()) {
    if (key.str() != table || !node.is_table()) {
      TRY(take(std::string(key.str()), node, key.source().begin.line, path, entries));
      continue;
    }
    for (const auto& [name, value] : *node.as_table())
      TRY(take(table + "-" + std::string(name.str()), value, name.source().begin.line, path,
               entries));
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
