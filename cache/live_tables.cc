#include "cache/live_tables.h"

#include <algorithm>
#include <utility>

namespace cairn {

namespace {
// What a row costs besides its bytes: a tree node with two strings.
constexpr uint64_t kRowOverheadBytes = 120;

uint64_t row_bytes(std::string_view key, const std::optional<std::string>& value) {
  return kRowOverheadBytes + key.size() + (value ? value->size() : 0);
}

bool behind(std::string_view key, std::string_view to) {
  return !to.empty() && key >= to;
}
}  // namespace

void LiveTables::Memtable::put(Table table, std::string_view key,
                               std::optional<std::string> value) {
  Rows& rows = tables[static_cast<size_t>(table)];
  const auto it = rows.lower_bound(key);
  bytes += row_bytes(key, value);
  if (it != rows.end() && it->first == key) {
    bytes -= row_bytes(key, it->second);
    it->second = std::move(value);
  } else {
    rows.emplace_hint(it, key, std::move(value));
  }
}

const std::optional<std::string>* LiveTables::Memtable::find(Table table,
                                                             std::string_view key) const {
  const Rows& rows = tables[static_cast<size_t>(table)];
  const auto it = rows.find(key);
  return it == rows.end() ? nullptr : &it->second;
}

void LiveTables::Memtable::put_under(Memtable& older) {
  bytes += older.bytes;
  for (size_t i = 0; i < kTableCount; ++i) {
    tables[i].merge(older.tables[i]);  // leaves behind what is here already
    for (const auto& [key, value] : older.tables[i]) bytes -= row_bytes(key, value);
  }
}

struct LiveTables::Source {
  // In order, tombstones included, up to the row that alone would fill the limit: no result can
  // lie behind it.
  std::vector<std::pair<std::string, std::optional<std::string>>> rows;
  uint64_t freezes = 0;
};

LiveTables::LiveTables(std::unique_ptr<MetaStore> store) : store_(std::move(store)) {}
LiveTables::~LiveTables() = default;

const std::optional<std::string>* LiveTables::find_in_memory(Table table,
                                                             std::string_view key) const {
  if (const auto* value = active_.find(table, key)) return value;
  return frozen_ ? frozen_->find(table, key) : nullptr;
}

Result<std::optional<std::string>> LiveTables::get(Table table, std::string_view key) const {
  {
    const std::lock_guard lock(mutex_);
    settle(table, key);
    if (const auto* value = find_in_memory(table, key)) return *value;
  }
  // A checkpoint may finish in between; then this reads what was written since, which is as good.
  return store_->get(table, key);
}

LiveTables::Source LiveTables::collect(Table table, std::string_view from, std::string_view to,
                                       size_t limit) const {
  static const Rows no_rows;
  for (Decoded& decoded : decoded_)
    if (decoded.table == table && decoded.key >= from && !behind(decoded.key, to)) settle(decoded);
  const Rows& active = active_.tables[static_cast<size_t>(table)];
  const Rows& frozen = frozen_ ? frozen_->tables[static_cast<size_t>(table)] : no_rows;
  auto newer = active.lower_bound(from);
  auto older = frozen.lower_bound(from);
  Source source;
  source.freezes = freezes_;
  size_t live = 0;
  while (live < limit && (newer != active.end() || older != frozen.end())) {
    const bool take_newer =
        older == frozen.end() || (newer != active.end() && newer->first <= older->first);
    const auto& row = take_newer ? *newer : *older;
    if (behind(row.first, to)) break;
    if (take_newer && older != frozen.end() && older->first == row.first) ++older;
    if (row.second) ++live;
    source.rows.emplace_back(row);
    take_newer ? ++newer : ++older;
  }
  return source;
}

Result<std::vector<LiveTables::Row>> LiveTables::merge(Table table, std::string_view from,
                                                       std::string_view to, size_t limit,
                                                       const Source& source) const {
  std::vector<Row> out;
  auto memory = source.rows.begin();
  const auto take_memory = [&] {
    if (memory->second) out.push_back({memory->first, *memory->second});
    ++memory;
  };
  TRY(store_->scan(table, from, [&](std::string_view key, std::string_view value) {
    if (behind(key, to)) return false;
    while (memory != source.rows.end() && memory->first < key && out.size() < limit) take_memory();
    if (out.size() == limit) return false;
    if (memory != source.rows.end() && memory->first == key) {
      take_memory();
    } else {
      out.push_back({std::string(key), std::string(value)});
    }
    return out.size() < limit;
  }));
  while (memory != source.rows.end() && out.size() < limit) take_memory();
  return out;
}

Result<std::vector<LiveTables::Row>> LiveTables::scan(Table table, std::string_view from,
                                                      std::string_view to, size_t limit) const {
  if (limit == 0) return std::vector<Row>();
  constexpr int kTriesWithoutLock = 3;
  for (int i = 0; i < kTriesWithoutLock; ++i) {
    Source source;
    {
      const std::lock_guard lock(mutex_);
      source = collect(table, from, to, limit);
    }
    TRY_ASSIGN(auto rows, merge(table, from, to, limit, source));
    // A checkpoint that began meanwhile may have put newer rows under the ones collected.
    const std::lock_guard lock(mutex_);
    if (source.freezes == freezes_) return rows;
  }
  const std::lock_guard lock(mutex_);
  return merge(table, from, to, limit, collect(table, from, to, limit));
}

void LiveTables::settle(Decoded& decoded) const {
  if (std::exchange(decoded.is_newer, false))
    active_.put(decoded.table, decoded.key, decoded.row->encode());
}

void LiveTables::settle(Table table, std::string_view key) const {
  for (Decoded& decoded : decoded_)
    if (decoded.is(table, key)) settle(decoded);
}

void LiveTables::forget_decoded(Table table, std::string_view key) {
  std::erase_if(decoded_, [&](const Decoded& decoded) { return decoded.is(table, key); });
}

void LiveTables::keep_decoded(DecodedChange change) {
  forget_decoded(change.table, change.key);
  decoded_.push_back({change.table, std::move(change.key), std::move(change.row), true});
  uint64_t bytes = 0;
  size_t kept = 0;
  while (kept < decoded_.size() && kept < kDecodedRowsMax) {
    bytes += decoded_[decoded_.size() - 1 - kept].row->memory_bytes();
    if (bytes > kDecodedBytesMax) break;
    ++kept;
  }
  const auto end = decoded_.end() - static_cast<ptrdiff_t>(kept);
  std::for_each(decoded_.begin(), end, [this](Decoded& old) { settle(old); });
  decoded_.erase(decoded_.begin(), end);
}

std::shared_ptr<DecodedRow> LiveTables::decoded(Table table, std::string_view key) const {
  const std::lock_guard lock(mutex_);
  for (const Decoded& decoded : decoded_)
    if (decoded.is(table, key)) return decoded.row;
  return nullptr;
}

void LiveTables::apply(std::vector<TableChange> changes, std::vector<DecodedChange> decoded) {
  const std::lock_guard lock(mutex_);
  for (TableChange& change : changes) {
    forget_decoded(change.table, change.key);
    active_.put(change.table, change.key, std::move(change.value));
  }
  for (DecodedChange& change : decoded) {
    if (change.change) change.change();
    keep_decoded(std::move(change));
  }
}

Status LiveTables::update(
    Table table, std::string_view key,
    const std::function<std::optional<std::string>(std::optional<std::string>)>& change) {
  std::optional<std::string> stored;
  std::optional<uint64_t> freezes_at_read;
  while (true) {
    {
      const std::lock_guard lock(mutex_);
      settle(table, key);
      forget_decoded(table, key);
      const auto* value = find_in_memory(table, key);
      if (value != nullptr || freezes_at_read == freezes_) {
        active_.put(table, key, change(value != nullptr ? *value : std::move(stored)));
        return {};
      }
      freezes_at_read = freezes_;
    }
    TRY_ASSIGN(stored, store_->get(table, key));
  }
}

void LiveTables::freeze() {
  const std::lock_guard lock(mutex_);
  if (frozen_ && is_writing_) return;
  for (Decoded& decoded : decoded_) settle(decoded);
  decoded_.clear();
  if (frozen_ && !is_writing_) {
    active_.put_under(*frozen_);  // set apart by an attempt that went no further
    frozen_.reset();
  }
  if (frozen_ || active_.empty()) return;
  frozen_ = std::make_unique<Memtable>(std::move(active_));
  active_ = {};
  ++freezes_;
}

Status LiveTables::checkpoint() {
  const std::lock_guard one_at_a_time(checkpoint_mutex_);
  freeze();
  return write_frozen();
}

Status LiveTables::write_frozen() {
  {
    const std::lock_guard lock(mutex_);
    if (!frozen_ || is_writing_) return {};
    is_writing_ = true;
  }
  // Nobody changes the frozen memtable while it is being written.
  std::vector<TableChange> changes;
  for (size_t i = 0; i < kTableCount; ++i)
    for (const auto& [key, value] : frozen_->tables[i])
      changes.push_back({static_cast<Table>(i), key, value});
  Status written = store_->write(changes);

  std::unique_ptr<Memtable> done;  // freed without the lock
  const std::lock_guard lock(mutex_);
  if (!written) active_.put_under(*frozen_);
  done = std::move(frozen_);
  is_writing_ = false;
  return written;
}

uint64_t LiveTables::memory_bytes() const {
  const std::lock_guard lock(mutex_);
  uint64_t bytes = active_.bytes + (frozen_ ? frozen_->bytes : 0);
  for (const Decoded& decoded : decoded_)
    if (decoded.is_newer)
      bytes += row_bytes(decoded.key, std::nullopt) + decoded.row->memory_bytes() / 4;  // as a row
  return bytes;
}

}  // namespace cairn
