#include "cache/format/unixfs_file.h"

#include <algorithm>
#include <string>

namespace cairn {
namespace {

Codec codec_of(unsigned level) {
  return level == 0 ? Codec::kRaw : Codec::kDagPb;
}

// The file's root must be what its size demands: a leaf or a node, named by a digest.
Status check_root(const UnixfsShape& shape, const UnixfsRoot& root) {
  if (root.size > shape.max_file_size())
    return fail(Errc::kCorruption,
                "UnixFS: a file of " + std::to_string(root.size) + " bytes is too large");
  if (root.cid.is_identity() || root.cid.codec() != codec_of(shape.depth(root.size)))
    return fail(Errc::kCorruption, "UnixFS: the root's kind does not fit the file's size");
  return {};
}

bool is_zero(const UnixfsShape& shape, const Digest& digest, unsigned level, uint64_t size) {
  const UnixfsLink& zero = shape.zero(level);
  return digest == zero.digest && size == zero.size;
}

// The links of the inner node that begins at chunk `first` of a file of `file_size` bytes.
Result<std::shared_ptr<const UnixfsLinks>> read_links(const UnixfsShape& shape,
                                                      const Digest& digest, unsigned level,
                                                      uint64_t first, uint64_t file_size,
                                                      BlockReader& reader) {
  if (is_zero(shape, digest, level, shape.subtree_size(level, first, file_size)))
    return std::make_shared<const UnixfsLinks>(
        UnixfsLinks{std::vector<UnixfsLink>(shape.params().max_links, shape.zero(level - 1))});
  TRY_ASSIGN(auto node, reader.links(digest));
  TRY(shape.check_links(node->links, level, first, file_size));
  return node;
}

class Walker {
 public:
  Walker(const UnixfsShape& shape, uint64_t file_size, uint64_t first, uint64_t last,
         BlockReader& reader, UnixfsVisitor& visitor)
      : shape_(shape),
        file_size_(file_size),
        first_(first),
        last_(last),
        reader_(reader),
        visitor_(visitor) {}

  Status visit(const UnixfsPlace& place) {
    if (place.level == 0) return visitor_.leaf(place);
    TRY_ASSIGN(const bool descend, visitor_.node(place));
    if (!descend) return {};
    TRY_ASSIGN(const auto node, read_links(shape_, place.digest, place.level, place.first_chunk,
                                           file_size_, reader_));
    const std::vector<UnixfsLink>& links = node->links;
    const uint64_t child_span = shape_.span(place.level - 1);
    Status missing;
    for (size_t i = 0; i < links.size(); ++i) {
      UnixfsPlace child;
      child.level = place.level - 1;
      child.first_chunk = place.first_chunk + i * child_span;
      if (child.first_chunk > last_) break;
      if (first_ - std::min(first_, child.first_chunk) >= child_span) continue;
      child.digest = links[i].digest;
      child.size = links[i].size;
      child.zero = is_zero(shape_, child.digest, child.level, child.size);
      child.parent = place.digest;
      child.position = static_cast<uint32_t>(i);
      Status done = visit(child);
      if (!done && done.error().code() != Errc::kNotLocal) return done;
      if (!done && missing) missing = std::move(done);
    }
    return missing;
  }

 private:
  const UnixfsShape& shape_;
  const uint64_t file_size_;
  const uint64_t first_;
  const uint64_t last_;
  BlockReader& reader_;
  UnixfsVisitor& visitor_;
};

}  // namespace

Result<std::shared_ptr<const UnixfsLinks>> BlockReader::links(const Digest& digest) {
  TRY_ASSIGN(const Buffer block, get(digest));
  TRY_ASSIGN(auto links, decode_unixfs_node(block));
  return std::make_shared<const UnixfsLinks>(UnixfsLinks{std::move(links)});
}

Status UnixfsBuilder::add_leaf(const Digest& leaf, uint64_t size) {
  const uint64_t chunk = shape_.params().chunk_size;
  if (size == 0 || size > chunk || size_ % chunk != 0 || size > shape_.max_file_size() - size_)
    return fail(Errc::kInvalid, "UnixFS: a leaf of " + std::to_string(size) + " bytes at " +
                                    std::to_string(size_) + " of the file");
  size_ += size;
  return add(0, {leaf, Codec::kRaw, size, size});
}

Status UnixfsBuilder::add(size_t level, const UnixfsLink& link) {
  if (level == open_.size()) open_.emplace_back();
  if (open_[level].size() == shape_.params().max_links) TRY(close_node(level));
  open_[level].push_back(link);
  return {};
}

Status UnixfsBuilder::close_node(size_t level) {
  const Buffer block(encode_unixfs_node(open_[level]));
  UnixfsLink node{sha256(block), Codec::kDagPb, 0, block.size()};
  for (const UnixfsLink& link : open_[level]) {
    node.size += link.size;
    node.tsize += link.tsize;
  }
  open_[level].clear();
  TRY(sink_.put(Cid::from_digest(Codec::kDagPb, node.digest), block));
  return add(level + 1, node);
}

Result<UnixfsRoot> UnixfsBuilder::finish() {
  if (open_.empty()) {
    const UnixfsRoot root{Cid::from_digest(Codec::kRaw, shape_.zero_leaf(0)), 0};
    TRY(sink_.put(root.cid, shape_.zero_leaf_block(0)));
    return root;
  }
  size_t level = 0;
  while (level + 1 < open_.size() || open_[level].size() > 1) TRY(close_node(level++));
  const UnixfsLink& top = open_[level].front();
  return UnixfsRoot{Cid::from_digest(top.codec, top.digest), size_};
}

Status walk_unixfs(const UnixfsShape& shape, const UnixfsRoot& root, uint64_t first, uint64_t last,
                   BlockReader& reader, UnixfsVisitor& visitor) {
  TRY(check_root(shape, root));
  if (first > last || first >= std::max<uint64_t>(1, shape.chunk_count(root.size))) return {};
  UnixfsPlace place;
  place.digest = root.cid.digest();
  place.level = shape.depth(root.size);
  place.size = root.size;
  place.zero = is_zero(shape, place.digest, place.level, place.size);
  return Walker(shape, root.size, first, last, reader, visitor).visit(place);
}

Result<std::vector<UnixfsPlace>> unixfs_leaves(const UnixfsShape& shape, const UnixfsRoot& root,
                                               uint64_t first, uint64_t last, BlockReader& reader) {
  class Collect final : public UnixfsVisitor {
   public:
    Result<bool> node(const UnixfsPlace&) override { return true; }
    Status leaf(const UnixfsPlace& place) override {
      leaves.push_back(place);
      return {};
    }
    std::vector<UnixfsPlace> leaves;
  };
  if (first > last) return std::vector<UnixfsPlace>{};
  if (last - first >= kMaxUnixfsLeaves)
    return fail(Errc::kInvalid, "UnixFS: too many leaves asked for at once");
  Collect collect;
  TRY(walk_unixfs(shape, root, first, last, reader, collect));
  return std::move(collect.leaves);
}

Result<std::optional<uint64_t>> next_unixfs_data(const UnixfsShape& shape, const UnixfsRoot& root,
                                                 uint64_t first, BlockReader& reader) {
  // Down the first path that is not zero, and up again when nothing behind `first` is on it. The
  // walk goes on behind a block that is not here; one such block is enough to ask for.
  class Find final : public UnixfsVisitor, public BlockReader {
   public:
    explicit Find(BlockReader& below) : below_(below) {}
    Result<bool> node(const UnixfsPlace& place) override {
      return !place.zero && !found && !missing_;
    }
    Status leaf(const UnixfsPlace& place) override {
      if (!place.zero && !found && !missing_) found = place.first_chunk;
      return {};
    }
    Result<Buffer> get(const Digest& digest) override {
      auto block = below_.get(digest);
      missing_ |= !block;
      return block;
    }
    std::optional<uint64_t> found;

   private:
    BlockReader& below_;
    bool missing_ = false;
  };
  Find find(reader);
  TRY(walk_unixfs(shape, root, first, UINT64_MAX, find, find));
  return find.found;
}

namespace {

class Updater {
 public:
  Updater(const UnixfsShape& shape, const std::optional<UnixfsRoot>& old, uint64_t new_size,
          std::span<const UnixfsChange> changes, BlockReader& reader, BlockSink& sink)
      : shape_(shape),
        old_size_(old ? old->size : 0),
        old_depth_(shape.depth(old_size_)),
        size_(new_size),
        changes_(changes),
        reader_(reader),
        sink_(sink) {
    if (old_size_ != 0) old_root_ = old->cid.digest();
  }

  Result<UnixfsRoot> run() {
    const unsigned depth = shape_.depth(size_);
    if (size_ == 0) {
      const Digest empty = shape_.zero_leaf(0);
      TRY(put_zero_leaf(0));
      return UnixfsRoot{Cid::from_digest(Codec::kRaw, empty), 0};
    }
    TRY_ASSIGN(const Old top, old_at_top(depth));
    TRY_ASSIGN(const UnixfsLink link, build(depth, 0, top));
    return UnixfsRoot{Cid::from_digest(link.codec, link.digest), size_};
  }

 private:
  // What the old file has at a place of the new tree.
  struct Old {
    enum class Kind : uint8_t {
      kNone,   // nothing: the old file ends before it, or all of it is replaced
      kBlock,  // the block `digest`
      kAbove,  // the old root is somewhere below, on the left edge
    };
    Kind kind = Kind::kNone;
    Digest digest{};
    std::optional<uint64_t> tsize{};  // unknown for the old root only
  };

  uint64_t changes_in(uint64_t first, uint64_t chunks) const {
    const auto below = [](const UnixfsChange& change, uint64_t chunk) {
      return change.chunk < chunk;
    };
    const auto from = std::lower_bound(changes_.begin(), changes_.end(), first, below);
    const auto to = std::lower_bound(from, changes_.end(), first + chunks, below);
    return static_cast<uint64_t>(to - from);
  }

  // The old file's block at the place of the new root. A file that shrank is descended on the left.
  Result<Old> old_at_top(unsigned depth) {
    const uint64_t chunks = shape_.chunk_count(size_);
    if (!old_root_ || changes_in(0, chunks) == chunks) return Old{};
    if (depth > old_depth_) return Old{Old::Kind::kAbove};
    Old old{Old::Kind::kBlock, *old_root_};
    for (unsigned level = old_depth_; level > depth; --level) {
      TRY_ASSIGN(const auto node, read_links(shape_, old.digest, level, 0, old_size_, reader_));
      old = {Old::Kind::kBlock, node->links[0].digest, node->links[0].tsize};
    }
    return old;
  }

  Result<UnixfsLink> build(unsigned level, uint64_t first, Old old) {
    const uint64_t size = shape_.subtree_size(level, first, size_);
    const uint64_t chunks = shape_.chunk_count(size);
    const uint64_t changed = changes_in(first, chunks);
    if (changed == chunks) old = Old{};
    if (changed == 0) {
      if (old.kind == Old::Kind::kBlock && shape_.subtree_size(level, first, old_size_) == size)
        return keep(level, first, size, old);
      if (old.kind == Old::Kind::kNone && size == shape_.zero(level).size) {
        TRY(put_zero_tree(level));
        return shape_.zero(level);
      }
    }
    if (level == 0) return build_leaf(first, size, old);
    return build_node(level, first, size, old);
  }

  Result<UnixfsLink> keep(unsigned level, uint64_t first, uint64_t size, const Old& old) {
    UnixfsLink link{old.digest, codec_of(level), size, 0};
    if (level == 0) {
      link.tsize = size;
    } else if (old.tsize) {
      link.tsize = *old.tsize;
    } else if (size == size_) {
      return link;  // the whole file is unchanged: no parent asks for the cumulative size
    } else {
      TRY_ASSIGN(const Buffer block, reader_.get(old.digest));
      TRY_ASSIGN(const auto children, decode_unixfs_node(block));
      TRY(shape_.check_links(children, level, first, old_size_));
      link.tsize = block.size();
      for (const UnixfsLink& child : children) link.tsize += child.tsize;
    }
    return link;
  }

  Result<UnixfsLink> build_leaf(uint64_t chunk, uint64_t size, const Old& old) {
    if (changes_in(chunk, 1) == 1) {
      const auto change = std::lower_bound(
          changes_.begin(), changes_.end(), chunk,
          [](const UnixfsChange& entry, uint64_t wanted) { return entry.chunk < wanted; });
      if (is_zero(shape_, change->leaf, 0, size)) TRY(put_zero_tree(0));
      return UnixfsLink{change->leaf, Codec::kRaw, size, size};
    }
    if (old.kind == Old::Kind::kBlock) {
      const uint64_t old_length = shape_.subtree_size(0, chunk, old_size_);
      if (old.digest != shape_.zero_leaf(old_length))
        return fail(Errc::kInvalid, "UnixFS: chunk " + std::to_string(chunk) +
                                        " gets another length but no new content");
    }
    TRY(put_zero_leaf(size));
    return UnixfsLink{shape_.zero_leaf(size), Codec::kRaw, size, size};
  }

  Result<UnixfsLink> build_node(unsigned level, uint64_t first, uint64_t size, const Old& old) {
    std::shared_ptr<const UnixfsLinks> old_node;
    if (old.kind == Old::Kind::kBlock) {
      TRY_ASSIGN(old_node, read_links(shape_, old.digest, level, first, old_size_, reader_));
    }
    const std::span<const UnixfsLink> old_links =
        old_node ? std::span(old_node->links) : std::span<const UnixfsLink>();
    const uint64_t child_span = shape_.span(level - 1);
    const uint64_t chunks = shape_.chunk_count(size);
    std::vector<UnixfsLink> links;
    Status missing;
    for (uint64_t at = 0; at < chunks; at += child_span) {
      const size_t position = links.size();
      Old below;
      if (position < old_links.size()) {
        below = {Old::Kind::kBlock, old_links[position].digest, old_links[position].tsize};
      } else if (old.kind == Old::Kind::kAbove && at == 0) {
        below =
            level - 1 == old_depth_ ? Old{Old::Kind::kBlock, *old_root_} : Old{Old::Kind::kAbove};
      }
      auto child = build(level - 1, first + at, below);
      if (!child && child.error().code() != Errc::kNotLocal) return child;
      if (!child && missing) missing = tl::unexpected<Error>(child.error());
      links.push_back(child ? *child : UnixfsLink{});
    }
    TRY(missing);
    const Buffer block(encode_unixfs_node(links));
    UnixfsLink node{sha256(block), Codec::kDagPb, size, block.size()};
    for (const UnixfsLink& link : links) node.tsize += link.tsize;
    TRY(sink_.put(Cid::from_digest(Codec::kDagPb, node.digest), block));
    return node;
  }

  Status put_zero_leaf(uint64_t size) {
    if (size == shape_.params().chunk_size) return put_zero_tree(0);
    return sink_.put(Cid::from_digest(Codec::kRaw, shape_.zero_leaf(size)),
                     shape_.zero_leaf_block(size));
  }

  // The full zero node of `level` and what is below it, which nobody else may have written yet.
  Status put_zero_tree(unsigned level) {
    for (; zero_levels_put_ <= level; ++zero_levels_put_) {
      TRY_ASSIGN(Buffer block, shape_.zero_block(zero_levels_put_));
      TRY(sink_.put(
          Cid::from_digest(codec_of(zero_levels_put_), shape_.zero(zero_levels_put_).digest),
          std::move(block)));
    }
    return {};
  }

  const UnixfsShape& shape_;
  const uint64_t old_size_;
  const unsigned old_depth_;
  const uint64_t size_;
  const std::span<const UnixfsChange> changes_;
  BlockReader& reader_;
  BlockSink& sink_;
  std::optional<Digest> old_root_;
  unsigned zero_levels_put_ = 0;
};

}  // namespace

Result<UnixfsRoot> update_unixfs(const UnixfsShape& shape, const std::optional<UnixfsRoot>& old,
                                 uint64_t new_size, std::span<const UnixfsChange> changes,
                                 BlockReader& reader, BlockSink& sink) {
  if (old) TRY(check_root(shape, *old));
  if (new_size > shape.max_file_size())
    return fail(Errc::kInvalid,
                "UnixFS: a file of " + std::to_string(new_size) + " bytes is too large");
  for (size_t i = 0; i < changes.size(); ++i) {
    if (changes[i].chunk >= shape.chunk_count(new_size) ||
        (i > 0 && changes[i].chunk <= changes[i - 1].chunk))
      return fail(Errc::kInvalid, "UnixFS: changed chunks are not in order or behind the end");
  }
  return Updater(shape, old, new_size, changes, reader, sink).run();
}

}  // namespace cairn
