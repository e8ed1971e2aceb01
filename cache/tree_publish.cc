#include "cache/tree_publish.h"

#include <algorithm>
#include <string>
#include <unordered_map>
#include <utility>

#include "cache/commit_parts.h"
#include "cache/format/mst.h"
#include "cache/pack_layout.h"

namespace cairn {
namespace {

constexpr size_t kInodesAtOnce = 1024;  // looked up between two rounds of fetching
constexpr size_t kEditsAtOnce = 16384;  // whose new nodes are in memory together

PackUploader::Options upload_options(const TreeRemote::Impl& remote) {
  const TreeRemote::Options& options = remote.options;
  PackUploader::Options upload;
  upload.pace.most = options.packs_in_flight_max;
  upload.pace.pack_bytes = options.pack_bytes;
  upload.in_flight_max = remote.packs_in_flight;
  upload.io_timeout = options.io_timeout;
  return upload;
}

ChunkStager::Options stage_options(const TreeRemote::Impl& remote) {
  const TreeRemote::Options& options = remote.options;
  ChunkStager::Options stage;
  stage.pack_bytes = options.pack_bytes;
  stage.memory_bytes = options.publish_memory_bytes;
  stage.hash_threads = options.hash_threads;
  stage.pack_salt = remote.pack_salt;
  return stage;
}

}  // namespace

// Where update_unixfs writes: leaves of zeroes to the data packs, nodes to the metadata packs; or,
// for a tree that is only on the way to another one, into memory.
class TreePublisher::ContentSink final : public BlockSink {
 public:
  ContentSink(ChunkStager& chunks, MetaStager* meta) : chunks_(chunks), meta_(meta) {}
  Status put(const Cid& cid, Buffer bytes) override {
    if (cid.codec() == Codec::kRaw) return chunks_.add_leaf(cid.digest(), std::move(bytes));
    nodes_.insert_or_assign(cid.digest(), bytes);
    return meta_ != nullptr ? meta_->add(cid, std::move(bytes)) : Status();
  }
  const std::unordered_map<Digest, Buffer>& nodes() const { return nodes_; }
  std::optional<Buffer> find(const Digest& digest) const {
    const auto found = nodes_.find(digest);
    if (found == nodes_.end()) return std::nullopt;
    return found->second;
  }

 private:
  ChunkStager& chunks_;
  MetaStager* meta_;
  std::unordered_map<Digest, Buffer> nodes_;
};

TreePublisher::TreePublisher(TreeRemote::Impl& remote, Remote& port, const PublishBatch& batch,
                             PublishHost& host, Context context)
    : remote_(remote),
      batch_(batch),
      host_(host),
      context_(std::move(context)),
      before_(remote.snapshot()),
      uploader_(*remote.packs, host, remote.parts.clock, upload_options(remote), context_),
      meta_(*remote.blocks, uploader_, remote.options.metadata.pack_bytes, remote.unnamed_packs,
            remote.pack_salt),
      chunks_({*remote.shape, port, *remote.packs, uploader_, remote.parts.executor, host},
              stage_options(remote), context_),
      root_(before_->state.root.digest()) {}

Result<PublishedState> TreePublisher::run(const CollectionStep& step) {
  collection_ = &step;
  return run();
}

Result<PublishedState> TreePublisher::run() {
  Status prepared = collection_ != nullptr ? rewrite_metadata() : prepare();
  if (prepared) prepared = write_index();
  std::optional<CommitLog::LookBack> look;
  if (prepared) look = remote_.log->look_back(before_->commit, context_);
  // Also after a failure: what is under way ends before its callbacks' owners do, and what got
  // there is remembered.
  Status sent = uploader_.finish();
  for (const PackName& pack : uploader_.sent()) remote_.unnamed_packs.push_back(pack);
  remote_.packs_in_flight = uploader_.in_flight_max();
  const Status there = look ? check_store(remote_, *look, context_) : Status();
  TRY(prepared);
  TRY(sent);
  TRY(there);
  TRY(commit());
  if (live_metadata_bytes_ != 0) remote_.metadata_live_bytes = live_metadata_bytes_;
  return remote_.snapshot()->state;
}

Status TreePublisher::check_batch() const {
  for (size_t i = 1; i < batch_.edits.size(); ++i) {
    if (batch_.edits[i].key <= batch_.edits[i - 1].key)
      return fail(Errc::kInvalid, "a batch's edits are not in order");
  }
  for (size_t i = 1; i < batch_.files.size(); ++i) {
    if (batch_.files[i].inode <= batch_.files[i - 1].inode)
      return fail(Errc::kInvalid, "a batch's files are not in order");
  }
  return {};
}

Status TreePublisher::prepare() {
  TRY(stage_batch());
  while (chunks_.remembers_all()) {
    TRY_ASSIGN(const bool is_longer, host_.extend_batch());
    if (!is_longer) break;
    TRY(stage_batch());
  }
  TRY(chunks_.flush());
  TRY(update_contents());
  TRY(chunks_.flush());
  TRY(add_value_blocks());
  TRY(apply_edits());
  return write_metadata();
}

// What is known of an earlier, shorter form of the batch is not asked or staged again.
Status TreePublisher::stage_batch() {
  TRY(check_batch());
  blocks_ = {batch_.blocks.begin(), batch_.blocks.end()};
  resized_.clear();
  std::vector<Inode> known = std::exchange(inodes_, {});
  TRY(collect_inodes());
  take_known(std::move(known));
  TRY(find_published());
  TRY(find_frozen());
  return stage_chunks();
}

// ---- inodes

Result<Buffer> TreePublisher::value_bytes(const Cid& value, Missing& missing) {
  if (value.is_identity()) return Buffer::copy(value.payload());
  const auto found = blocks_.find(value.digest());
  if (found != blocks_.end()) return found->second;
  return remote_.blocks->get(value.digest(), missing);
}

Status TreePublisher::collect_inodes() {
  for (size_t i = 0; i < batch_.edits.size(); ++i) {
    const TreeEdit& edit = batch_.edits[i];
    TRY_ASSIGN(const RecordKey key, parse_key(edit.key));
    if (key.kind != KeyKind::kInode) continue;
    Inode inode;
    inode.edit = i;
    inode.number = key.ino;
    if (edit.value) {
      TRY_ASSIGN(const Buffer bytes, remote_.with_fetch(context_, [&](Missing& missing) {
        return value_bytes(*edit.value, missing);
      }));
      TRY_ASSIGN(inode.record, InodeRecord::decode(bytes));
    }
    inodes_.push_back(std::move(inode));
  }
  return {};
}

// Both are by number.
void TreePublisher::take_known(std::vector<Inode> known) {
  auto from = known.begin();
  for (Inode& inode : inodes_) {
    while (from != known.end() && from->number < inode.number) ++from;
    if (from != known.end() && from->number == inode.number)
      inode.published = std::move(from->published);
  }
}

Status TreePublisher::find_published() {
  for (size_t start = 0; start < inodes_.size(); start += kInodesAtOnce) {
    const size_t end = std::min(inodes_.size(), start + kInodesAtOnce);
    TRY(remote_.with_fetch(context_, [&](Missing& missing) -> Status {
      Status misses;
      for (size_t i = start; i < end; ++i) {
        if (inodes_[i].published) continue;
        Status one = find_published(inodes_[i], missing);
        if (!one && one.error().code() != Errc::kNotLocal) return one;
        if (!one) misses = std::move(one);
      }
      return misses;
    }));
  }
  return {};
}

Status TreePublisher::find_published(Inode& inode, Missing& missing) {
  TRY_ASSIGN(const auto value,
             remote_.find(before_->state.root, batch_.edits[inode.edit].key, missing));
  Inode::Published found;
  if (value) {
    TRY_ASSIGN(const Buffer bytes, value_bytes(*value, missing));
    TRY_ASSIGN(const InodeRecord record, InodeRecord::decode(bytes));
    found.exists = true;
    if (record.type() == FileType::kRegular) {
      found.size = record.size;
      found.allocated = record.allocated;
      if (const auto* content = std::get_if<Cid>(&record.body))
        found.base = UnixfsRoot{*content, record.size};
    }
  }
  inode.published = std::move(found);
  return {};
}

Status TreePublisher::find_frozen() {
  auto file = batch_.files.begin();
  for (Inode& inode : inodes_) {
    if (!inode.record || inode.record->type() != FileType::kRegular) {
      if (file != batch_.files.end() && file->inode == inode.number) ++file;  // it is gone
      continue;
    }
    if (file != batch_.files.end() && file->inode == inode.number) {
      inode.frozen = &*file++;
      if (inode.frozen->size != inode.record->size)
        return fail(Errc::kInvalid,
                    "inode " + std::to_string(inode.number) + " has another size than its content");
    } else if (inode.record->size != inode.published->size) {
      // Cut or extended, and nothing was written.
      resized_.push_back(std::make_unique<FrozenFile>());
      resized_.back()->inode = inode.number;
      resized_.back()->size = inode.record->size;
      resized_.back()->base_limit = inode.record->size;
      inode.frozen = resized_.back().get();
    }
  }
  if (file != batch_.files.end())
    return fail(Errc::kInvalid,
                "inode " + std::to_string(file->inode) + " has content and no record");
  return {};
}

// ---- contents

Status TreePublisher::stage_chunks() {
  for (Inode& inode : inodes_) {
    if (inode.frozen != nullptr)
      TRY(chunks_.add(*inode.frozen, inode.published->base, inode.changes));
  }
  return chunks_.finish_window();
}

Status TreePublisher::update_contents() {
  for (Inode& inode : inodes_) {
    if (inode.frozen != nullptr) {
      auto updated = update_content(inode);
      if (!updated)
        return tl::unexpected<Error>(
            std::move(updated).error().wrap("inode " + std::to_string(inode.number)));
    } else if (inode.record && inode.record->type() == FileType::kRegular) {
      if (inode.published->base) inode.record->body = inode.published->base->cid;
    }
  }
  return {};
}

Status TreePublisher::update_content(Inode& inode) {
  const FrozenFile& file = *inode.frozen;
  inode.record->body = std::monostate();
  if (file.size == 0) return {};
  const std::optional<UnixfsRoot>& base = inode.published->base;
  const uint64_t base_size = base ? base->size : 0;
  const uint64_t kept = kept_bytes(file, base_size);
  const uint64_t chunk = remote_.shape->params().chunk_size;
  // What was cut off and grew again is zero now, so the cut is made first. The chunk in which it
  // lies is among the changes.
  std::optional<UnixfsRoot> old = base;
  ContentSink cut(chunks_, nullptr);
  const uint64_t cut_size = kept - kept % chunk;
  if (kept < base_size && cut_size == 0) {
    old.reset();
  } else if (kept < base_size && kept < file.size) {
    TRY_ASSIGN(old, remote_.with_fetch(context_, [&](Missing& missing) {
      LocalBlocks reader(*remote_.blocks, *remote_.links, missing);
      return update_unixfs(*remote_.shape, base, cut_size, {}, reader, cut);
    }));
  }
  class Reader final : public BlockReader {
   public:
    Reader(const ContentSink& above, BlockReader& below) : above_(above), below_(below) {}
    Result<Buffer> get(const Digest& digest) override {
      if (auto found = above_.find(digest)) return *std::move(found);
      return below_.get(digest);
    }

   private:
    const ContentSink& above_;
    BlockReader& below_;
  };
  ContentSink sink(chunks_, &meta_);
  TRY_ASSIGN(const UnixfsRoot root, remote_.with_fetch(context_, [&](Missing& missing) {
    LocalBlocks local(*remote_.blocks, *remote_.links, missing);
    Reader reader(cut, local);
    return update_unixfs(*remote_.shape, old, file.size, inode.changes, reader, sink);
  }));
  if (!cut.nodes().empty()) {
    if (root.cid.codec() == Codec::kDagPb) TRY(keep_cut_nodes(root.cid.digest(), cut));
    for (const auto& [digest, node] : sink.nodes()) {
      TRY_ASSIGN(const auto links, decode_unixfs_node(node));
      for (const UnixfsLink& link : links) TRY(keep_cut_nodes(link.digest, cut));
    }
  }
  inode.record->body = root.cid;
  inode.changes = {};
  return {};
}

// Nodes of the cut tree that the final one still uses.
Status TreePublisher::keep_cut_nodes(const Digest& digest, const ContentSink& cut) {
  const auto node = cut.find(digest);
  if (!node || meta_.has(digest)) return {};
  TRY(meta_.add(Cid::from_digest(Codec::kDagPb, digest), *node));
  TRY_ASSIGN(const auto links, decode_unixfs_node(*node));
  for (const UnixfsLink& link : links) TRY(keep_cut_nodes(link.digest, cut));
  return {};
}

// ---- tree

Status TreePublisher::add_value_blocks() {
  // A record that is too large for an inline value is dag-cbor; targets and xattrs are raw.
  std::unordered_set<Digest> records;
  for (const TreeEdit& edit : batch_.edits) {
    if (edit.value && !edit.value->is_identity()) records.insert(edit.value->digest());
  }
  for (const auto& [digest, bytes] : batch_.blocks) {
    const Codec codec = records.contains(digest) ? Codec::kDagCbor : Codec::kRaw;
    TRY(meta_.add(Cid::from_digest(codec, digest), bytes));
  }
  return {};
}

void TreePublisher::count(const Inode& inode) {
  if (inode.published->exists) --inodes_change_;
  live_bytes_change_ -= static_cast<int64_t>(inode.published->allocated);
  if (!inode.record) return;
  ++inodes_change_;
  if (inode.record->type() == FileType::kRegular)
    live_bytes_change_ += static_cast<int64_t>(inode.record->allocated);
}

Result<Cid> TreePublisher::filled_in(const Inode& inode) {
  TRY(inode.record->check());
  const Buffer bytes(inode.record->encode());
  const Cid value = record_cid(bytes);
  if (!value.is_identity()) TRY(meta_.add(value, bytes));
  return value;
}

Status TreePublisher::apply_edits() {
  class Sink final : public BlockSink {
   public:
    Sink(MetaStager& meta, unsigned fanout_bits) : meta_(meta), fanout_bits_(fanout_bits) {}
    Status put(const Cid& cid, Buffer bytes) override { return meta_.add(cid, std::move(bytes)); }
    Status put_node(const Cid& cid, Buffer bytes, int layer) override {
      return meta_.add(cid, std::move(bytes), is_upper_layer(layer, fanout_bits_));
    }

   private:
    MetaStager& meta_;
    const unsigned fanout_bits_;
  };
  Sink sink(meta_, remote_.params.fanout_bits);
  auto inode = inodes_.begin();
  for (size_t start = 0; start < batch_.edits.size(); start += kEditsAtOnce) {
    const size_t end = std::min(batch_.edits.size(), start + kEditsAtOnce);
    std::vector<MstEdit> edits;
    edits.reserve(end - start);
    for (size_t i = start; i < end; ++i) {
      edits.push_back({batch_.edits[i].key, batch_.edits[i].value});
      if (inode == inodes_.end() || inode->edit != i) continue;
      count(*inode);
      if (inode->record) {
        TRY_ASSIGN(edits.back().value, filled_in(*inode));
      }
      ++inode;
    }
    TRY_ASSIGN(root_, remote_.with_fetch(context_, [&](Missing& missing) {
      StagedNodes reader(meta_, *remote_.blocks, *remote_.nodes, remote_.params.fanout_bits,
                         missing);
      return mst_apply(reader, root_, edits, sink);
    }));
  }
  return {};
}

}  // namespace cairn
