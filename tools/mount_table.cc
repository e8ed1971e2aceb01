#include "tools/mount_table.h"

#include <sys/statvfs.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <set>
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
    words >> word >> word >> entry.device >> entry.root;
    entry.root = unescaped(entry.root);
    if (words >> word) entry.mountpoint = unescaped(word);
    while (words >> word && word != "-") continue;
    std::string source, options;
    if (!(words >> entry.type >> source >> options)) continue;
    entry.source = unescaped(source);
    entry.owner = owner_in(options);
    table.push_back(std::move(entry));
  }
  return table;
}

namespace {

Result<std::vector<MountEntry>> read_table(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (!file || !(text << file.rdbuf())) return fail(Errc::kIo, path + " is unreadable");
  return parse_mount_table(text.str());
}

std::string first_line_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string line;
  std::getline(file, line);
  return line;
}

// What tells mount namespaces apart; empty when it may not be seen.
std::string mount_namespace(const std::string& process) {
  std::array<char, 64> link{};
  const ssize_t n = ::readlink((process + "/ns/mnt").c_str(), link.data(), link.size());
  return n > 0 ? std::string(link.data(), static_cast<size_t>(n)) : "";
}

}  // namespace

Result<std::vector<MountEntry>> read_mount_table() {
  return read_table("/proc/self/mountinfo");
}

std::string places_of(const std::string& device) {
  constexpr size_t kPlacesMost = 5;
  std::vector<std::string> places;
  std::set<std::string> seen{mount_namespace("/proc/self")};
  const auto add = [&](const std::vector<MountEntry>& table, const std::string& who) {
    for (const MountEntry& entry : table)
      if (entry.device == device) places.push_back(who + "at " + entry.mountpoint);
  };
  if (const auto here = read_mount_table()) add(*here, "");
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
    if (places.size() >= kPlacesMost) break;
    const std::string name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const std::string process = "/proc/" + name;
    const std::string its = mount_namespace(process);
    if (!its.empty() && !seen.insert(its).second) continue;
    if (const auto table = read_table(process + "/mountinfo"))
      add(*table, "for process " + name + " (" + first_line_of(process + "/comm") + ") ");
  }
  std::string text;
  for (size_t i = 0; i < places.size(); ++i)
    text += (i == 0 ? "" : i + 1 == places.size() ? ", and " : ", ") + places[i];
  return text;
}

std::optional<MountEntry> mount_at(const std::vector<MountEntry>& table,
                                   std::string_view mountpoint) {
  for (auto entry = table.rbegin(); entry != table.rend(); ++entry)
    if (entry->mountpoint == mountpoint) return *entry;
  return std::nullopt;
}

bool is_dead(const std::string& mountpoint) {
  struct statvfs space{};
  return ::statvfs(mountpoint.c_str(), &space) != 0 && errno == ENOTCONN;
}

std::string dead_mount_text(const std::string& mountpoint) {
  return "the daemon of the mount " + mountpoint +
         " is gone; take the dead mount away with 'fusermount3 -uz " + mountpoint +
         "' and mount it again: what was not sent yet is sent then";
}

}  // namespace cairn
