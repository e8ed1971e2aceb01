// The tree of the head: node by node in key order, then names against inodes.
#include <fmt/format.h>

#include <algorithm>

#include "cache/check_parts.h"
#include "cache/format/mst.h"
#include "cache/store_keys.h"

namespace cairn {
namespace {
constexpr uint64_t kProgressKeys = 10'000;
constexpr size_t kContentsMax = 1 << 20;  // remembered so that links to one content are walked once

// A key for a message: printable, whatever the name in it.
std::string shown(std::string_view key) {
  std::string text;
  for (const char c : key.substr(0, 300)) {
    if (c >= ' ' && c <= '~' && c != '\\')
      text += c;
    else
      text += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  }
  return "tree key " + text;
}

// Checks that every block of a file is there, at its length.
class FileVisitor final : public UnixfsVisitor {
 public:
  // `zeroes`: nodes of zeroes that were walked, in this file or another.
  FileVisitor(const CheckPacks& packs, CheckLog& log, const std::string& where,
              const UnixfsShape& shape, std::set<Digest>& zeroes)
      : packs_(packs), log_(log), where_(where), shape_(shape), zeroes_(zeroes) {}

  Result<bool> node(const UnixfsPlace& place) override {
    if (!packs_.find_metadata(place.digest))
      log_.problem(
          where_, fmt::format("node {} of its content is in no metadata pack", place.digest.hex()));
    // A hole has the same few nodes again and again, terabytes of it.
    if (!place.zero || zeroes_.insert(place.digest).second) return true;
    log_.report.counts.leaves += shape_.chunk_count(place.size);
    return false;
  }
  Status leaf(const UnixfsPlace& place) override {
    ++log_.report.counts.leaves;
    auto there = packs_.find_data(place.digest);
    if (!there) there = packs_.find_metadata(place.digest);
    if (!there)
      log_.problem(where_,
                   fmt::format("its bytes from {} on (block {}) are in no pack{}",
                               place.first_chunk * shape_.params().chunk_size, place.digest.hex(),
                               packs_.is_unlisted(place.digest) ? " that the index leads to" : ""));
    else if (there->length != place.size)
      log_.problem(pack_key(there->pack),
                   fmt::format("block {} has {} bytes, the file it belongs to ({}) says {}",
                               place.digest.hex(), there->length, where_, place.size));
    return {};
  }

 private:
  const CheckPacks& packs_;
  CheckLog& log_;
  const std::string& where_;
  const UnixfsShape& shape_;
  std::set<Digest>& zeroes_;
};
}  // namespace

void CheckTree::run(const CommitRecord& head, const std::optional<VolumeFile>& file) {
  head_ = &head;
  const CheckCounts before = log_.report.counts;
  const uint64_t problems_before = log_.report.problem_count;
  log_.progress("tree");
  // The root's own bytes say nothing of the fan-out; without a superblock the default is assumed.
  if (!read_superblock(head, file)) superblock_ = Superblock{};
  auto shape = UnixfsShape::make({static_cast<uint32_t>(superblock_.chunk_size),
                                  static_cast<uint32_t>(superblock_.links_per_node)});
  if (shape) shape_ = *std::move(shape);
  MstBlockNodeReader nodes(blocks_, static_cast<unsigned>(superblock_.fanout_bits));
  MstStepper stepper(nodes, head.root.digest());
  std::string last_key;
  for (auto at = stepper.at(); at != MstStepper::At::kEnd; at = stepper.at()) {
    if (at == MstStepper::At::kEntry) {
      last_key = stepper.key();
      entry(last_key, stepper.value());
      stepper.skip();
      if (++log_.report.counts.keys % kProgressKeys == 0) log_.progress("tree");
      continue;
    }
    ++log_.report.counts.nodes;
    const Digest node = stepper.subtree();
    if (const Status entered = stepper.enter(); !entered) {
      const auto place = packs_.find_metadata(node);
      log_.problem(
          place ? pack_key(place->pack) : "tree node " + node.hex(),
          fmt::format("tree node {} (behind {}): {}", node.hex(),
                      last_key.empty() ? "the start" : shown(last_key), entered.error().message()));
      stepper.skip();
    }
  }
  log_.progress("names and inodes");
  join_names();
  walk_up();
  const auto& counts = log_.report.counts;
  const auto differs = [&](const char* what, uint64_t said, uint64_t found) {
    // What could not be read is missing from the sums; that was said already.
    if (said != found && log_.report.problem_count == problems_before)
      log_.problem(commit_key(head.seq),
                   fmt::format("says {} {}, there are {}", said, what, found));
  };
  differs("inodes", head.totals.inodes, counts.inodes - before.inodes);
  differs("allocated bytes", head.totals.live_bytes,
          counts.allocated_bytes - before.allocated_bytes);
}

bool CheckTree::read_superblock(const CommitRecord& head, const std::optional<VolumeFile>& file) {
  const std::string where = shown(superblock_key());
  // The key is the first one; its path is the same whatever the fan-out, as keys of other nodes
  // are not compared.
  for (unsigned bits = kMinFanoutBits; bits <= kMaxFanoutBits; ++bits) {
    MstBlockNodeReader nodes(blocks_, bits);
    const auto value = mst_find(nodes, head.root.digest(), superblock_key());
    if (!value || !*value) continue;
    const auto bytes = value_bytes(where, **value);
    if (!bytes) return false;
    auto superblock = Superblock::decode(*bytes);
    if (!superblock) {
      log_.problem(where, superblock.error().message());
      return false;
    }
    if (superblock->fanout_bits != bits) continue;
    superblock_ = *std::move(superblock);
    if (const auto access = check_features(superblock_.features); !access)
      log_.problem(where, access.error().message());
    if (file) compare(*file);
    return true;
  }
  log_.problem(where, "the superblock is missing or cannot be reached");
  return false;
}

void CheckTree::compare(const VolumeFile& file) {
  const auto differs = [&](const char* what, const auto& said, const auto& found) {
    if (said != found)
      log_.problem(std::string(kVolumeKey),
                   fmt::format("says that {} is {}, in the tree it is {}", what, said, found));
  };
  differs("the uuid", file.uuid, uuid_text(superblock_.uuid));
  differs("chunk_size", file.chunk_size, superblock_.chunk_size);
  differs("links_per_node", file.links_per_node, superblock_.links_per_node);
  differs("fanout_bits", file.fanout_bits, superblock_.fanout_bits);
  differs("profile", file.profile, superblock_.profile);
}

std::optional<Buffer> CheckTree::value_bytes(const std::string& where, const Cid& value) {
  if (value.is_identity()) return Buffer::copy(value.payload());
  auto bytes = blocks_.get(value.digest());
  if (bytes) return *std::move(bytes);
  log_.problem(where, bytes.error().message());
  return std::nullopt;
}

void CheckTree::entry(std::string_view key, const Cid& value) {
  const std::string where = shown(key);
  const auto parsed = parse_key(key);
  if (!parsed) return log_.problem(where, parsed.error().message());
  if (value.codec() != Codec::kDagCbor) return log_.problem(where, "its value is no dag-cbor");
  const auto bytes = value_bytes(where, value);
  if (!bytes) return;
  switch (parsed->kind) {
    case KeyKind::kSuperblock:
      return;  // read before
    case KeyKind::kInode:
      return inode(where, *parsed, *bytes);
    case KeyKind::kXattr:
      return xattr(where, *parsed, *bytes);
    case KeyKind::kDirent:
      break;
  }
  const auto dirent = Dirent::decode(*bytes);
  if (!dirent) return log_.problem(where, dirent.error().message());
  names_.push_back({dirent->ino, parsed->ino, dirent->type});
}

void CheckTree::inode(const std::string& where, const RecordKey& key, Bytes bytes) {
  const auto record = InodeRecord::decode(bytes);
  if (!record) return log_.problem(where, record.error().message());
  const auto type = record->type();
  if (!type) return log_.problem(where, "a mode without a type of file");
  Inode inode;
  inode.ino = key.ino;
  inode.nlink = record->nlink;
  inode.type = *type;
  if (const auto* parent = std::get_if<uint64_t>(&record->body)) inode.parent = *parent;
  inodes_.push_back(inode);
  ++log_.report.counts.inodes;
  if (key.ino != kRootIno) {
    const auto slot = head_->slots.find(ino_slot(key.ino));
    if (slot == head_->slots.end() || ino_group(key.ino) > slot->second.highest_group)
      log_.problem(where, "its number belongs to no group that the commit says was opened");
  }
  if (*type == FileType::kRegular) file(where, *record);
  if (*type == FileType::kSymlink) symlink(where, *record);
}

void CheckTree::file(const std::string& where, const InodeRecord& record) {
  ++log_.report.counts.files;
  log_.report.counts.file_bytes += record.size;
  log_.report.counts.allocated_bytes += record.allocated;
  const auto* content = std::get_if<Cid>(&record.body);
  if (content == nullptr || !shape_ || walked_.contents.contains(*content)) return;
  if (walked_.contents.size() < kContentsMax) walked_.contents.insert(*content);
  const uint64_t chunks = shape_->chunk_count(record.size);
  if (chunks == 0) return log_.problem(where, "content without a size");
  FileVisitor visitor(packs_, log_, where, *shape_, walked_.zeroes);
  const Status walked =
      walk_unixfs(*shape_, {*content, record.size}, 0, chunks - 1, blocks_, visitor);
  if (!walked) log_.problem(where, "its content: " + walked.error().message());
}

void CheckTree::symlink(const std::string& where, const InodeRecord& record) {
  uint64_t size = 0;
  if (const auto* target = std::get_if<ByteVec>(&record.body)) size = target->size();
  if (const auto* link = std::get_if<Cid>(&record.body)) {
    const auto target = value_bytes(where, *link);
    if (!target) return;
    size = target->size();
  }
  if (size != record.size)
    log_.problem(where,
                 fmt::format("its target has {} bytes, the inode says {}", size, record.size));
}

void CheckTree::xattr(const std::string& where, const RecordKey& key, Bytes bytes) {
  if (xattr_owners_.empty() || xattr_owners_.back() != key.ino) xattr_owners_.push_back(key.ino);
  const auto value = XattrValue::decode(bytes);
  if (!value) return log_.problem(where, value.error().message());
  if (const auto* link = std::get_if<Cid>(&value->value)) (void)value_bytes(where, *link);
}

// ---- names against inodes

const CheckTree::Inode* CheckTree::find(Ino ino) const {
  const auto it =
      std::lower_bound(inodes_.begin(), inodes_.end(), ino,
                       [](const Inode& inode, Ino wanted) { return inode.ino < wanted; });
  return it != inodes_.end() && it->ino == ino ? &*it : nullptr;
}
CheckTree::Inode* CheckTree::find(Ino ino) {
  return const_cast<Inode*>(std::as_const(*this).find(ino));
}

void CheckTree::join_names() {
  const auto of = [](Ino ino) { return fmt::format("inode {:016x}", ino); };
  for (const Name& name : names_) {
    Inode* dir = find(name.dir);
    if (dir == nullptr || dir->type != FileType::kDirectory)
      log_.problem(of(name.dir), "has names in it and is no directory");
    else if (name.type == FileType::kDirectory)
      ++dir->subdirectories;
  }
  std::sort(names_.begin(), names_.end(), [](const Name& a, const Name& b) {
    return a.child != b.child ? a.child < b.child : a.dir < b.dir;
  });
  auto name = names_.cbegin();
  const auto no_inode = [&](const Name& dangling) {
    log_.problem(of(dangling.dir),
                 fmt::format("has a name for inode {:016x}, which is not there", dangling.child));
  };
  for (const Inode& inode : inodes_) {
    for (; name != names_.cend() && name->child < inode.ino; ++name) no_inode(*name);
    uint32_t count = 0;
    for (; name != names_.cend() && name->child == inode.ino; ++name, ++count) {
      if (name->type != inode.type) log_.problem(of(inode.ino), "its name gives it another type");
      if (inode.type == FileType::kDirectory && name->dir != inode.parent)
        log_.problem(of(inode.ino),
                     fmt::format("says its parent is {:016x}, its name is in {:016x}", inode.parent,
                                 name->dir));
    }
    const bool directory = inode.type == FileType::kDirectory;
    const bool root = inode.ino == kRootIno;
    if (directory ? count != (root ? 0 : 1) : count == 0)
      log_.problem(of(inode.ino), fmt::format("has {} names", count));
    const uint32_t nlink = directory ? inode.subdirectories + 2 : count;
    if (inode.nlink != nlink)
      log_.problem(of(inode.ino),
                   fmt::format("says that it has {} links, it has {}", inode.nlink, nlink));
  }
  for (; name != names_.cend(); ++name) no_inode(*name);
  for (const Ino owner : xattr_owners_)
    if (find(owner) == nullptr) log_.problem(of(owner), "has extended attributes and is not there");
  const Inode* root = find(kRootIno);
  if (root == nullptr || root->type != FileType::kDirectory || root->parent != kRootIno)
    log_.problem(of(kRootIno), "the root directory is missing or not one");
}

// Every directory leads up to the root: none is in a circle.
void CheckTree::walk_up() {
  enum class Mark : uint8_t { kNew, kOnPath, kGood };
  std::vector<Mark> marks(inodes_.size(), Mark::kNew);
  std::vector<size_t> path;
  for (const Inode& start : inodes_) {
    if (start.type != FileType::kDirectory) continue;
    path.clear();
    const Inode* at = &start;
    bool good = true;
    while (true) {
      const auto index = static_cast<size_t>(at - inodes_.data());
      if (marks[index] == Mark::kGood || at->ino == kRootIno) break;
      if (marks[index] == Mark::kOnPath) {
        good = false;
        break;
      }
      marks[index] = Mark::kOnPath;
      path.push_back(index);
      at = find(at->parent);
      if (at == nullptr) break;  // said before
    }
    if (!good)
      log_.problem(fmt::format("inode {:016x}", start.ino), "is a directory inside of itself");
    for (const size_t index : path) marks[index] = Mark::kGood;
  }
}

}  // namespace cairn
