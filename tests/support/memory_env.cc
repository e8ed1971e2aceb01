#include "tests/support/memory_env.h"

#include <algorithm>
#include <array>
#include <cerrno>

namespace cairn::test {

namespace {
constexpr uint64_t kPage = 4096;
using Page = std::array<std::byte, kPage>;
using PageRef = std::shared_ptr<const Page>;
using Pages = std::map<uint64_t, PageRef>;  // absent: a hole

const PageRef& zero_page() {
  static const PageRef page = std::make_shared<const Page>();
  return page;
}

std::string parent_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos || slash == 0 ? "/" : path.substr(0, slash);
}

PageRef find(const Pages& pages, uint64_t index) {
  const auto it = pages.find(index);
  return it == pages.end() ? nullptr : it->second;
}

void put(Pages& pages, uint64_t index, PageRef page) {
  if (page) {
    pages[index] = std::move(page);
  } else {
    pages.erase(index);
  }
}
}  // namespace

struct MemoryEnv::Inode {
  explicit Inode(std::shared_ptr<uint64_t> pages_in_use, uint64_t id)
      : in_use(std::move(pages_in_use)), number(id) {}
  ~Inode() { *in_use -= now.size(); }
  Inode(const Inode&) = delete;
  Inode& operator=(const Inode&) = delete;

  const std::shared_ptr<uint64_t> in_use;
  const uint64_t number;
  Pages now;
  Pages durable;
  std::set<uint64_t> unsynced;
  uint64_t size = 0;
  uint64_t durable_size = 0;

  void set(uint64_t index, PageRef page) {
    *in_use -= now.size();
    put(now, index, std::move(page));
    *in_use += now.size();
    unsynced.insert(index);
  }

  // Zeroes [from, to); whole pages become holes.
  void zero(uint64_t from, uint64_t to) {
    for (auto it = now.lower_bound(from / kPage); it != now.end() && it->first * kPage < to;) {
      const uint64_t index = it->first;
      const uint64_t begin = std::max(from, index * kPage) - index * kPage;
      const uint64_t end = std::min(to, (index + 1) * kPage) - index * kPage;
      const PageRef page = it->second;
      ++it;
      if (begin == 0 && end == kPage) {
        set(index, nullptr);
        continue;
      }
      auto changed = std::make_shared<Page>(*page);
      std::fill(changed->begin() + static_cast<ptrdiff_t>(begin),
                changed->begin() + static_cast<ptrdiff_t>(end), std::byte{0});
      set(index, std::move(changed));
    }
  }

  void sync() {
    for (const uint64_t index : unsynced) put(durable, index, find(now, index));
    unsynced.clear();
    durable_size = size;
  }

  // What the disk holds after power was lost.
  void crash(Rng& rng) {
    const uint64_t mood = rng.below(4);  // sometimes everything or nothing arrived
    for (const uint64_t index : unsynced) {
      const PageRef after = find(now, index);
      const PageRef before = find(durable, index);
      const uint64_t fate = mood == 0 ? 0 : mood == 1 ? 1 : rng.below(5);
      if (fate == 0 || fate == 4) {
        put(durable, index, after);
      } else if (fate == 2 && after) {
        put(durable, index, torn(before ? before : zero_page(), after, rng));
      } else if (fate == 3 && after && !before) {
        put(durable, index, garbage(rng));
      }
    }
    unsynced.clear();
    if (rng.below(2) == 0) durable_size = size;
    *in_use -= now.size();
    now = durable;
    size = durable_size;
    now.erase(now.lower_bound((size + kPage - 1) / kPage), now.end());
    *in_use += now.size();
    if (size % kPage != 0) zero(size, (size / kPage + 1) * kPage);
    sync();
  }

  static PageRef torn(const PageRef& before, const PageRef& after, Rng& rng) {
    auto page = std::make_shared<Page>(*before);
    constexpr size_t kSector = 512;
    for (size_t at = 0; at < kPage; at += kSector)
      if (rng.below(2) == 0)
        std::copy_n(after->begin() + static_cast<ptrdiff_t>(at), kSector,
                    page->begin() + static_cast<ptrdiff_t>(at));
    return page;
  }
  static PageRef garbage(Rng& rng) {
    auto page = std::make_shared<Page>();
    for (std::byte& byte : *page) byte = static_cast<std::byte>(rng.next());
    return page;
  }
};

struct MemoryEnv::NameChange {
  std::string path;
  std::shared_ptr<Inode> to;  // null: removed
  uint64_t group;             // both halves of a rename have one
};

class MemoryEnv::MemoryFile final : public File {
 public:
  MemoryFile(MemoryEnv& env, std::shared_ptr<Inode> inode, std::string path, bool writable)
      : env_(env),
        inode_(std::move(inode)),
        path_(std::move(path)),
        writable_(writable),
        life_(env.life_) {}
  ~MemoryFile() override {
    const std::lock_guard lock(env_.mutex_);
    inode_.reset();
  }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  Result<size_t> read_at(uint64_t offset, MutableBytes out) override {
    const std::lock_guard lock(env_.mutex_);
    TRY(alive());
    if (offset >= inode_->size) return size_t{0};
    const size_t wanted = std::min<uint64_t>(out.size(), inode_->size - offset);
    for (size_t done = 0; done < wanted;) {
      const uint64_t at = offset + done;
      const size_t part = std::min<uint64_t>(wanted - done, kPage - at % kPage);
      const PageRef page = find(inode_->now, at / kPage);
      const Page& from = page ? *page : *zero_page();
      std::copy_n(from.begin() + static_cast<ptrdiff_t>(at % kPage), part,
                  out.begin() + static_cast<ptrdiff_t>(done));
      done += part;
    }
    return wanted;
  }

  Status write_at(uint64_t offset, Bytes data) override {
    TRY(env_.ask(FileCall::kWrite, path_));
    const std::lock_guard lock(env_.mutex_);
    TRY(may_write());
    if (data.empty()) return {};
    TRY(make_room(offset, data.size()));
    for (size_t done = 0; done < data.size();) {
      const uint64_t at = offset + done;
      const size_t part = std::min<uint64_t>(data.size() - done, kPage - at % kPage);
      const PageRef before = find(inode_->now, at / kPage);
      auto page = std::make_shared<Page>(before ? *before : *zero_page());
      std::copy_n(data.begin() + static_cast<ptrdiff_t>(done), part,
                  page->begin() + static_cast<ptrdiff_t>(at % kPage));
      inode_->set(at / kPage, std::move(page));
      done += part;
    }
    inode_->size = std::max(inode_->size, offset + data.size());
    return {};
  }

  Status sync_data() override {
    TRY(env_.ask(FileCall::kSync, path_));
    const std::lock_guard lock(env_.mutex_);
    TRY(alive());
    inode_->sync();
    ++env_.syncs_;
    return {};
  }

  Result<uint64_t> size() override {
    const std::lock_guard lock(env_.mutex_);
    TRY(alive());
    return inode_->size;
  }

  Result<uint64_t> allocated_bytes() override {
    const std::lock_guard lock(env_.mutex_);
    TRY(alive());
    return inode_->now.size() * kPage;
  }

  Status allocate(uint64_t offset, uint64_t length) override {
    TRY(env_.ask(FileCall::kAllocate, path_));
    const std::lock_guard lock(env_.mutex_);
    TRY(may_write());
    TRY(make_room(offset, length));
    for (uint64_t index = offset / kPage; index * kPage < offset + length; ++index)
      if (!inode_->now.contains(index)) inode_->set(index, zero_page());
    inode_->size = std::max(inode_->size, offset + length);
    return {};
  }

  Status punch(uint64_t offset, uint64_t length) override {
    const std::lock_guard lock(env_.mutex_);
    TRY(may_write());
    inode_->zero(offset, std::min(offset + length, inode_->size));
    return {};
  }

  Status truncate(uint64_t size) override {
    TRY(env_.ask(FileCall::kTruncate, path_));
    const std::lock_guard lock(env_.mutex_);
    TRY(may_write());
    if (size < inode_->size) inode_->zero(size, UINT64_MAX);
    inode_->size = size;
    return {};
  }

 private:
  Status alive() const {
    if (life_ != env_.life_) return fail(Errc::kIo, "the process that opened this file is dead");
    return {};
  }
  Status may_write() const {
    TRY(alive());
    if (!writable_) return fail_errno(EBADF, "write to a file opened for reading");
    return {};
  }
  Status make_room(uint64_t offset, uint64_t length) const {
    uint64_t missing = 0;
    for (uint64_t index = offset / kPage; index * kPage < offset + length; ++index)
      if (!inode_->now.contains(index)) ++missing;
    return env_.reserve(missing);
  }

  MemoryEnv& env_;
  std::shared_ptr<Inode> inode_;
  const std::string path_;
  const bool writable_;
  const uint64_t life_;
};

class MemoryEnv::MemoryLock final : public FileLock {
 public:
  MemoryLock(MemoryEnv& env, std::string path)
      : env_(env), path_(std::move(path)), life_(env.life_) {}
  ~MemoryLock() override {
    const std::lock_guard lock(env_.mutex_);
    if (life_ == env_.life_) env_.locked_.erase(path_);
  }
  MemoryLock(const MemoryLock&) = delete;
  MemoryLock& operator=(const MemoryLock&) = delete;

 private:
  MemoryEnv& env_;
  const std::string path_;
  const uint64_t life_;
};

MemoryEnv::MemoryEnv() : dirs_{"/"} {}
MemoryEnv::~MemoryEnv() = default;

Status MemoryEnv::reserve(uint64_t pages) {
  if (*pages_ + pages > capacity_pages_) return fail_errno(ENOSPC, "the disk in memory is full");
  return {};
}

Status MemoryEnv::check_parent(const std::string& path) const {
  if (!dirs_.contains(parent_of(path))) return fail_errno(ENOENT, "no directory for " + path);
  return {};
}

void MemoryEnv::put_name(Names& names, const NameChange& change) {
  if (change.to) {
    names[change.path] = change.to;
  } else {
    names.erase(change.path);
  }
}

void MemoryEnv::change_name(const std::string& path, std::shared_ptr<Inode> to, uint64_t group) {
  changes_.push_back({path, std::move(to), group});
  put_name(names_, changes_.back());
}

Result<std::unique_ptr<File>> MemoryEnv::open(const std::string& path, OpenMode mode) {
  TRY(ask(FileCall::kOpen, path));
  const std::lock_guard lock(mutex_);
  TRY(check_parent(path));
  auto it = names_.find(path);
  if (it == names_.end()) {
    if (mode == OpenMode::kRead || mode == OpenMode::kReadWrite)
      return fail_errno(ENOENT, "open " + path);
    change_name(path, std::make_shared<Inode>(pages_, next_number_++), next_group_++);
    it = names_.find(path);
  } else if (mode == OpenMode::kCreateNew) {
    return fail_errno(EEXIST, "open " + path);
  }
  return std::unique_ptr<File>(
      std::make_unique<MemoryFile>(*this, it->second, path, mode != OpenMode::kRead));
}

Result<FileInfo> MemoryEnv::stat(const std::string& path) {
  const std::lock_guard lock(mutex_);
  FileInfo info;
  if (dirs_.contains(path)) {
    info.is_directory = true;
    return info;
  }
  const auto it = names_.find(path);
  if (it == names_.end()) return fail_errno(ENOENT, "stat " + path);
  info.is_regular = true;
  info.size = it->second->size;
  info.allocated_bytes = it->second->now.size() * kPage;
  info.inode = it->second->number;
  info.link_count = static_cast<uint64_t>(std::count_if(
      names_.begin(), names_.end(), [&it](const auto& name) { return name.second == it->second; }));
  return info;
}

Result<std::vector<std::string>> MemoryEnv::list_dir(const std::string& path) {
  const std::lock_guard lock(mutex_);
  if (!dirs_.contains(path)) return fail_errno(ENOENT, "list " + path);
  std::vector<std::string> out;
  const auto add = [&](const std::string& full) {
    if (full != "/" && parent_of(full) == path) out.push_back(full.substr(full.rfind('/') + 1));
  };
  for (const auto& [name, inode] : names_) add(name);
  for (const std::string& dir : dirs_) add(dir);
  std::sort(out.begin(), out.end());
  return out;
}

Status MemoryEnv::make_dirs(const std::string& path) {
  const std::lock_guard lock(mutex_);
  for (size_t at = path.find('/', 1);; at = path.find('/', at + 1)) {
    const std::string part = path.substr(0, at);
    if (names_.contains(part)) return fail_errno(ENOTDIR, "make " + part);
    dirs_.insert(part);
    if (at == std::string::npos) return {};
  }
}

Status MemoryEnv::rename(const std::string& from, const std::string& to) {
  const std::lock_guard lock(mutex_);
  TRY(check_parent(to));
  const auto it = names_.find(from);
  if (it == names_.end()) return fail_errno(ENOENT, "rename " + from);
  const uint64_t group = next_group_++;
  const std::shared_ptr<Inode> inode = it->second;
  change_name(to, inode, group);
  change_name(from, nullptr, group);
  return {};
}

Status MemoryEnv::link(const std::string& from, const std::string& to) {
  const std::lock_guard lock(mutex_);
  TRY(check_parent(to));
  const auto it = names_.find(from);
  if (it == names_.end()) return fail_errno(ENOENT, "link " + from);
  if (names_.contains(to)) return fail_errno(EEXIST, "link to " + to);
  change_name(to, it->second, next_group_++);
  return {};
}

Status MemoryEnv::remove(const std::string& path) {
  TRY(ask(FileCall::kRemove, path));
  const std::lock_guard lock(mutex_);
  if (!names_.contains(path)) return fail_errno(ENOENT, "remove " + path);
  change_name(path, nullptr, next_group_++);
  return {};
}

Status MemoryEnv::remove_dir(const std::string& path) {
  TRY_ASSIGN(const auto inside, list_dir(path));
  if (!inside.empty()) return fail_errno(ENOTEMPTY, "remove directory " + path);
  const std::lock_guard lock(mutex_);
  dirs_.erase(path);
  return {};
}

Status MemoryEnv::sync_dir(const std::string& path) {
  TRY(ask(FileCall::kSyncDir, path));
  const std::lock_guard lock(mutex_);
  if (!dirs_.contains(path)) return fail_errno(ENOENT, "sync directory " + path);
  std::set<uint64_t> groups;
  for (const NameChange& change : changes_)
    if (parent_of(change.path) == path) groups.insert(change.group);
  std::erase_if(changes_, [&](const NameChange& change) {
    if (!groups.contains(change.group)) return false;
    put_name(durable_names_, change);
    return true;
  });
  return {};
}

Result<std::unique_ptr<FileLock>> MemoryEnv::lock_file(const std::string& path) {
  const std::lock_guard lock(mutex_);
  TRY(check_parent(path));
  if (!locked_.insert(path).second) return fail(Errc::kExists, path + " is locked", EBUSY);
  return std::unique_ptr<FileLock>(std::make_unique<MemoryLock>(*this, path));
}

Result<DiskSpace> MemoryEnv::disk_space(const std::string&) {
  const std::lock_guard lock(mutex_);
  const uint64_t used = std::min(*pages_, capacity_pages_);
  return DiskSpace{capacity_pages_ * kPage, (capacity_pages_ - used) * kPage};
}

// The engine keeps nothing in attributes; a file: store does, and is told that there are none.
Status MemoryEnv::set_attribute(const std::string& path, const std::string&, const std::string&) {
  return fail_errno(EOPNOTSUPP, "set an attribute of " + path);
}
Result<FileAttributes> MemoryEnv::attributes(const std::string& path) {
  return fail_errno(EOPNOTSUPP, "list the attributes of " + path);
}

void MemoryEnv::end_life() {
  ++life_;
  locked_.clear();
}

void MemoryEnv::kill() {
  const std::lock_guard lock(mutex_);
  end_life();
}

void MemoryEnv::crash(Rng& rng) {
  const std::lock_guard lock(mutex_);
  end_life();
  // How many groups of changes each directory keeps; a rename goes with the directory it leads to.
  std::map<std::string, std::vector<uint64_t>> groups_of;
  for (const NameChange& change : changes_) {
    auto& groups = groups_of[parent_of(change.path)];
    if (change.to || groups.empty() || groups.back() != change.group)
      groups.push_back(change.group);
  }
  std::set<uint64_t> lost;
  for (auto& [dir, groups] : groups_of)
    lost.insert(groups.begin() + static_cast<ptrdiff_t>(rng.below(groups.size() + 1)),
                groups.end());
  for (const NameChange& change : changes_)
    if (!lost.contains(change.group)) put_name(durable_names_, change);
  changes_.clear();
  names_ = durable_names_;
  std::set<std::shared_ptr<Inode>> inodes;
  for (const auto& [path, inode] : names_) inodes.insert(inode);
  std::vector<std::shared_ptr<Inode>> in_order(inodes.begin(), inodes.end());
  std::sort(in_order.begin(), in_order.end(),
            [](const auto& a, const auto& b) { return a->number < b->number; });
  for (const auto& inode : in_order) inode->crash(rng);
}

void MemoryEnv::set_capacity(uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  capacity_pages_ = bytes / kPage;
}

uint64_t MemoryEnv::allocated_bytes() const {
  const std::lock_guard lock(mutex_);
  return *pages_ * kPage;
}

uint64_t MemoryEnv::syncs() const {
  const std::lock_guard lock(mutex_);
  return syncs_;
}

}  // namespace cairn::test
