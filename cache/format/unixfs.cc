#include "cache/format/unixfs.h"

#include <algorithm>
#include <string>

#include "cache/format/dagpb.h"

namespace cairn {
namespace {

constexpr uint64_t kMaxFileSize = uint64_t{1} << 60;
// A leaf costs at most some 130 bytes of inner nodes (two links a node), so 2^44 of them leave the
// cumulative sizes far below the 63 bits that their varints hold.
constexpr unsigned kMaxChunkCountBits = 44;

// UnixFS message: field number << 3 | wire type. Type 2 is File.
constexpr auto kTagType = std::byte{0x08};
constexpr auto kTypeFile = std::byte{0x02};
constexpr auto kTagFileSize = std::byte{0x18};
constexpr auto kTagBlockSize = std::byte{0x20};

uint64_t max_size(uint64_t chunk_size) {
  // Not by a shift first: it would not fit for large chunks.
  return chunk_size >= kMaxFileSize >> kMaxChunkCountBits ? kMaxFileSize
                                                          : chunk_size << kMaxChunkCountBits;
}

Result<uint64_t> take_number(Bytes& in, std::byte tag) {
  if (in.empty() || in.front() != tag)
    return fail(Errc::kCorruption, "UnixFS: a field is missing or out of order");
  in = in.subspan(1);
  return take_varint(in);
}

Status decode_data(Bytes data, std::vector<UnixfsLink>& links) {
  if (data.size() < 2 || data[0] != kTagType || data[1] != kTypeFile)
    return fail(Errc::kCorruption, "UnixFS: not a file node");
  data = data.subspan(2);
  TRY_ASSIGN(const uint64_t file_size, take_number(data, kTagFileSize));
  uint64_t sum = 0;
  for (UnixfsLink& link : links) {
    TRY_ASSIGN(link.size, take_number(data, kTagBlockSize));
    if (link.size == 0 || link.size > kMaxFileSize)
      return fail(Errc::kCorruption, "UnixFS: impossible block size");
    sum += link.size;  // cannot overflow: checked after each addition
    if (sum > kMaxFileSize) return fail(Errc::kCorruption, "UnixFS: file too large");
  }
  if (!data.empty()) return fail(Errc::kCorruption, "UnixFS: unexpected fields");
  if (sum != file_size)
    return fail(Errc::kCorruption, "UnixFS: the block sizes do not add up to the file size");
  return {};
}

}  // namespace

ByteVec encode_unixfs_node(std::span<const UnixfsLink> links) {
  ByteVec data{kTagType, kTypeFile};
  uint64_t file_size = 0;
  for (const UnixfsLink& link : links) file_size += link.size;
  data.push_back(kTagFileSize);
  put_varint(data, file_size);
  for (const UnixfsLink& link : links) {
    data.push_back(kTagBlockSize);
    put_varint(data, link.size);
  }
  ByteVec out;
  constexpr size_t kLinkSizeMax = 64;
  out.reserve(links.size() * kLinkSizeMax + data.size());
  for (const UnixfsLink& link : links)
    append_pb_link(out, Cid::from_digest(link.codec, link.digest), link.tsize);
  append_pb_data(out, data);
  return out;
}

Result<std::vector<UnixfsLink>> decode_unixfs_node(Bytes block) {
  PbNodeReader node(block);
  std::vector<UnixfsLink> links;
  while (true) {
    TRY_ASSIGN(const auto link, node.next_link());
    if (!link) break;
    if (links.size() == UnixfsParams::kMaxLinks)
      return fail(Errc::kCorruption, "UnixFS: too many links");
    if (link->cid.is_identity() || link->cid.codec() == Codec::kDagCbor)
      return fail(Errc::kCorruption, "UnixFS: a link that is neither a leaf nor a node");
    if (!link->name || !link->name->empty() || !link->tsize)
      return fail(Errc::kCorruption, "UnixFS: a link of a file has an empty name and a size");
    links.push_back({link->cid.digest(), link->cid.codec(), 0, *link->tsize});
  }
  if (links.empty()) return fail(Errc::kCorruption, "UnixFS: a node without links");
  TRY_ASSIGN(const auto data, node.data());
  if (!data) return fail(Errc::kCorruption, "UnixFS: a node without data");
  TRY(decode_data(*data, links));
  for (const UnixfsLink& link : links) {
    if (link.codec == Codec::kRaw ? link.tsize != link.size : link.tsize <= link.size)
      return fail(Errc::kCorruption, "UnixFS: wrong cumulative size in a link");
  }
  return links;
}

Result<UnixfsShape> UnixfsShape::make(UnixfsParams params) {
  if (params.chunk_size == 0 || params.chunk_size > UnixfsParams::kMaxChunkSize)
    return fail(Errc::kInvalid, "chunk size " + std::to_string(params.chunk_size) +
                                    ": must be 1 to " +
                                    std::to_string(UnixfsParams::kMaxChunkSize) + " bytes");
  if (params.max_links < 2 || params.max_links > UnixfsParams::kMaxLinks)
    return fail(Errc::kInvalid, "links per node " + std::to_string(params.max_links) +
                                    ": must be 2 to " + std::to_string(UnixfsParams::kMaxLinks));
  return UnixfsShape(params);
}

UnixfsShape::UnixfsShape(UnixfsParams params)
    : params_(params),
      max_file_size_(max_size(params.chunk_size)),
      zeroes_(ByteVec(params.chunk_size)) {
  const uint64_t max_chunks = chunk_count(max_file_size_);
  UnixfsLink zero{sha256(zeroes_), Codec::kRaw, params.chunk_size, params.chunk_size};
  levels_.push_back({1, zero});
  // The last level may span more than any file; its node is never full, so never used as such.
  while (levels_.back().span < max_chunks) {
    const std::vector<UnixfsLink> links(params.max_links, levels_.back().zero);
    const ByteVec block = encode_unixfs_node(links);
    zero.digest = sha256(block);
    zero.codec = Codec::kDagPb;
    zero.size *= params.max_links;
    zero.tsize = zero.tsize * params.max_links + block.size();
    levels_.push_back({levels_.back().span * params.max_links, zero});
  }
}

uint64_t UnixfsShape::chunk_count(uint64_t file_size) const {
  return file_size / params_.chunk_size + (file_size % params_.chunk_size != 0 ? 1 : 0);
}

unsigned UnixfsShape::depth(uint64_t file_size) const {
  const uint64_t chunks = chunk_count(file_size);
  unsigned level = 0;
  while (level + 1 < level_count() && levels_[level].span < chunks) ++level;
  return level;
}

uint64_t UnixfsShape::subtree_size(unsigned level, uint64_t first, uint64_t file_size) const {
  const uint64_t behind = file_size - first * params_.chunk_size;
  // Compared in chunks: the span of the top level in bytes may not fit 64 bits.
  if (levels_[level].span >= chunk_count(behind)) return behind;
  return levels_[level].span * params_.chunk_size;
}

Status UnixfsShape::check_links(std::span<const UnixfsLink> links, unsigned level, uint64_t first,
                                uint64_t file_size) const {
  const uint64_t size = subtree_size(level, first, file_size);
  const uint64_t child_span = levels_[level - 1].span;
  const uint64_t chunks = chunk_count(size);
  if (links.size() != chunks / child_span + (chunks % child_span != 0 ? 1 : 0))
    return fail(Errc::kCorruption, "UnixFS: wrong number of children for the file's size");
  const Codec codec = level == 1 ? Codec::kRaw : Codec::kDagPb;
  uint64_t child = first;
  for (const UnixfsLink& link : links) {
    if (link.codec != codec) return fail(Errc::kCorruption, "UnixFS: unbalanced tree");
    if (link.size != subtree_size(level - 1, child, file_size))
      return fail(Errc::kCorruption, "UnixFS: a child's size does not fit the file's");
    child += child_span;
  }
  return {};
}

Result<Buffer> UnixfsShape::zero_block(unsigned level) const {
  if (level == 0) return zeroes_;
  if (level >= level_count()) return fail(Errc::kInvalid, "UnixFS: no such level");
  const std::vector<UnixfsLink> links(params_.max_links, levels_[level - 1].zero);
  return Buffer(encode_unixfs_node(links));
}

Digest UnixfsShape::zero_leaf(uint64_t size) const {
  return size == params_.chunk_size ? levels_[0].zero.digest : sha256(zero_leaf_block(size));
}

Buffer UnixfsShape::zero_leaf_block(uint64_t size) const {
  return zeroes_.slice(0, static_cast<size_t>(size));
}

}  // namespace cairn
