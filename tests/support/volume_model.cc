#include "tests/support/volume_model.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "cache/await.h"
#include "cache/format/unixfs_file.h"
#include "tests/support/memory_blocks.h"

namespace cairn::test {
namespace {

template <class T>
T require(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message());
  return *std::move(result);
}

void require(const Status& status) {
  if (!status) throw std::runtime_error(status.error().message());
}

std::string file_name(Ino ino) {
  return "file " + std::to_string(ino);
}

// Runs `step` again, with what it misses fetched.
template <class Step>
auto with_fetch(Remote& remote, const Step& step) {
  while (true) {
    Missing missing;
    auto result = step(missing);
    if (result || result.error().code() != Errc::kNotLocal) return require(std::move(result));
    require(await<void>(
        [&](Callback<void> done) { remote.fetch(missing, Context(), std::move(done)); }));
  }
}

}  // namespace

void VolumeModel::create(Ino ino) {
  files_.try_emplace(ino);
  pending_[ino] = Pending{{}, 0};
  changed_.insert(ino);
  ++lsn_;
}

void VolumeModel::remove(Ino ino) {
  files_.erase(ino);
  pending_.erase(ino);
  changed_.insert(ino);
  ++lsn_;
}

void VolumeModel::add_extent(Ino ino, uint64_t offset, uint64_t length, const Extent& source) {
  changed_.insert(ino);
  Extent part = source;
  part.lsn = ++lsn_;
  require(each_chunk_extent(chunk_bytes_, offset, length, part,
                            [&](uint64_t chunk, const Extent& extent) -> Status {
                              write_extent(pending_[ino].chunks[chunk], extent);
                              return {};
                            }));
}

bool VolumeModel::copy(Ino from, Ino to, uint64_t offset, uint64_t length) {
  const auto old = published_files_.find(from);
  const auto now = files_.find(from);
  if (old == published_files_.end() || now == files_.end() || !files_.contains(to)) return false;
  const uint64_t start = offset / chunk_bytes_ * chunk_bytes_;
  if (offset >= std::min(old->second.size(), now->second.size())) return false;
  const std::string leaf = old->second.substr(start, chunk_bytes_);
  if (now->second.substr(start, chunk_bytes_) != leaf ||
      leaf.find_first_not_of('\0') == std::string::npos)
    return false;
  const uint64_t at = offset - start;
  length = std::min<uint64_t>(length, leaf.size() - at);
  std::string& file = files_.at(to);
  if (offset + length > file.size()) file.resize(offset + length);
  file.replace(offset, length, leaf.substr(at, length));
  add_extent(to, offset, length,
             Extent::of_leaf({sha256(as_bytes(leaf)), static_cast<uint32_t>(leaf.size()),
                              static_cast<uint32_t>(at)}));
  return true;
}

void VolumeModel::write(Ino ino, uint64_t offset, const std::string& bytes) {
  if (bytes.empty()) return;
  std::string& file = files_.at(ino);
  if (offset + bytes.size() > file.size()) file.resize(offset + bytes.size());
  file.replace(offset, bytes.size(), bytes);
  require(log_->write_at(log_size_, as_bytes(bytes)));
  add_extent(ino, offset, bytes.size(), Extent::at_ref({DataRef::Kind::kSegment, 1, log_size_}));
  log_size_ += bytes.size();
}

void VolumeModel::zero(Ino ino, uint64_t offset, uint64_t length) {
  std::string& file = files_.at(ino);
  if (offset >= file.size()) return;
  length = std::min<uint64_t>(length, file.size() - offset);
  file.replace(offset, length, std::string(length, '\0'));
  add_extent(ino, offset, length, Extent::zeroes());
}

void VolumeModel::truncate(Ino ino, uint64_t size) {
  files_.at(ino).resize(size);
  ++lsn_;
  changed_.insert(ino);
  Pending& pending = pending_[ino];
  pending.base_limit = std::min(pending.base_limit, size);
  for (auto it = pending.chunks.begin(); it != pending.chunks.end();) {
    const uint64_t start = it->first * chunk_bytes_;
    if (start >= size) {
      it = pending.chunks.erase(it);
      continue;
    }
    if (size - start < chunk_bytes_) cut_extents(it->second, static_cast<uint32_t>(size - start));
    it = it->second.empty() ? pending.chunks.erase(it) : std::next(it);
  }
}

PublishBatch VolumeModel::batch() {
  PublishBatch batch;
  batch.lsn = lsn_;
  for (const Ino ino : changed_) {
    const auto file = files_.find(ino);
    TreeEdit dirent{dirent_key(kRootIno, file_name(ino)), std::nullopt};
    TreeEdit inode{inode_key(ino), std::nullopt};
    if (file != files_.end()) {
      dirent.value = record_cid(Dirent{ino, FileType::kRegular, {}}.encode());
      InodeRecord record;
      record.mode = mode_of_type(FileType::kRegular) | 0644;
      record.nlink = 1;
      record.size = file->second.size();
      record.allocated = allocated_by(record.size);
      inode.value = record_cid(record.encode());
      FrozenFile frozen;
      frozen.inode = ino;
      frozen.size = record.size;
      frozen.base_limit = pending_[ino].base_limit;
      for (const auto& [index, extents] : pending_[ino].chunks)
        frozen.chunks.push_back({index, extents});
      batch.files.push_back(std::move(frozen));
    }
    batch.edits.push_back(std::move(dirent));
    batch.edits.push_back(std::move(inode));
  }
  std::sort(batch.edits.begin(), batch.edits.end(),
            [](const TreeEdit& a, const TreeEdit& b) { return a.key < b.key; });
  const std::lock_guard lock(mutex_);
  staged.clear();
  return batch;
}

void VolumeModel::published() {
  pending_.clear();
  changed_.clear();
  published_files_ = files_;
}

Result<std::shared_ptr<File>> VolumeModel::open_data(const DataRef& ref) {
  if (ref.file != 1) return fail(Errc::kNotFound, "no such segment");
  return log_;
}

Result<std::optional<Buffer>> VolumeModel::resident(uint64_t, uint64_t chunk, const Leaf& leaf) {
  // Half of what is asked for is here, and rotten.
  if (chunk % 2 == 0) return std::optional<Buffer>();
  return std::optional<Buffer>(Buffer(ByteVec(leaf.length, std::byte{'#'})));
}

void VolumeModel::chunk_staged(uint64_t inode, uint64_t chunk, const Leaf& leaf, Buffer bytes) {
  if (!bytes.empty() && sha256(bytes) != leaf.digest)
    throw std::runtime_error("a staged chunk is not its leaf");
  const std::lock_guard lock(mutex_);
  staged[{inode, chunk}] = leaf;
}

Status VolumeModel::commit_intended(uint64_t, Bytes record) {
  if (at_intent) std::exchange(at_intent, {})();
  intended = Buffer::copy(record);
  return {};
}

void VolumeModel::uploaded(uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  uploaded_bytes += bytes;
}

std::optional<Cid> content_of(const std::string& bytes, const VolumeParams& params) {
  if (bytes.empty()) return std::nullopt;
  const auto shape = require(UnixfsShape::make({params.chunk_bytes, params.links_per_node}));
  MemoryBlocks blocks;
  UnixfsBuilder builder(shape, blocks);
  for (size_t at = 0; at < bytes.size(); at += params.chunk_bytes) {
    const std::string chunk = bytes.substr(at, params.chunk_bytes);
    require(builder.add_leaf(sha256(as_bytes(chunk)), chunk.size()));
  }
  return require(builder.finish()).cid;
}

std::map<Ino, ShownFile> read_all(Remote& remote) {
  std::map<Ino, ShownFile> files;
  const std::string prefix = dirent_prefix(kRootIno);
  const auto entries = with_fetch(remote, [&](Missing& missing) {
    return remote.scan(prefix, prefix_end(prefix), SIZE_MAX, missing);
  });
  for (const TreeEntry& entry : entries) {
    const Dirent dirent = require(Dirent::decode(entry.value.payload()));
    const auto value = with_fetch(
        remote, [&](Missing& missing) { return remote.find(inode_key(dirent.ino), missing); });
    if (!value) throw std::runtime_error("a name without an inode");
    const InodeRecord record = require(InodeRecord::decode(value->payload()));
    ShownFile& file = files[dirent.ino];
    const auto* content = std::get_if<Cid>(&record.body);
    if (content == nullptr) {
      file.bytes.assign(record.size, '\0');
      continue;
    }
    file.content = *content;
    const auto leaves = with_fetch(remote, [&](Missing& missing) {
      return remote.leaves(*content, record.size, 0, UINT32_MAX / 65536, missing);
    });
    const auto bytes = require(await<std::vector<Buffer>>([&](Callback<std::vector<Buffer>> done) {
      remote.fetch_leaves(leaves, Context(), {}, std::move(done));
    }));
    for (const Buffer& leaf : bytes) file.bytes += as_chars(leaf);
    if (file.bytes.size() != record.size) throw std::runtime_error("a file has another size");
  }
  return files;
}

}  // namespace cairn::test
