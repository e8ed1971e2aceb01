#include <array>
#include <map>

#include "cache/base/mutex.h"
#include "cache/meta_store.h"

namespace cairn {

struct MemoryRows {
  RankedSharedMutex<Rank::kLeaf> mutex;
  std::array<std::map<std::string, std::string, std::less<>>, kTableCount> tables;
  uint64_t bytes = 0;
};

std::shared_ptr<MemoryRows> make_memory_rows() {
  return std::make_shared<MemoryRows>();
}

namespace {

class MemoryMetaStore final : public MetaStore {
 public:
  MemoryMetaStore(std::shared_ptr<MemoryRows> rows, std::function<WriteFate()> write_fate)
      : rows_(std::move(rows)), write_fate_(std::move(write_fate)) {}

  Result<std::optional<std::string>> get(Table table, std::string_view key) override {
    const std::shared_lock lock(rows_->mutex);
    const auto& rows = rows_->tables[static_cast<size_t>(table)];
    const auto it = rows.find(key);
    if (it == rows.end()) return std::optional<std::string>();
    return std::optional<std::string>(it->second);
  }

  Status scan(Table table, std::string_view from,
              const std::function<bool(std::string_view, std::string_view)>& visit) override {
    const std::shared_lock lock(rows_->mutex);
    const auto& rows = rows_->tables[static_cast<size_t>(table)];
    for (auto it = rows.lower_bound(from); it != rows.end(); ++it)
      if (!visit(it->first, it->second)) break;
    return {};
  }

  Status write(const std::vector<TableChange>& changes) override {
    for (const TableChange& change : changes)
      if (change.key.empty() || change.key.size() > kMetaKeyBytesMax)
        return fail(Errc::kInvalid, "a meta store key is empty or too long");
    const WriteFate fate = write_fate_ ? write_fate_() : WriteFate::kDone;
    if (fate == WriteFate::kRefused) return fail(Errc::kNoSpace, "meta store is full");
    if (fate == WriteFate::kLost) return fail(Errc::kIo, "meta store write was lost");
    apply(changes);
    if (fate == WriteFate::kUnheard) return fail(Errc::kIo, "meta store answer was lost");
    return {};
  }

  uint64_t bytes() const override {
    const std::shared_lock lock(rows_->mutex);
    return rows_->bytes;
  }
  uint64_t used_bytes() const override { return bytes(); }
  uint64_t bytes_max() const override { return UINT64_MAX; }

 private:
  void apply(const std::vector<TableChange>& changes) {
    const std::lock_guard lock(rows_->mutex);
    for (const TableChange& change : changes) {
      auto& rows = rows_->tables[static_cast<size_t>(change.table)];
      if (const auto it = rows.find(change.key); it != rows.end()) {
        rows_->bytes -= it->first.size() + it->second.size();
        rows.erase(it);
      }
      if (!change.value) continue;
      rows_->bytes += change.key.size() + change.value->size();
      rows.emplace(change.key, *change.value);
    }
  }

  const std::shared_ptr<MemoryRows> rows_;
  const std::function<WriteFate()> write_fate_;
};

}  // namespace

std::unique_ptr<MetaStore> make_memory_meta_store(std::shared_ptr<MemoryRows> rows,
                                                  std::function<WriteFate()> write_fate) {
  return std::make_unique<MemoryMetaStore>(std::move(rows), std::move(write_fate));
}

}  // namespace cairn
