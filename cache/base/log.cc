#include "cache/base/log.h"

#include <fcntl.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/rotating_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <map>
#include <memory>
#include <mutex>

namespace cairn {

namespace {

constexpr const char* kPattern = "%Y-%m-%d %H:%M:%S.%e %l %v";

spdlog::level::level_enum native(LogLevel level) {
  switch (level) {
    case LogLevel::kTrace:
      return spdlog::level::trace;
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarn:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
    case LogLevel::kOff:
      return spdlog::level::off;
  }
  return spdlog::level::info;
}

std::shared_ptr<spdlog::logger> make_logger(const spdlog::sink_ptr& sink) {
  auto made = std::make_shared<spdlog::logger>("cairn", sink);
  made->set_pattern(kPattern);
  made->set_level(spdlog::level::info);
  made->flush_on(spdlog::level::info);
  return made;
}

std::shared_ptr<spdlog::logger>& logger() {
  static auto instance = make_logger(std::make_shared<spdlog::sinks::stderr_sink_mt>());
  return instance;
}

struct Topic {
  MonotonicTime last_logged;
  uint64_t swallowed = 0;
};
std::mutex topics_mutex;  // of all simulated processes, too: it takes no turns
std::map<std::string, Topic, std::less<>> topics;
constexpr size_t kMaxTopics = 1024;

}  // namespace

bool parse_log_level(std::string_view name, LogLevel& level) {
  static constexpr std::array<std::pair<std::string_view, LogLevel>, 6> kNames{{
      {"trace", LogLevel::kTrace},
      {"debug", LogLevel::kDebug},
      {"info", LogLevel::kInfo},
      {"warn", LogLevel::kWarn},
      {"error", LogLevel::kError},
      {"off", LogLevel::kOff},
  }};
  for (const auto& [known, value] : kNames) {
    if (name != known) continue;
    level = value;
    return true;
  }
  return false;
}

void set_log_level(LogLevel level) {
  logger()->set_level(native(level));
}

bool log_enabled(LogLevel level) {
  return logger()->should_log(native(level));
}

bool log_to_file(const std::string& path, uint64_t bytes_max) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0) return false;
  ::close(fd);
  const auto level = logger()->level();
  spdlog::file_event_handlers mine;
  mine.after_open = [](const spdlog::filename_t&, std::FILE* file) {
    ::fchmod(::fileno(file), 0600);
  };
  try {
    if (bytes_max == 0)
      logger() = make_logger(std::make_shared<spdlog::sinks::basic_file_sink_mt>(path));
    else
      logger() = make_logger(std::make_shared<spdlog::sinks::rotating_file_sink_mt>(
          path, bytes_max / 2, 1, false, mine));
  } catch (const spdlog::spdlog_ex&) {
    return false;
  }
  logger()->set_level(level);
  return true;
}

void log_message(LogLevel level, std::string_view message) {
  logger()->log(native(level), message);
}

void log_once_per(Duration interval, std::string_view topic, std::string_view message) {
  uint64_t swallowed = 0;
  {
    const std::lock_guard lock(topics_mutex);
    const MonotonicTime now = system_clock().now();
    if (topics.size() > kMaxTopics) topics.clear();
    const auto [it, is_new] = topics.try_emplace(std::string(topic), Topic{now, 0});
    if (!is_new && now - it->second.last_logged < interval) {
      ++it->second.swallowed;
      return;
    }
    swallowed = std::exchange(it->second.swallowed, 0);
    it->second.last_logged = now;
  }
  if (swallowed > 0) {
    log_warn("{} ({} more like it since)", message, swallowed);
  } else {
    log_message(LogLevel::kWarn, message);
  }
}

}  // namespace cairn
