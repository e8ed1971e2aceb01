#include "tools/volume_tree.h"

#include "cache/await.h"
#include "cache/base/coding.h"
#include "tools/target.h"

namespace cairn {

Result<std::unique_ptr<VolumeTree>> VolumeTree::open(ObjectStore& store, Runtime& runtime,
                                                     const CancelToken& cancel) {
  TRY_ASSIGN(auto writer, HandWriter::open(store, runtime, true, one_request(cancel)));
  return std::unique_ptr<VolumeTree>(new VolumeTree(std::move(writer), cancel));
}

template <class Look>
auto VolumeTree::here(const Look& look) -> decltype(look(std::declval<Missing&>())) {
  while (true) {
    Missing missing;
    auto result = look(missing);
    if (result || result.error().code() != Errc::kNotLocal) return result;
    TRY(await<void>([&](Callback<void> done) {
      writer_->remote().fetch(missing, one_request(cancel_), std::move(done));
    }));
  }
}

Result<Buffer> VolumeTree::bytes_of(const Cid& value) {
  if (value.is_identity()) return Buffer::copy(to_string(value.payload()));
  return here([&](Missing& missing) { return writer_->remote().block(value.digest(), missing); });
}

Result<VolumeTree::Node> VolumeTree::node(uint64_t ino) {
  TRY_ASSIGN(const auto value, here([&](Missing& missing) {
               return writer_->remote().find(inode_key(ino), missing);
             }));
  if (!value) return fail(Errc::kCorruption, "a name of the volume without an inode");
  TRY_ASSIGN(const Buffer bytes, bytes_of(*value));
  Node out;
  out.ino = ino;
  TRY_ASSIGN(out.record, InodeRecord::decode(bytes));
  return out;
}

Result<VolumeTree::Node> VolumeTree::find(const std::string& path) {
  uint64_t at = kRootIno;
  for (size_t begin = 0; begin < path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string name = path.substr(begin, end - begin);
    begin = end + 1;
    if (name.empty()) continue;
    const auto value = here([&](Missing& missing) -> Result<std::optional<Cid>> {
      if (!valid_name(name)) return std::optional<Cid>();
      return writer_->remote().find(dirent_key(at, name), missing);
    });
    TRY(value);
    if (!*value)
      return fail(Errc::kNotFound,
                  "there is no '" + path.substr(path.find_first_not_of('/')) + "' in the volume");
    TRY_ASSIGN(const Buffer bytes, bytes_of(**value));
    TRY_ASSIGN(const Dirent dirent, Dirent::decode(bytes));
    at = dirent.ino;
  }
  return node(at);
}

Result<std::vector<VolumeTree::Entry>> VolumeTree::list(uint64_t dir, const std::string& after,
                                                        size_t limit) {
  const std::string prefix = dirent_prefix(dir);
  const std::string from = after.empty() ? prefix : dirent_key(dir, after) + '\0';
  TRY_ASSIGN(const auto entries, here([&](Missing& missing) {
               return writer_->remote().scan(from, prefix_end(prefix), limit, missing);
             }));
  std::vector<Entry> out;
  for (const TreeEntry& entry : entries) {
    TRY_ASSIGN(const Buffer bytes, bytes_of(entry.value));
    TRY_ASSIGN(const Dirent dirent, Dirent::decode(bytes));
    TRY_ASSIGN(Node found, node(dirent.ino));
    out.push_back({entry.key.substr(prefix.size()), std::move(found)});
  }
  return out;
}

Result<std::vector<Buffer>> VolumeTree::read(const Node& file, uint64_t offset, uint64_t length) {
  const uint64_t size = file.record.size;
  const uint64_t chunk = writer_->remote().params().chunk_bytes;
  std::vector<Buffer> out;
  if (offset >= size) return out;
  length = std::min(length, size - offset);
  const auto* content = std::get_if<Cid>(&file.record.body);
  if (content == nullptr) {  // nothing but zeroes
    out.emplace_back(ByteVec(length));
    return out;
  }
  const uint64_t first = offset / chunk;
  const uint64_t count = (offset + length - 1) / chunk - first + 1;
  TRY_ASSIGN(auto leaves, here([&](Missing& missing) {
               return writer_->remote().leaves(*content, size, first, count, missing);
             }));
  std::vector<Leaf> wanted;
  for (const Leaf& leaf : leaves)
    if (!leaf.zero) wanted.push_back(leaf);
  TRY_ASSIGN(const auto fetched, await<std::vector<Buffer>>([&](auto done) {
               writer_->remote().fetch_leaves(wanted, one_request(cancel_, length), nullptr,
                                              std::move(done));
             }));
  size_t next = 0;
  for (size_t i = 0; i < leaves.size(); ++i) {
    const uint64_t begin = (first + i) * chunk;
    const Buffer bytes = leaves[i].zero ? Buffer(ByteVec(leaves[i].length)) : fetched.at(next++);
    const uint64_t from = std::max(begin, offset);
    const uint64_t to = std::min(begin + bytes.size(), offset + length);
    if (from < to)
      out.push_back(bytes.slice(static_cast<size_t>(from - begin), static_cast<size_t>(to - from)));
  }
  return out;
}

Result<OpenTree> open_tree(const Target& target, const std::string& volume,
                           const StoreOptions& options, Runtime& runtime,
                           const CancelToken& cancel) {
  OpenTree open;
  TRY_ASSIGN(open.stack, open_store(url_of_volume(target, volume), options, false, runtime));
  TRY_ASSIGN(open.tree, VolumeTree::open(*open.stack.store, runtime, cancel));
  return open;
}

}  // namespace cairn
