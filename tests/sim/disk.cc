#include "tests/sim/disk.h"

#include <algorithm>
#include <cerrno>

#include "cache/base/coding.h"
#include "cache/journal_format.h"

namespace cairn::sim {

void Disk::power_cut() {
  env_.crash(scheduler_.rng());
  if (lie_ == Lie::kMetaCommit && !undo_.empty()) (void)meta_->write(undo_);
  undo_.clear();
}

Status DiskView::reach(const char* point) {
  disk_.scheduler_.point(point);
  if (dead_) return fail(Errc::kIo, "the process is dead");
  return {};
}

Status DiskView::sync_takes_time(const std::string& path) {
  TRY(reach("disk.sync"));
  Rng& rng = disk_.scheduler_.rng();
  const bool slow = faults_.slow_sync_one_in != 0 && rng.below(faults_.slow_sync_one_in) == 0;
  disk_.scheduler_.sleep(std::chrono::microseconds(slow ? rng.below(400'000) : rng.below(3'000)));
  if (dead_) return fail(Errc::kIo, "the process is dead");
  if (++syncs_ != faults_.fail_sync_at) return {};
  failed_ = true;
  return fail_errno(EIO, "injected: sync of " + path);
}

class DiskFile final : public File {
 public:
  DiskFile(DiskView& view, std::unique_ptr<File> file, std::string path)
      : view_(view), file_(std::move(file)), path_(std::move(path)) {}

  Result<size_t> read_at(uint64_t offset, MutableBytes out) override {
    return file_->read_at(offset, out);
  }
  Status write_at(uint64_t offset, Bytes data) override {
    if (view_.dying_ && view_.dying_() && !data.empty()) {
      const size_t part = view_.disk_.scheduler_.rng().below(data.size() + 1);
      (void)file_->write_at(offset, data.first(part));
      if (view_.disk_.lie_ == Lie::kTornRecord && path_.find("/journal/") != std::string::npos)
        (void)write_torn_record(offset, data);
    }
    TRY(view_.reach("disk.write"));
    if (++view_.writes_ == view_.faults_.fail_write_at) {
      view_.failed_ = true;
      return fail_errno(EIO, "injected: write to " + path_);
    }
    return file_->write_at(offset, data);
  }
  Status sync_data() override {
    TRY(view_.sync_takes_time(path_));
    const Lie lie = view_.disk_.lie_;
    if (lie == Lie::kJournalSync && path_.find("/journal/") != std::string::npos) return {};
    if (lie == Lie::kSegmentSync && path_.find("/segments/") != std::string::npos) return {};
    return file_->sync_data();
  }
  Result<uint64_t> size() override { return file_->size(); }
  Result<uint64_t> allocated_bytes() override { return file_->allocated_bytes(); }
  Status allocate(uint64_t offset, uint64_t length) override {
    TRY(view_.reach("disk.allocate"));
    return file_->allocate(offset, length);
  }
  Status punch(uint64_t offset, uint64_t length) override {
    TRY(view_.reach("disk.punch"));
    return file_->punch(offset, length);
  }
  Status truncate(uint64_t size) override {
    TRY(view_.reach("disk.truncate"));
    return file_->truncate(size);
  }

 private:
  // The second half of its payload is missing, and its checksum is right.
  Status write_torn_record(uint64_t offset, Bytes frame) {
    if (offset < kJournalHeaderBytes || frame.size() < kFrameHeaderBytes) return {};
    ByteVec head(kJournalHeaderBytes);
    TRY(file_->read_at(0, head));
    TRY_ASSIGN(const JournalHeader header, decode_journal_header(head));
    ByteVec payload(frame.begin() + kFrameHeaderBytes, frame.end());
    std::fill(payload.begin() + static_cast<ptrdiff_t>(payload.size() / 2), payload.end(),
              std::byte{0});
    const Bytes parts[] = {payload};
    ByteVec torn;
    encode_frame(torn, frame_seed(header), get_le<Lsn>(frame.data() + 8),
                 get_le<Lsn>(frame.data() + 16), static_cast<uint8_t>(frame[24]), parts);
    return file_->write_at(offset, torn);
  }

  DiskView& view_;
  std::unique_ptr<File> file_;
  const std::string path_;
};

// A transaction is there or not: the process dies before it, or before it hears of it.
class DiskMeta final : public MetaStore {
 public:
  explicit DiskMeta(DiskView& view) : view_(view), rows_(view.disk_.meta_) {}
  Result<std::optional<std::string>> get(Table table, std::string_view key) override {
    return rows_->get(table, key);
  }
  Status scan(Table table, std::string_view from,
              const std::function<bool(std::string_view, std::string_view)>& visit) override {
    return rows_->scan(table, from, visit);
  }
  Status write(const std::vector<TableChange>& changes) override {
    TRY(view_.reach("meta.commit"));
    if (view_.disk_.lie_ == Lie::kMetaCommit) TRY(keep_undo(changes));
    view_.disk_.scheduler_.sleep(
        std::chrono::microseconds(view_.disk_.scheduler_.rng().below(5'000)));
    if (view_.dead_) return fail(Errc::kIo, "the process is dead");
    TRY(rows_->write(changes));
    return view_.reach("meta.committed");
  }
  uint64_t bytes() const override { return rows_->bytes(); }
  uint64_t used_bytes() const override { return rows_->used_bytes(); }
  uint64_t bytes_max() const override { return rows_->bytes_max(); }

 private:
  Status keep_undo(const std::vector<TableChange>& changes) {
    std::vector<TableChange>& undo = view_.disk_.undo_;
    undo.clear();
    for (const TableChange& change : changes) {
      TRY_ASSIGN(auto before, rows_->get(change.table, change.key));
      undo.push_back({change.table, change.key, std::move(before)});
    }
    return {};
  }
  DiskView& view_;
  const std::shared_ptr<MetaStore> rows_;
};

std::unique_ptr<MetaStore> DiskView::meta() {
  return std::make_unique<DiskMeta>(*this);
}

Result<std::unique_ptr<File>> DiskView::open(const std::string& path, OpenMode mode) {
  TRY(reach("disk.open"));
  TRY_ASSIGN(auto file, disk_.env_.open(path, mode));
  return std::unique_ptr<File>(std::make_unique<DiskFile>(*this, std::move(file), path));
}

Result<FileInfo> DiskView::stat(const std::string& path) {
  TRY(reach("disk.stat"));
  return disk_.env_.stat(path);
}

Result<std::vector<std::string>> DiskView::list_dir(const std::string& path) {
  TRY(reach("disk.list"));
  return disk_.env_.list_dir(path);
}

Status DiskView::make_dirs(const std::string& path) {
  TRY(reach("disk.mkdir"));
  return disk_.env_.make_dirs(path);
}

Status DiskView::rename(const std::string& from, const std::string& to) {
  TRY(reach("disk.rename"));
  return disk_.env_.rename(from, to);
}

Status DiskView::link(const std::string& from, const std::string& to) {
  TRY(reach("disk.link"));
  return disk_.env_.link(from, to);
}

Status DiskView::remove(const std::string& path) {
  TRY(reach("disk.remove"));
  if (disk_.lie_ == Lie::kSegmentRemove && path.find("/segments/") != std::string::npos) return {};
  return disk_.env_.remove(path);
}

Status DiskView::remove_dir(const std::string& path) {
  TRY(reach("disk.rmdir"));
  return disk_.env_.remove_dir(path);
}

Status DiskView::sync_dir(const std::string& path) {
  TRY(sync_takes_time(path));
  if (disk_.lie_ == Lie::kDirSync) return {};
  return disk_.env_.sync_dir(path);
}

Result<std::unique_ptr<FileLock>> DiskView::lock_file(const std::string& path) {
  TRY(reach("disk.lock"));
  return disk_.env_.lock_file(path);
}

Result<DiskSpace> DiskView::disk_space(const std::string& path) {
  return disk_.env_.disk_space(path);
}

Status DiskView::set_attribute(const std::string& path, const std::string& name,
                               const std::string& value) {
  return disk_.env_.set_attribute(path, name, value);
}

Result<FileAttributes> DiskView::attributes(const std::string& path) {
  return disk_.env_.attributes(path);
}

}  // namespace cairn::sim
