// MetaStore on LMDB: the only file that includes lmdb.h.
//
// Every commit is synced by LMDB itself (no MDB_NOSYNC, MDB_NOMETASYNC, MDB_MAPASYNC; no
// MDB_WRITEMAP, which would let a stray pointer reach the file). LMDB has no checksums of its
// pages, so every value ends with a CRC32C of its key and itself, and the file is looked through
// before LMDB may map it (lmdb_check.h).
// Read transactions are not bound to threads (MDB_NOTLS): they are kept reset in a pool and renewed
// for one call each, so none lives across a wait.
#include <fmt/format.h>
#include <lmdb.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <mutex>
#include <utility>

#include "cache/base/coding.h"
#include "cache/base/env.h"
#include "cache/base/log.h"
#include "cache/base/mutex.h"
#include "cache/lmdb_check.h"
#include "cache/meta_store.h"

namespace cairn {

namespace {

constexpr std::array<const char*, kTableCount> kNames = {"state", "tree",     "blocks", "files",
                                                         "dirty", "resident", "segment"};
constexpr unsigned kReadersMax = 1024;
constexpr size_t kPooledMax = 64;
constexpr uint64_t kCompactFrom = 16ULL << 20;
constexpr size_t kCrcBytes = 4;

Errc kind_of(int rc) {
  switch (rc) {
    case MDB_MAP_FULL:
    case ENOSPC:
    case EDQUOT:
      return Errc::kNoSpace;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
    case MDB_VERSION_MISMATCH:
      return Errc::kCorruption;
    case EACCES:
    case EPERM:
    case EROFS:
      return Errc::kPermission;
    case MDB_BAD_VALSIZE:
      return Errc::kInvalid;
    case ENOMEM:
    case EMFILE:
    case ENFILE:
    case EAGAIN:
    case ENOLCK:
    case MDB_READERS_FULL:
      return Errc::kTransient;  // this process lacks something; the file is as good as it was
    default:
      return Errc::kIo;
  }
}

tl::unexpected<Error> fail_lmdb(const std::string& path, const char* what, int rc) {
  return fail(kind_of(rc), fmt::format("{}: {}: {}", path, what, mdb_strerror(rc)));
}

MDB_val value_of(std::string_view in) {
  return {in.size(), const_cast<char*>(in.data())};  // LMDB does not write to it
}
std::string_view view_of(const MDB_val& in) {
  return {static_cast<const char*>(in.mv_data), in.mv_size};
}

uint32_t row_crc(std::string_view key, std::string_view value) {
  return crc32c(as_bytes(value), crc32c(as_bytes(key)));
}

bool row_is_good(std::string_view key, std::string_view stored) {
  if (stored.size() < kCrcBytes) return false;
  const std::string_view value = stored.substr(0, stored.size() - kCrcBytes);
  return get_le<uint32_t>(as_bytes(stored).data() + value.size()) == row_crc(key, value);
}

struct EnvClose {
  void operator()(MDB_env* env) const { mdb_env_close(env); }
};
using EnvPtr = std::unique_ptr<MDB_env, EnvClose>;
struct TxnAbort {
  void operator()(MDB_txn* txn) const { mdb_txn_abort(txn); }
};
using TxnPtr = std::unique_ptr<MDB_txn, TxnAbort>;
struct CursorClose {
  void operator()(MDB_cursor* cursor) const { mdb_cursor_close(cursor); }
};

Result<EnvPtr> open_env(const std::string& dir, uint64_t bytes_max) {
  MDB_env* raw = nullptr;
  if (const int rc = mdb_env_create(&raw); rc != 0) return fail_lmdb(dir, "create", rc);
  EnvPtr env(raw);
  int rc = mdb_env_set_mapsize(raw, bytes_max);
  if (rc == 0) rc = mdb_env_set_maxdbs(raw, kTableCount);
  if (rc == 0) rc = mdb_env_set_maxreaders(raw, kReadersMax);
  if (rc == 0) rc = mdb_env_open(raw, dir.c_str(), MDB_NOTLS | MDB_NORDAHEAD, 0600);
  if (rc != 0) return fail_lmdb(dir, "open", rc);
  return env;
}

Result<uint64_t> free_bytes(MDB_env* env, const std::string& dir);

class LmdbMetaStore final : public MetaStore {
 public:
  LmdbMetaStore(std::string dir, uint64_t bytes_max, EnvPtr env)
      : dir_(std::move(dir)), bytes_max_(bytes_max), env_(std::move(env)) {}
  Status open_tables();

  Result<std::optional<std::string>> get(Table table, std::string_view key) override;
  Status scan(Table table, std::string_view from,
              const std::function<bool(std::string_view, std::string_view)>& visit) override;
  Status write(const std::vector<TableChange>& changes) override;
  uint64_t bytes() const override;
  uint64_t used_bytes() const override { return used_bytes_; }
  uint64_t bytes_max() const override { return bytes_max_; }

 private:
  // A renewed read transaction; goes back to the pool when destroyed.
  class Reader {
   public:
    Reader(LmdbMetaStore& store, TxnPtr txn) : store_(&store), txn_(std::move(txn)) {}
    ~Reader() {
      if (txn_) store_->put_back(std::move(txn_));
    }
    Reader(Reader&&) noexcept = default;
    Reader& operator=(Reader&&) = delete;
    MDB_txn* txn() const { return txn_.get(); }

   private:
    LmdbMetaStore* store_;
    TxnPtr txn_;
  };

  Result<Reader> reader();
  void put_back(TxnPtr txn);
  MDB_dbi dbi(Table table) const { return tables_[static_cast<size_t>(table)]; }
  Status apply(MDB_txn* txn, const TableChange& change);
  void measure();
  Result<std::string_view> checked(std::string_view key, const MDB_val& stored) const;

  const std::string dir_;
  const uint64_t bytes_max_;
  const EnvPtr env_;  // outlives the pooled transactions
  std::array<MDB_dbi, kTableCount> tables_{};
  std::atomic<uint64_t> used_bytes_{0};
  RankedMutex<Rank::kLeaf> pool_mutex_;
  std::vector<TxnPtr> pool_;
};

Status LmdbMetaStore::open_tables() {
  MDB_txn* raw = nullptr;
  if (const int rc = mdb_txn_begin(env_.get(), nullptr, 0, &raw); rc != 0)
    return fail_lmdb(dir_, "begin", rc);
  TxnPtr txn(raw);
  for (size_t i = 0; i < kTableCount; ++i)
    if (const int rc = mdb_dbi_open(raw, kNames[i], MDB_CREATE, &tables_[i]); rc != 0)
      return fail_lmdb(dir_, kNames[i], rc);
  if (const int rc = mdb_txn_commit(txn.release()); rc != 0) return fail_lmdb(dir_, "commit", rc);
  measure();
  return {};
}

Result<LmdbMetaStore::Reader> LmdbMetaStore::reader() {
  TxnPtr txn;
  {
    const std::lock_guard lock(pool_mutex_);
    if (!pool_.empty()) {
      txn = std::move(pool_.back());
      pool_.pop_back();
    }
  }
  MDB_txn* raw = txn.get();
  const int rc = txn ? mdb_txn_renew(raw) : mdb_txn_begin(env_.get(), nullptr, MDB_RDONLY, &raw);
  if (rc != 0) return fail_lmdb(dir_, "read", rc);
  if (!txn) txn.reset(raw);
  return Reader(*this, std::move(txn));
}

void LmdbMetaStore::put_back(TxnPtr txn) {
  mdb_txn_reset(txn.get());
  const std::lock_guard lock(pool_mutex_);
  if (pool_.size() < kPooledMax) pool_.push_back(std::move(txn));
}

Result<std::string_view> LmdbMetaStore::checked(std::string_view key, const MDB_val& stored) const {
  const std::string_view all = view_of(stored);
  if (row_is_good(key, all)) return all.substr(0, all.size() - kCrcBytes);
  return fail(Errc::kCorruption, dir_ + ": a row's checksum is wrong");
}

Result<std::optional<std::string>> LmdbMetaStore::get(Table table, std::string_view key) {
  if (key.empty() || key.size() > kMetaKeyBytesMax) return std::optional<std::string>();
  TRY_ASSIGN(const Reader reader, this->reader());
  MDB_val wanted = value_of(key);
  MDB_val stored{};
  const int rc = mdb_get(reader.txn(), dbi(table), &wanted, &stored);
  if (rc == MDB_NOTFOUND) return std::optional<std::string>();
  if (rc != 0) return fail_lmdb(dir_, "get", rc);
  TRY_ASSIGN(const std::string_view value, checked(key, stored));
  return std::optional<std::string>(value);
}

Status LmdbMetaStore::scan(Table table, std::string_view from,
                           const std::function<bool(std::string_view, std::string_view)>& visit) {
  TRY_ASSIGN(const Reader reader, this->reader());
  MDB_cursor* raw = nullptr;
  if (const int rc = mdb_cursor_open(reader.txn(), dbi(table), &raw); rc != 0)
    return fail_lmdb(dir_, "scan", rc);
  const std::unique_ptr<MDB_cursor, CursorClose> cursor(raw);
  MDB_val key = value_of(from.substr(0, kMetaKeyBytesMax + 1));
  MDB_val stored{};
  int rc = mdb_cursor_get(raw, &key, &stored, from.empty() ? MDB_FIRST : MDB_SET_RANGE);
  for (; rc == 0; rc = mdb_cursor_get(raw, &key, &stored, MDB_NEXT)) {
    TRY_ASSIGN(const std::string_view value, checked(view_of(key), stored));
    if (!visit(view_of(key), value)) return {};
  }
  if (rc != MDB_NOTFOUND) return fail_lmdb(dir_, "scan", rc);
  return {};
}

Status LmdbMetaStore::apply(MDB_txn* txn, const TableChange& change) {
  if (change.key.empty() || change.key.size() > kMetaKeyBytesMax)
    return fail(Errc::kInvalid, "a meta store key is empty or too long");
  MDB_val key = value_of(change.key);
  if (!change.value) {
    const int rc = mdb_del(txn, dbi(change.table), &key, nullptr);
    if (rc != 0 && rc != MDB_NOTFOUND) return fail_lmdb(dir_, "remove", rc);
    return {};
  }
  MDB_val room{change.value->size() + kCrcBytes, nullptr};
  if (const int rc = mdb_put(txn, dbi(change.table), &key, &room, MDB_RESERVE); rc != 0)
    return fail_lmdb(dir_, "put", rc);
  char* out = static_cast<char*>(room.mv_data);
  out = std::copy(change.value->begin(), change.value->end(), out);
  const uint32_t crc = row_crc(change.key, *change.value);
  for (size_t i = 0; i < kCrcBytes; ++i) out[i] = static_cast<char>(crc >> (8 * i));
  return {};
}

Status LmdbMetaStore::write(const std::vector<TableChange>& changes) {
  MDB_txn* raw = nullptr;
  if (const int rc = mdb_txn_begin(env_.get(), nullptr, 0, &raw); rc != 0)
    return fail_lmdb(dir_, "begin", rc);
  TxnPtr txn(raw);
  for (const TableChange& change : changes) TRY(apply(raw, change));
  if (const int rc = mdb_txn_commit(txn.release()); rc != 0) return fail_lmdb(dir_, "commit", rc);
  measure();
  return {};
}

uint64_t LmdbMetaStore::bytes() const {
  const auto info = posix_env().stat(dir_ + "/data.mdb");
  return info ? info->allocated_bytes : 0;
}

// Pages in the file that no table uses.
Result<uint64_t> free_bytes(MDB_env* env, const std::string& dir) {
  constexpr MDB_dbi kFreeTable = 0;
  MDB_txn* raw = nullptr;
  if (const int rc = mdb_txn_begin(env, nullptr, MDB_RDONLY, &raw); rc != 0)
    return fail_lmdb(dir, "read", rc);
  const TxnPtr txn(raw);
  MDB_cursor* cursor_raw = nullptr;
  if (const int rc = mdb_cursor_open(raw, kFreeTable, &cursor_raw); rc != 0)
    return fail_lmdb(dir, "scan", rc);
  const std::unique_ptr<MDB_cursor, CursorClose> cursor(cursor_raw);
  uint64_t pages = 0;
  MDB_val key{};
  MDB_val list{};  // its first word counts the pages it names
  int rc = 0;
  while ((rc = mdb_cursor_get(cursor_raw, &key, &list, MDB_NEXT)) == 0) {
    size_t count = 0;
    if (list.mv_size < sizeof count) return fail(Errc::kCorruption, dir + ": free list");
    std::memcpy(&count, list.mv_data, sizeof count);
    pages += count;
  }
  if (rc != MDB_NOTFOUND) return fail_lmdb(dir, "scan", rc);
  MDB_stat stat{};
  if (mdb_env_stat(env, &stat) != 0) return uint64_t{0};
  return pages * stat.ms_psize;
}

// Pages in use: all up to the last one, without the free ones.
void LmdbMetaStore::measure() {
  MDB_envinfo info{};
  MDB_stat stat{};
  const auto unused = free_bytes(env_.get(), dir_);
  if (!unused || mdb_env_info(env_.get(), &info) != 0 || mdb_env_stat(env_.get(), &stat) != 0)
    return;
  const uint64_t all = (info.me_last_pgno + 1) * stat.ms_psize;
  used_bytes_ = all > *unused ? all - *unused : 0;
}

// Replaces the file by a copy without its free pages when they are more than half of it. The copy
// takes its place only when it is on disk, whole.
Status compact_when_half_free(const std::string& dir, uint64_t bytes_max) {
  Env& files = posix_env();
  const std::string path = dir + "/data.mdb";
  const std::string copy_dir = dir + "/compact";
  const std::string copy = copy_dir + "/data.mdb";
  if (files.stat(copy)) TRY(files.remove(copy));  // of an attempt that was cut short
  const auto info = files.stat(path);
  if (!info || info->size < kCompactFrom) return {};
  {
    TRY_ASSIGN(const EnvPtr env, open_env(dir, bytes_max));
    TRY_ASSIGN(const uint64_t unused, free_bytes(env.get(), dir));
    if (unused <= info->size / 2) return {};
    TRY(files.make_dirs(copy_dir));
    if (const int rc = mdb_env_copy2(env.get(), copy_dir.c_str(), MDB_CP_COMPACT); rc != 0)
      return fail_lmdb(copy_dir, "compact", rc);
  }
  {
    TRY_ASSIGN(const auto file, files.open(copy, OpenMode::kReadWrite));
    TRY(file->sync_data());
  }
  TRY(files.rename(copy, path));
  TRY(files.sync_dir(dir));
  return files.remove_dir(copy_dir);
}

}  // namespace

Result<std::unique_ptr<MetaStore>> open_lmdb_meta_store(const std::string& dir,
                                                        uint64_t bytes_max) {
  TRY(posix_env().make_dirs(dir));
  const std::string path = dir + "/data.mdb";
  if (const auto info = posix_env().stat(path); info && info->size > 0)
    TRY(check_lmdb_file(posix_env(), path, row_is_good));
  // Only to save disk: whatever fails, the file that is there still holds everything.
  if (const Status compacted = compact_when_half_free(dir, bytes_max); !compacted)
    log_warn("not compacted: {}", compacted.error().message());
  TRY_ASSIGN(EnvPtr env, open_env(dir, bytes_max));
  auto store = std::make_unique<LmdbMetaStore>(dir, bytes_max, std::move(env));
  TRY(store->open_tables());
  TRY(posix_env().sync_dir(dir));
  return std::unique_ptr<MetaStore>(std::move(store));
}

}  // namespace cairn
