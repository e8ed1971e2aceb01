// What is forgotten of the names when they fill their place.
#include <algorithm>
#include <mutex>

#include "cache/base/log.h"
#include "cache/bucket_past.h"
#include "cache/bucket_rows.h"
#include "cache/bucket_tree.h"
#include "cache/format/records.h"

namespace cairn {

namespace {

constexpr size_t kRoomNamesAtOnce = 1000;
constexpr size_t kRoomNamesInStillness = 100;     // operations wait so long: about a millisecond
constexpr int64_t kFruitlessNs = 30'000'000'000;  // after a pass over all names that found little
constexpr size_t kForgottenMax = 16'384;
constexpr size_t kKeysMax = 65'536;  // others the kernel forgets after the TTL
constexpr uint64_t kWaitingMax = 1U << 20;

}  // namespace

bool BucketTree::is_half_empty() {
  const MetaStore& store = tables_.store();
  return store.used_bytes() < store.bytes_max() / 2;
}

// A listing that is under way sees its names no more: it must not end as if it had them.
void BucketTree::note_forgotten(uint64_t dir) {
  const int64_t now = now_ns();
  if (forgotten_.size() >= kForgottenMax) {
    forgotten_.clear();
    all_forgotten_ns_ = now;
  }
  forgotten_[dir] = now;
  tables_.apply({{bucket_rows::kTable, bucket_rows::listing_key(dir), std::nullopt}});
}

bool BucketTree::was_forgotten(uint64_t dir, int64_t since_ns) const {
  const auto there = forgotten_.find(dir);
  return std::max(all_forgotten_ns_, there == forgotten_.end() ? 0 : there->second) >= since_ns;
}

// Of directories numbers stay: somebody may be in them, and there are fewer.
Result<bool> BucketTree::can_be_forgotten(const BucketEntry& entry) const {
  if (entry.is_dir || is_own_ino(entry.ino)) return false;
  TRY_ASSIGN(const bool held, holds(entry));
  if (held) return false;
  TRY_ASSIGN(const auto known, node(entry.ino));
  return !known || known->lsn == 0;  // else it is as it was set here
}

Status BucketTree::forget_entry(uint64_t dir, const std::string& name, uint64_t ino, Keys& keys) {
  if (in_use_ && in_use_(ino)) return {};
  const std::lock_guard lock(mutex_);
  TRY_ASSIGN(const auto there, entry(dir, name));
  if (!there || there->ino != ino) return {};
  TRY_ASSIGN(const bool may_go, can_be_forgotten(*there));
  if (!may_go) return {};
  note_forgotten(dir);
  Keys gone;
  TRY(remove(dir, name, gone));
  for (std::string& key : gone)
    if (keys.size() < kKeysMax) keys.push_back(std::move(key));
  return {};
}

// An operation that has found a name goes on with it; so does one that opens a file.
Status BucketTree::forget_names(const std::vector<Forgettable>& names, Keys& keys) {
  const std::lock_guard lock(stillness_mutex_);
  for (size_t first = 0; first < names.size(); first += kRoomNamesInStillness) {
    const size_t end = std::min(names.size(), first + kRoomNamesInStillness);
    Status done;
    const auto work = [&] {
      for (size_t i = first; i < end && done; ++i)
        done = forget_entry(names[i].dir, names[i].name, names[i].ino, keys);
    };
    if (stillness_)
      stillness_(work);
    else
      work();
    TRY(std::move(done));
  }
  return {};
}

Status BucketTree::forget_new_names(uint64_t dir, uint64_t first_ino, Keys& keys) {
  std::string from;
  for (bool more = true; more;) {
    TRY_ASSIGN(const auto names, entries(dir, from, kRoomNamesAtOnce));
    more = names.size() == kRoomNamesAtOnce;
    if (more) from = names.back().name + '\0';
    std::vector<Forgettable> found;
    for (const Named& each : names)
      if ((each.entry.ino & ~kPastNumbers) >= first_ino)
        found.push_back({dir, each.name, each.entry.ino});
    TRY(forget_names(found, keys));
    if (tables_.memory_bytes() > kWaitingMax) TRY(tables_.checkpoint());
  }
  leave_listing(dir);
  TRY(tables_.checkpoint());
  const std::lock_guard lock(mutex_);
  fruitless_until_ns_ = 0;
  return {};
}

Status BucketTree::make_room(const std::set<uint64_t>& busy, int64_t fresh_from_ns, Keys& keys) {
  log_once_per(std::chrono::minutes(10), "room for names",
               "the names of the bucket fill the cache's room for them: of what was listed first "
               "much is forgotten, and listed anew when it is wanted");
  const MetaStore& store = tables_.store();
  {
    const std::lock_guard lock(mutex_);
    if (now_ns() < fruitless_until_ns_) return {};
  }
  const uint64_t before = store.used_bytes();
  for (const int64_t seen_before : {fresh_from_ns, INT64_MAX}) {
    TRY(forget_seen_before(seen_before, busy, keys));
    if (is_half_empty()) return {};
  }
  if (store.used_bytes() + store.bytes_max() / 16 < before) return {};
  const std::lock_guard lock(mutex_);
  fruitless_until_ns_ = now_ns() + kFruitlessNs;
  return {};
}

// One directory after the other, as they were found.
Status BucketTree::forget_seen_before(int64_t seen_before_ns, const std::set<uint64_t>& busy,
                                      Keys& keys) {
  std::string from = bucket_rows::entry_key(0);
  const std::string end = bucket_rows::entry_key(UINT64_MAX);
  while (true) {
    TRY_ASSIGN(const auto rows, tables_.scan(bucket_rows::kTable, from, end, kRoomNamesAtOnce));
    std::vector<Forgettable> found;
    for (const auto& row : rows) {
      TRY_ASSIGN(auto key, bucket_rows::decode_entry_key(row.key));
      TRY_ASSIGN(const BucketEntry entry, bucket_rows::decode_entry(row.value));
      if (entry.seen_ns < seen_before_ns && !busy.contains(key.first))
        found.push_back({key.first, std::move(key.second), entry.ino});
    }
    TRY(forget_names(found, keys));
    if (tables_.memory_bytes() > kWaitingMax || rows.size() < kRoomNamesAtOnce) {
      TRY(tables_.checkpoint());
      if (is_half_empty()) return {};
    }
    if (rows.size() < kRoomNamesAtOnce) return {};
    from = rows.back().key + '\0';
  }
}

}  // namespace cairn
