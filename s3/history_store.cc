#include "s3/history_store.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "s3/s3_xml.h"
#include "s3/versions_at_store.h"

namespace cairn {

namespace {

constexpr std::string_view kTimeShape = "dddd-dd-ddTddddddZ-";
constexpr size_t kEndingMax = 10;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_letter_or_digit(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool begins_with_time(std::string_view text) {
  if (text.size() < kTimeShape.size()) return false;
  for (size_t i = 0; i < kTimeShape.size(); ++i)
    if (kTimeShape[i] == 'd' ? !is_digit(text[i]) : text[i] != kTimeShape[i]) return false;
  return true;
}

// ".txt" of "a.txt"; empty when what is behind the point is no ending.
std::string_view ending_of(std::string_view name) {
  const size_t point = name.rfind('.');
  if (point == std::string_view::npos || point == 0) return {};
  const std::string_view ending = name.substr(point);
  const bool plain = std::all_of(ending.begin() + 1, ending.end(), is_letter_or_digit);
  return plain && ending.size() > 1 && ending.size() <= kEndingMax + 1 ? ending
                                                                       : std::string_view();
}

std::string time_text(int64_t time_ns) {
  const std::chrono::sys_time<std::chrono::nanoseconds> time{std::chrono::nanoseconds(time_ns)};
  const auto day = std::chrono::floor<std::chrono::days>(time);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss clock(std::chrono::floor<std::chrono::seconds>(time) - day);
  return fmt::format("{:04}-{:02}-{:02}T{:02}{:02}{:02}Z", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                     clock.hours().count(), clock.minutes().count(), clock.seconds().count());
}

}  // namespace

std::string format_past_name(std::string_view name, std::string_view version, int64_t time_ns) {
  const std::string_view ending = ending_of(name);
  std::string out(name.substr(0, name.size() - ending.size()));
  out.append("@").append(time_text(time_ns)).append("-");
  for (const char c : version) {
    if (is_letter_or_digit(c) || c == '-' || c == '_')
      out.push_back(c);
    else
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out.append(ending);
}

std::optional<PastName> parse_past_name(std::string_view text) {
  for (size_t at = text.rfind('@'); at != std::string_view::npos && at > 0;
       at = text.rfind('@', at - 1)) {
    if (!begins_with_time(text.substr(at + 1))) continue;
    const std::string_view behind = text.substr(at + 1 + kTimeShape.size());
    const size_t point = std::min(behind.find('.'), behind.size());
    auto version = url_decode(behind.substr(0, point));
    if (!version || version->empty()) return std::nullopt;
    return PastName{std::string(text.substr(0, at)).append(behind.substr(point)),
                    *std::move(version)};
  }
  return std::nullopt;
}

HistoryStore::HistoryStore(std::shared_ptr<ObjectStore> base, Executor& executor, std::string part)
    : base_(std::move(base)), executor_(executor), part_(std::move(part)) {}

std::optional<HistoryStore::Past> HistoryStore::past_of(std::string_view key) const {
  const std::string mark = part_ + "/";
  size_t at = key.starts_with(mark) ? 0 : key.find("/" + mark);
  if (at == std::string_view::npos) return std::nullopt;
  if (!key.starts_with(mark)) ++at;
  const std::string_view below = key.substr(at + mark.size());
  const size_t slash = below.rfind('/');
  const size_t directories = slash == std::string_view::npos ? 0 : slash + 1;
  Past past;
  past.directory = std::string(key.substr(0, at)).append(below.substr(0, directories));
  past.name = below.substr(directories);
  return past;
}

template <class T>
bool HistoryStore::refuse(const std::string& key, Callback<T>& done) const {
  if (!past_of(key)) return false;
  executor_.submit([key, done = std::move(done)] {
    done(tl::unexpected<Error>(
        Error(Errc::kUnsupported, "'" + key + "': what was is read only").with_no_effect()));
  });
  return true;
}

void HistoryStore::get(std::string key, GetRange range, Context context, Callback<GetResult> done) {
  const auto past = past_of(key);
  if (!past)
    return base_->get(std::move(key), std::move(range), std::move(context), std::move(done));
  const auto name = parse_past_name(past->name);
  if (!name)
    return executor_.submit([key, done = std::move(done)] {
      done(fail(Errc::kNotFound, "'" + key + "': there is no such version"));
    });
  range.if_match.clear();  // the bytes of a version never change
  range.version = name->version;
  base_->get(past->directory + name->name, std::move(range), std::move(context),
             [version = name->version, done = std::move(done)](Result<GetResult> got) {
               if (got) got->etag = etag_with_version(got->etag, version);
               done(std::move(got));
             });
}

void HistoryStore::head(std::string key, Context context, Callback<ObjectHead> done) {
  head_version(std::move(key), {}, std::move(context), std::move(done));
}

void HistoryStore::head_version(std::string key, std::string version, Context context,
                                Callback<ObjectHead> done) {
  const auto past = past_of(key);
  if (!past && version.empty())
    return base_->head(std::move(key), std::move(context), std::move(done));
  if (!past)
    return base_->head_version(std::move(key), std::move(version), std::move(context),
                               std::move(done));
  const auto name = parse_past_name(past->name);
  if (!name)
    return executor_.submit([key, done = std::move(done)] {
      done(fail(Errc::kNotFound, "'" + key + "': there is no such version"));
    });
  base_->head_version(
      past->directory + name->name, name->version, std::move(context),
      [version = name->version, key, done = std::move(done)](Result<ObjectHead> head) {
        if (head) {
          head->info.key = key;
          head->info.etag = etag_with_version(head->info.etag, version);
        }
        done(std::move(head));
      });
}

void HistoryStore::get_tags(std::string key, std::string version, Context context,
                            Callback<ObjectTags> done) {
  const auto past = past_of(key);
  const auto name = past ? parse_past_name(past->name) : std::nullopt;
  if (!name)
    return base_->get_tags(std::move(key), std::move(version), std::move(context), std::move(done));
  base_->get_tags(past->directory + name->name, name->version, std::move(context), std::move(done));
}

void HistoryStore::list(ListScope scope, std::string after, uint32_t limit, Context context,
                        Callback<ListPage> done) {
  const auto past = scope.one_level ? past_of(scope.prefix) : std::nullopt;
  if (!past || !past->name.empty())
    return base_->list(std::move(scope), std::move(after), limit, std::move(context),
                       std::move(done));
  base_->list_versions(
      ListScope::level(past->directory), std::move(after), limit, std::move(context),
      [from = past->directory.size(), prefix = scope.prefix,
       done = std::move(done)](Result<VersionPage> page) {
        if (!page) return done(tl::unexpected<Error>(std::move(page).error()));
        ListPage out;
        for (const ObjectVersion& each : page->versions) {
          const std::string name = each.info.key.substr(std::min(from, each.info.key.size()));
          if (each.latest || each.deleted || name.empty()) continue;
          ObjectInfo info = each.info;
          info.key = prefix + format_past_name(name, each.version_id, info.mtime_ns);
          info.etag = etag_with_version(info.etag, each.version_id);
          out.objects.push_back(std::move(info));
        }
        std::sort(out.objects.begin(), out.objects.end(),
                  [](const ObjectInfo& a, const ObjectInfo& b) { return a.key < b.key; });
        for (const std::string& each : page->prefixes)
          out.prefixes.push_back(prefix + each.substr(std::min(from, each.size())));
        out.truncated = page->truncated;
        out.next = std::move(page->next);
        done(std::move(out));
      });
}

void HistoryStore::put(std::string key, Body body, PutHow how, Context context,
                       Callback<std::string> done) {
  if (refuse(key, done)) return;
  base_->put(std::move(key), std::move(body), std::move(how), std::move(context), std::move(done));
}

void HistoryStore::remove(std::string key, Context context, Callback<void> done) {
  if (refuse(key, done)) return;
  base_->remove(std::move(key), std::move(context), std::move(done));
}

void HistoryStore::put_tags(std::string key, std::string version, ObjectTags tags, Context context,
                            Callback<void> done) {
  if (refuse(key, done)) return;
  base_->put_tags(std::move(key), std::move(version), std::move(tags), std::move(context),
                  std::move(done));
}

void HistoryStore::list_versions(ListScope scope, std::string after, uint32_t limit,
                                 Context context, Callback<VersionPage> done) {
  base_->list_versions(std::move(scope), std::move(after), limit, std::move(context),
                       std::move(done));
}

void HistoryStore::keeps_versions(Context context, Callback<bool> done) {
  base_->keeps_versions(std::move(context), std::move(done));
}

}  // namespace cairn
