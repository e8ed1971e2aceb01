#include "cache/meta_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "cache/base/log.h"
#include "cache/pack_file.h"
#include "cache/store_keys.h"

namespace cairn {
namespace {
constexpr size_t kOpenFilesMax = 64;
constexpr size_t kAdoptedEntries = 32 << 10;  // that go into the index at once
constexpr std::string_view kPackSuffix = ".car";
constexpr std::string_view kWindowSuffix = ".win";
constexpr std::string_view kEndSuffix = ".end";

std::string unit_name(const MetaUnit& unit) {
  if (unit.window == MetaUnit::kWhole) return unit.pack.hex() + std::string(kPackSuffix);
  if (unit.window == MetaUnit::kEnd) return unit.pack.hex() + std::string(kEndSuffix);
  return fmt::format("{}.{}{}", unit.pack.hex(), unit.window, kWindowSuffix);
}
}  // namespace

std::string MetaFiles::path(const MetaUnit& unit) const {
  return dir_ + "/" + unit_name(unit);
}

std::optional<MetaUnit> MetaFiles::parse_name(std::string_view name) {
  constexpr size_t kHex = 64;
  if (name.size() < kHex) return std::nullopt;
  const auto pack = Digest::from_hex(name.substr(0, kHex));
  if (!pack) return std::nullopt;
  MetaUnit unit{*pack, MetaUnit::kWhole};
  std::string_view rest = name.substr(kHex);
  if (rest == kPackSuffix) return unit;
  if (rest == kEndSuffix) return MetaUnit{*pack, MetaUnit::kEnd};
  if (!rest.starts_with('.') || !rest.ends_with(kWindowSuffix)) return std::nullopt;
  rest.remove_prefix(1);
  rest.remove_suffix(std::min(rest.size(), kWindowSuffix.size()));
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), unit.window);
  if (error != std::errc{} || end != rest.data() + rest.size() || unit_name(unit) != name)
    return std::nullopt;
  return unit;
}

// ---- what an earlier life left

Status MetaFiles::open() {
  TRY(env_.make_dirs(dir_));
  TRY_ASSIGN(const auto names, env_.list_dir(dir_));
  struct Found {
    int64_t mtime_ns;
    MetaUnit unit;
    uint64_t bytes;
  };
  std::vector<Found> found;
  for (const std::string& name : names) {
    const auto unit = parse_name(name);
    const auto info = env_.stat(dir_ + "/" + name);
    if (unit && info && info->is_regular) {
      found.push_back({info->mtime_ns, *unit, info->size});
    } else if (name.ends_with(kPartSuffix)) {
      TRY(env_.remove(dir_ + "/" + name));
    }
  }
  std::sort(found.begin(), found.end(),
            [](const Found& a, const Found& b) { return a.mtime_ns < b.mtime_ns; });
  Entries entries;
  for (const Found& file : found) {
    const Status adopted = adopt(file.unit, file.bytes, entries);
    // Not file by file: that would merge once for each.
    if (entries.size() >= kAdoptedEntries) add_to_index(std::exchange(entries, {}));
    if (adopted) continue;
    log_info("{}: {}; it will be fetched again", path(file.unit), adopted.error().message());
    TRY(env_.remove(path(file.unit)));
  }
  add_to_index(std::move(entries));
  evict();
  return {};
}

Status MetaFiles::adopt(const MetaUnit& unit, uint64_t bytes, Entries& entries) {
  TRY_ASSIGN(const auto file, env_.open(path(unit), OpenMode::kRead));
  FileSource source(*file, bytes);
  std::vector<PackEntry> blocks;
  if (unit.window == MetaUnit::kWhole) {
    TRY_ASSIGN(const PackTail tail, read_pack_tail(source, unit.pack));
    blocks = entries_of(tail);
  } else {
    TRY_ASSIGN(blocks, scan_sections(source));
  }
  add(unit, bytes, blocks, entries);
  return {};
}

// ---- reading

std::optional<Buffer> MetaFiles::get(const Digest& digest) {
  {
    const std::lock_guard lock(mutex_);
    const auto it = by_digest_.find(digest);
    if (it != by_digest_.end()) {
      remembered_.splice(remembered_.begin(), remembered_, it->second);
      return it->second->second;
    }
  }
  for (const Place& place : places(digest)) {
    auto block = read(place, digest);
    if (block) return *std::move(block);
    if (block.error().code() == Errc::kNotFound) continue;  // another block with this prefix
    log_warn("{}: {}; it will be fetched again", path(place.unit), block.error().message());
    drop(place.number);
  }
  return std::nullopt;
}

std::vector<MetaFiles::Place> MetaFiles::places(const Digest& digest) {
  std::vector<PrefixIndex::Entry> entries;
  index_.find(digest, [&](const PrefixIndex::Entry& entry) {
    entries.push_back(entry);
    return false;
  });
  std::vector<Place> found;
  const std::lock_guard lock(mutex_);
  for (const PrefixIndex::Entry& entry : entries) {
    const auto it = by_number_.find(entry.file);
    if (it == by_number_.end()) continue;
    LocalFile& file = *it->second;
    files_.splice(files_.begin(), files_, it->second);
    found.push_back({file.number, file.unit, file.file, entry.offset, entry.length});
  }
  return found;
}

// kNotFound: there is a whole block, but another one.
Result<Buffer> MetaFiles::read(const Place& place, const Digest& digest) {
  std::shared_ptr<File> file = place.file;
  if (!file) {
    auto opened = env_.open(path(place.unit), OpenMode::kRead);
    if (!opened) return fail(Errc::kIo, opened.error().message());
    file = *std::move(opened);
    const std::lock_guard lock(mutex_);
    const auto it = by_number_.find(place.number);
    if (it != by_number_.end() && !it->second->file) {
      close_some_locked();
      it->second->file = file;
      ++open_files_;
    }
  }
  ByteVec bytes(place.length);
  TRY_ASSIGN(const size_t count, file->read_at(place.offset, bytes));
  if (count != bytes.size()) return fail(Errc::kCorruption, "the file is too short");
  if (sha256(bytes) == digest) return Buffer(std::move(bytes));
  // Either the file is damaged or the index gave another block's place: the section's own CID,
  // which stands before the block, says which.
  TRY_ASSIGN(const Digest there, section_digest(*file, place.offset));
  if (there != digest && sha256(bytes) == there)
    return fail(Errc::kNotFound, "another block with the same prefix");
  return fail(Errc::kCorruption, fmt::format("the block at {} is damaged", place.offset));
}

bool MetaFiles::has(const MetaUnit& unit) const {
  const std::lock_guard lock(mutex_);
  return by_unit_.contains(unit);
}

bool MetaFiles::has_window_of(const Digest& pack) const {
  const std::lock_guard lock(mutex_);
  const auto first = by_unit_.lower_bound({pack, 0});
  return first != by_unit_.end() && first->first.pack == pack &&
         first->first.window < MetaUnit::kEnd;
}

void MetaFiles::close_some_locked() {
  if (open_files_ < kOpenFilesMax) return;
  for (auto it = files_.rbegin(); it != files_.rend() && open_files_ >= kOpenFilesMax; ++it) {
    if (!it->file) continue;
    it->file.reset();
    --open_files_;
  }
}

// ---- keeping

Status MetaFiles::store(const MetaUnit& unit, Bytes bytes, const std::vector<PackEntry>& blocks) {
  if (bytes.size() > files_bytes_max_ || has(unit)) return {};
  {
    const std::lock_guard lock(mutex_);
    incoming_bytes_ += bytes.size();
  }
  evict();
  const Status written = write(unit, bytes);
  {
    const std::lock_guard lock(mutex_);
    incoming_bytes_ -= bytes.size();
  }
  Entries entries;
  if (written) add(unit, bytes.size(), blocks, entries);
  add_to_index(std::move(entries));
  if (has({unit.pack, MetaUnit::kWhole})) drop_parts(unit.pack);
  return written;
}

void MetaFiles::drop_parts(const Digest& pack) {
  std::vector<uint32_t> parts;
  {
    const std::lock_guard lock(mutex_);
    for (auto it = by_unit_.lower_bound({pack, 0});
         it != by_unit_.end() && it->first.pack == pack && it->first.window != MetaUnit::kWhole;
         ++it)
      parts.push_back(it->second);
  }
  for (const uint32_t number : parts) drop(number);
  if (!parts.empty()) sweep();
}

Status MetaFiles::write(const MetaUnit& unit, Bytes bytes) {
  const std::string part = path(unit) + std::string(kPartSuffix);
  const auto write_part = [&]() -> Status {
    TRY_ASSIGN(const auto file, env_.open(part, OpenMode::kCreate));
    TRY(file->truncate(0));
    TRY(file->write_at(0, bytes));
    return env_.rename(part, path(unit));
  };
  const Status written = write_part();
  // What failed is said already; open() removes it otherwise.
  if (!written) (void)env_.remove(part);
  return written;
}

void MetaFiles::add(const MetaUnit& unit, uint64_t bytes, const std::vector<PackEntry>& blocks,
                    Entries& entries) {
  const std::lock_guard lock(mutex_);
  if (by_unit_.contains(unit)) return;
  const uint32_t number = next_number_++;
  files_.push_front({number, unit, bytes, blocks.size(), nullptr});
  by_number_.emplace(number, files_.begin());
  by_unit_.emplace(unit, number);
  disk_bytes_ += bytes;
  blocks_ += blocks.size();
  for (const PackEntry& block : blocks)
    entries.push_back({.prefix = PrefixIndex::prefix_of(block.digest),
                       .offset = block.offset,
                       .length = block.length,
                       .file = number});
}

// Only after their files are listed, so that a merge that asks which are there never leaves one
// out.
void MetaFiles::add_to_index(Entries entries) {
  // A file of which not every block is known any more is not here.
  for (const uint32_t number : index_.add(std::move(entries), [this] { return numbers(); }))
    drop(number);
}

// A file's entries are swept out once half as many may be dead as live.
void MetaFiles::sweep() {
  {
    const std::lock_guard lock(mutex_);
    if (dropped_ <= blocks_ / 2) return;
    dropped_ = 0;
  }
  index_.sweep([this] { return numbers(); });
}

std::set<uint32_t> MetaFiles::numbers() const {
  std::set<uint32_t> all;
  const std::lock_guard lock(mutex_);
  for (const auto& [number, file] : by_number_) all.insert(all.end(), number);
  return all;
}

void MetaFiles::evict() {
  while (true) {
    uint32_t victim = 0;
    {
      const std::lock_guard lock(mutex_);
      const bool fits = disk_bytes_ + incoming_bytes_ <= files_bytes_max_ && blocks_ <= blocks_max_;
      if (files_.empty() || fits) return;
      victim = files_.back().number;
    }
    drop(victim);
    sweep();
  }
}

void MetaFiles::drop(uint32_t number) {
  std::shared_ptr<File> closing;  // closed without the lock
  MetaUnit unit;
  {
    const std::lock_guard lock(mutex_);
    const auto it = by_number_.find(number);
    if (it == by_number_.end()) return;
    unit = it->second->unit;
    disk_bytes_ -= it->second->bytes;
    blocks_ -= it->second->blocks;
    dropped_ += it->second->blocks;
    closing = std::move(it->second->file);
    if (closing) --open_files_;
    by_unit_.erase(unit);
    files_.erase(it->second);
    by_number_.erase(it);
  }
  const Status removed = env_.remove(path(unit));
  if (!removed && removed.error().code() != Errc::kNotFound)
    log_warn("{}", removed.error().message());
}

void MetaFiles::remember(const Digest& digest, Buffer block) {
  // A slice would keep the whole pack it came from in memory.
  Buffer own = Buffer::copy(block.view());
  std::list<std::pair<Digest, Buffer>> forgotten;  // destroyed without the lock
  const std::lock_guard lock(mutex_);
  if (own.size() > memory_bytes_max_ || by_digest_.contains(digest)) return;
  remembered_bytes_ += own.size();
  remembered_.emplace_front(digest, std::move(own));
  by_digest_.emplace(digest, remembered_.begin());
  while (remembered_bytes_ > memory_bytes_max_) {
    const auto last = std::prev(remembered_.end());
    remembered_bytes_ -= last->second.size();
    by_digest_.erase(last->first);
    forgotten.splice(forgotten.begin(), remembered_, last);
  }
}

uint64_t MetaFiles::disk_bytes() const {
  const std::lock_guard lock(mutex_);
  return disk_bytes_;
}

}  // namespace cairn
