#include "tools/mount_table.h"

#include <charconv>
#include <fstream>
#include <sstream>

namespace cairn {

namespace {

bool is_octal(char c) {
  return c >= '0' && c <= '7';
}

// Blanks, line ends and backslashes are written as \ooo.
std::string unescaped(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() && is_octal(text[i + 1]) && is_octal(text[i + 2]) &&
        is_octal(text[i + 3])) {
      out.push_back(static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                                      (text[i + 3] - '0')));
      i += 3;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

uid_t owner_in(std::string_view options) {
  constexpr std::string_view kKey = "user_id=";
  const size_t at = options.find(kKey);
  uid_t owner = 0;
  if (at != std::string_view::npos)
    std::from_chars(options.data() + at + kKey.size(), options.data() + options.size(), owner);
  return owner;
}

}  // namespace

// 36 35 98:0 /root /mountpoint rw,noatime master:1 - type source options
std::vector<MountEntry> parse_mount_table(std::string_view text) {
  std::vector<MountEntry> table;
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string word;
    MountEntry entry;
    for (int i = 0; i < 5 && words >> word; ++i) entry.mountpoint = unescaped(word);
    while (words >> word && word != "-") continue;
    std::string source, options;
    if (!(words >> entry.type >> source >> options)) continue;
    entry.source = unescaped(source);
    entry.owner = owner_in(options);
    table.push_back(std::move(entry));
  }
  return table;
}

Result<std::vector<MountEntry>> read_mount_table() {
  std::ifstream file("/proc/self/mountinfo", std::ios::binary);
  std::ostringstream text;
  if (!file || !(text << file.rdbuf()))
    return fail(Errc::kIo, "/proc/self/mountinfo is unreadable");
  return parse_mount_table(text.str());
}

std::optional<MountEntry> mount_at(const std::vector<MountEntry>& table,
                                   std::string_view mountpoint) {
  for (auto entry = table.rbegin(); entry != table.rend(); ++entry)
    if (entry->mountpoint == mountpoint) return *entry;
  return std::nullopt;
}

std::string dead_mount_text(const std::string& mountpoint) {
  return "the daemon of the mount " + mountpoint +
         " is gone; take the dead mount away with 'fusermount3 -uz " + mountpoint +
         "' and mount it again: what was not sent yet is sent then";
}

}  // namespace cairn
