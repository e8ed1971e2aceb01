#include "cache/snapshots.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <ctime>
#include <utility>

#include "cache/commit_parts.h"
#include "cache/format/commit.h"
#include "cache/store_keys.h"
#include "cache/store_scan.h"

namespace cairn {
namespace {
constexpr size_t kNameMax = 128;
constexpr size_t kSnapshotsAtOnce = 16;

bool letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
bool digit(char c) {
  return c >= '0' && c <= '9';
}

Result<StoredCommit> decode_snapshot(const std::string& key, Buffer bytes) {
  auto commit = stored_commit(std::move(bytes));
  if (!commit) return tl::unexpected<Error>(std::move(commit).error().wrap(key));
  return commit;
}

// Whether the history still has it.
Result<bool> is_kept(CommitLog& log, const StoredCommit& commit, const Context& context) {
  TRY_ASSIGN(const uint64_t oldest, log.oldest(context));
  if (oldest > commit.record->seq) return false;
  const auto kept = log.read(commit.record->seq, context);
  if (!kept && kept.error().code() != Errc::kNotFound) return tl::unexpected<Error>(kept.error());
  return kept && kept->digest == commit.digest;
}

// The digits at the start of `text`, exactly `count`, which are taken away.
std::optional<int> take_digits(std::string_view& text, size_t count) {
  if (text.size() < count) return std::nullopt;
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + count, value);
  if (error != std::errc() || end != text.data() + count || !digit(text[0])) return std::nullopt;
  text.remove_prefix(count);
  return value;
}

bool take(std::string_view& text, char c) {
  if (text.empty() || text[0] != c) return false;
  text.remove_prefix(1);
  return true;
}

// YYYY-MM-DD[Thh:mm[:ss]][Z]
std::optional<int64_t> parse_time(std::string_view text) {
  std::tm utc{};
  const auto year = take_digits(text, 4);
  if (!year || !take(text, '-')) return std::nullopt;
  const auto month = take_digits(text, 2);
  if (!month || !take(text, '-')) return std::nullopt;
  const auto day = take_digits(text, 2);
  if (!day) return std::nullopt;
  utc.tm_year = *year - 1900;
  utc.tm_mon = *month - 1;
  utc.tm_mday = *day;
  if (take(text, 'T') || take(text, ' ')) {
    const auto hour = take_digits(text, 2);
    if (!hour || !take(text, ':')) return std::nullopt;
    const auto minute = take_digits(text, 2);
    if (!minute) return std::nullopt;
    utc.tm_hour = *hour;
    utc.tm_min = *minute;
    if (take(text, ':')) {
      const auto second = take_digits(text, 2);
      if (!second) return std::nullopt;
      utc.tm_sec = *second;
    }
  }
  take(text, 'Z');
  if (!text.empty()) return std::nullopt;
  const std::tm wanted = utc;
  const std::time_t seconds = ::timegm(&utc);  // brings 31 February to March
  if (utc.tm_mday != wanted.tm_mday || utc.tm_mon != wanted.tm_mon ||
      utc.tm_hour != wanted.tm_hour || utc.tm_min != wanted.tm_min || utc.tm_sec != wanted.tm_sec)
    return std::nullopt;
  return int64_t{seconds} * 1'000'000'000;
}

Result<StoredCommit> find_by_time(ObjectStore& store, CommitLog& log, int64_t wall_ns,
                                  const StoredCommit& head, const Context& context) {
  if (head.record->time_ns <= wall_ns) return head;
  TRY_ASSIGN(uint64_t before, log.oldest(context));
  TRY_ASSIGN(StoredCommit found, log.read(before, context));
  if (found.record->time_ns > wall_ns)
    return fail(Errc::kNotFound,
                fmt::format("{}: the oldest commit that is kept ({}) was made at {}, after {}",
                            store.description(), before, utc_text(found.record->time_ns),
                            utc_text(wall_ns)));
  uint64_t after = head.record->seq;
  while (after - before > 1) {
    const uint64_t middle = before + (after - before) / 2;
    TRY_ASSIGN(StoredCommit commit, log.read(middle, context));
    if (commit.record->time_ns <= wall_ns) {
      before = middle;
      found = std::move(commit);
    } else {
      after = middle;
    }
  }
  return found;
}
}  // namespace

std::string utc_text(int64_t wall_ns) {
  const std::time_t seconds = static_cast<std::time_t>(wall_ns / 1'000'000'000);
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", utc.tm_year + 1900, utc.tm_mon + 1,
                     utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec);
}

Status check_snapshot_name(std::string_view name) {
  const bool plain = std::all_of(name.begin(), name.end(), [](char c) {
    return letter(c) || digit(c) || c == '.' || c == '-';
  });
  if (!name.empty() && name.size() <= kNameMax && plain && letter(name[0])) return {};
  return fail(Errc::kInvalid,
              fmt::format("'{}' cannot name a snapshot: use 1 to {} letters, digits, '.', '_' and "
                          "'-', beginning with a letter",
                          name, kNameMax));
}

Status create_snapshot(ObjectStore& store, CommitLog& log, std::string_view name,
                       const StoredCommit& commit, Context context) {
  TRY(check_snapshot_name(name));
  const std::string key = ref_key(name);
  auto put = put_sync(store, key, Body(commit.bytes), PutCondition::kIfAbsent, context);
  if (!put) {
    // Ours, if its answer was lost.
    const auto there = read_snapshot(store, name, context);
    const bool ours = there && there->commit.digest == commit.digest;
    if (there && (put.error().code() == Errc::kPrecondition || !ours))
      return fail(Errc::kExists, fmt::format("{}: there is a snapshot {} already, of commit {}",
                                             store.description(), name, there->commit.record->seq));
    if (!ours) return tl::unexpected<Error>(std::move(put).error());
  }
  // The collector writes the boundary before it looks for snapshots: either it sees this one, or
  // we see that the commit is not kept any more.
  const auto kept = is_kept(log, commit, context);
  if (kept && *kept) return {};
  const Status removed = remove_sync(store, key, context);
  if (!kept) return tl::unexpected<Error>(kept.error());
  TRY(removed);
  return fail(Errc::kNotFound, fmt::format("{}: commit {} is not kept any more",
                                           store.description(), commit.record->seq));
}

Status delete_snapshot(ObjectStore& store, std::string_view name, Context context) {
  TRY(check_snapshot_name(name));
  const std::string key = ref_key(name);
  auto there = get_sync(store, key, GetRange::from(0, 1), context);
  if (!there && there.error().code() == Errc::kNotFound)
    return fail(Errc::kNotFound,
                fmt::format("{}: there is no snapshot {}", store.description(), name));
  if (!there) return tl::unexpected<Error>(std::move(there).error());
  return remove_sync(store, key, std::move(context));
}

Result<Snapshot> read_snapshot(ObjectStore& store, std::string_view name, Context context) {
  TRY(check_snapshot_name(name));
  const std::string key = ref_key(name);
  auto got = get_sync(store, key, GetRange::from(0, CommitRecord::kMaxBytes + 1), context);
  if (!got && got.error().code() == Errc::kNotFound)
    return fail(Errc::kNotFound,
                fmt::format("{}: there is no snapshot {}", store.description(), name));
  if (!got) return tl::unexpected<Error>(std::move(got).error());
  TRY_ASSIGN(StoredCommit commit, decode_snapshot(key, std::move(got->bytes)));
  return Snapshot{std::string(name), std::move(commit)};
}

Result<std::vector<Snapshot>> list_snapshots(ObjectStore& store, Context context) {
  std::vector<std::string> keys;
  TRY(list_all(store, kRefPrefix, context,
               [&](const ObjectInfo& object) { keys.push_back(object.key); }));
  std::vector<Snapshot> snapshots;
  for (size_t at = 0; at < keys.size(); at += kSnapshotsAtOnce) {
    const std::vector<std::string> some(
        keys.begin() + static_cast<ptrdiff_t>(at),
        keys.begin() + static_cast<ptrdiff_t>(std::min(keys.size(), at + kSnapshotsAtOnce)));
    auto answers = get_all(store, some, CommitRecord::kMaxBytes + 1, context);
    for (size_t i = 0; i < some.size(); ++i) {
      if (!answers[i] && answers[i].error().code() == Errc::kNotFound) continue;  // just deleted
      if (!answers[i]) return tl::unexpected<Error>(std::move(answers[i]).error());
      TRY_ASSIGN(StoredCommit commit, decode_snapshot(some[i], std::move(answers[i]->bytes)));
      snapshots.push_back({some[i].substr(kRefPrefix.size()), std::move(commit)});
    }
  }
  return snapshots;
}

Result<HistoryPoint> parse_history_point(std::string_view text) {
  if (check_snapshot_name(text)) return HistoryPoint(std::string(text));
  uint64_t seq = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seq);
  if (error == std::errc() && end == text.data() + text.size() && seq > 0) return HistoryPoint(seq);
  if (const auto time = parse_time(text)) return HistoryPoint(HistoryTime{*time});
  return fail(Errc::kInvalid,
              fmt::format("'{}' is no snapshot's name, no commit's number and no time (such as "
                          "2026-11-26 or 2026-11-26T13:05:30, UTC)",
                          text));
}

Result<StoredCommit> find_commit(ObjectStore& store, CommitLog& log, const HistoryPoint& point,
                                 const StoredCommit& head, Context context) {
  if (const auto* name = std::get_if<std::string>(&point)) {
    TRY_ASSIGN(Snapshot snapshot, read_snapshot(store, *name, std::move(context)));
    return std::move(snapshot.commit);
  }
  if (const auto* time = std::get_if<HistoryTime>(&point))
    return find_by_time(store, log, time->wall_ns, head, context);
  const uint64_t seq = std::get<uint64_t>(point);
  if (seq == head.record->seq) return head;
  TRY_ASSIGN(const uint64_t oldest, log.oldest(context));
  if (seq < oldest || seq > head.record->seq)
    return fail(Errc::kNotFound, fmt::format("{}: there is no commit {}; {} to {} are kept",
                                             store.description(), seq, oldest, head.record->seq));
  return log.read(seq, std::move(context));
}

}  // namespace cairn
