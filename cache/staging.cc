#include "cache/staging.h"

#include <algorithm>
#include <string>
#include <utility>

#include "cache/await.h"

namespace cairn {
namespace {

constexpr size_t kWindowJobs = 1024;
constexpr uint64_t kWindowBytes = 16ULL << 20;
constexpr size_t kKnownPieces = 16 * 1024;  // 2 to 4 MiB of plans

// Fills `out` with the file's bytes, all of them.
Status read_fully(File& file, uint64_t offset, MutableBytes out) {
  while (!out.empty()) {
    TRY_ASSIGN(const size_t count, file.read_at(offset, out));
    if (count == 0)
      return fail(Errc::kCorruption, "a cache file ends at byte " + std::to_string(offset) +
                                         ", inside of written data");
    offset += count;
    out = out.subspan(count);
  }
  return {};
}

bool all_zero(Bytes bytes) {
  return bytes.empty() ||
         (bytes[0] == std::byte{0} && equal(bytes.first(bytes.size() - 1), bytes.subspan(1)));
}

Error at_chunk(Error error, uint64_t inode, uint64_t chunk) {
  return std::move(error).wrap("inode " + std::to_string(inode) + ", chunk " +
                               std::to_string(chunk));
}

}  // namespace

ChunkStager::ChunkStager(Components components, Options options, Context context)
    : components_(components),
      options_(options),
      context_(std::move(context)),
      pack_(PackKind::kData, options.pack_salt) {}

uint64_t ChunkStager::memory_of(const ChunkPlan& plan) const {
  if (plan.whole() || plan.zero()) return 0;
  uint64_t bytes = uint64_t{plan.length} + plan.base_length;
  for (const Piece& piece : plan.pieces)
    if (piece.kind == Piece::Kind::kLeaf) bytes += piece.leaf->length;
  return bytes;
}

Status ChunkStager::add(const FrozenFile& file, const std::optional<UnixfsRoot>& base,
                        std::vector<UnixfsChange>& changes) {
  TRY_ASSIGN(auto plans,
             plan_chunks(file, base ? base->size : 0, components_.shape.params().chunk_size));
  changes.resize(plans.size());
  UnixfsChange* change = changes.data();
  for (ChunkPlan& plan : plans) {
    UnixfsChange& here = *change++;
    here.chunk = plan.index;
    if (const auto leaf = known_leaf(file.inode, plan)) {
      here.leaf = *leaf;
      continue;
    }
    const uint64_t memory = memory_of(plan);
    const bool full = window_.size() >= kWindowJobs || window_bytes_ + plan.length > kWindowBytes ||
                      window_memory_ + memory > options_.memory_bytes / 4;
    if (full && !window_.empty()) TRY(finish_window());
    window_memory_ += memory;
    window_bytes_ += plan.length;
    Job job;
    job.inode = file.inode;
    job.base = &base;
    job.change = &here;
    job.plan = std::move(plan);
    window_.push_back(std::move(job));
  }
  return {};
}

Status ChunkStager::add_leaf(const Digest& digest, Buffer bytes) {
  if (packed_.contains(digest) || components_.packs.contains(digest)) return {};
  const uint64_t length = bytes.size();
  TRY(make_room(length));
  if (!pack_.fits(length)) TRY(seal());
  packed_.insert(digest);
  TRY(pack_.add(Cid::from_digest(Codec::kRaw, digest), std::move(bytes)));
  return seal_if_full();
}

Status ChunkStager::flush() {
  TRY(finish_window());
  return seal();
}

std::optional<Digest> ChunkStager::known_leaf(uint64_t inode, const ChunkPlan& plan) const {
  const auto found = known_.find({inode, plan.index});
  if (found == known_.end() || found->second.plan != plan) return std::nullopt;
  return found->second.leaf;
}

void ChunkStager::remember(uint64_t inode, ChunkPlan plan, const Digest& leaf) {
  if (!remembers_) return;
  known_pieces_ += plan.pieces.size();
  if (known_pieces_ > kKnownPieces) {
    remembers_ = false;
    known_.clear();
    return;
  }
  const uint64_t index = plan.index;
  known_.insert_or_assign({inode, index}, Known{std::move(plan), leaf});
}

Status ChunkStager::finish_window() {
  if (window_.empty()) return {};
  TRY(make_room(window_memory_));
  TRY(bring_bases());
  parallel_for(components_.executor, options_.hash_threads, window_.size(),
               [this](size_t i) { window_[i].status = hash(window_[i]); });
  for (Job& job : window_) {
    if (!job.status)
      return tl::unexpected<Error>(
          at_chunk(std::move(job.status).error(), job.inode, job.plan.index));
    TRY(pack(job));
    remember(job.inode, std::move(job.plan), job.leaf.digest);
    job = Job{};  // what it held is in the pack now, or dead
  }
  window_.clear();
  window_memory_ = window_bytes_ = 0;
  return {};
}

// Waits until `bytes` more may be assembled.
Status ChunkStager::make_room(uint64_t bytes) {
  const uint64_t limit = options_.memory_bytes - std::min(options_.memory_bytes, bytes);
  if (pack_.memory_bytes() > limit) TRY(seal());
  return components_.uploader.wait_memory(limit - pack_.memory_bytes());
}

Status ChunkStager::find_base_leaves() {
  Missing missing;
  do {
    if (!missing.empty()) {
      TRY(await<void>([&](Callback<void> done) {
        components_.remote.fetch(missing, context_, std::move(done));
      }));
      missing.clear();
    }
    for (Job& job : window_) {
      if (!job.plan.needs_base() || job.base_leaf) continue;
      const UnixfsRoot& base = **job.base;
      auto leaves = components_.remote.leaves(base.cid, base.size, job.plan.index, 1, missing);
      if (!leaves && leaves.error().code() == Errc::kNotLocal) continue;
      if (!leaves)
        return tl::unexpected<Error>(
            at_chunk(std::move(leaves).error(), job.inode, job.plan.index));
      if (leaves->size() != 1 || leaves->front().length != job.plan.base_length)
        return fail(Errc::kCorruption, "inode " + std::to_string(job.inode) + " has no chunk " +
                                           std::to_string(job.plan.index));
      job.base_leaf = leaves->front();
    }
  } while (!missing.empty());
  return {};
}

// What the chunks of the window copy from leaves, each leaf once a chunk.
void ChunkStager::find_shared_leaves() {
  for (Job& job : window_) {
    if (job.plan.is_leaf() && components_.packs.contains(job.plan.pieces[0].leaf->digest)) {
      job.is_stored = true;
      continue;
    }
    for (const Piece& piece : job.plan.pieces) {
      if (piece.kind != Piece::Kind::kLeaf) continue;
      const Digest& digest = piece.leaf->digest;
      const bool known = std::any_of(job.shared.begin(), job.shared.end(), [&](const Shared& each) {
        return each.leaf.digest == digest;
      });
      if (!known) job.shared.push_back({{digest, piece.leaf->length, false}, {}});
    }
  }
}

Status ChunkStager::bring_bases() {
  TRY(find_base_leaves());
  find_shared_leaves();
  std::vector<Buffer*> wanting;
  std::vector<Leaf> wanted;
  const auto bring = [&](const Job& job, const Leaf& leaf, Buffer& target) -> Status {
    TRY_ASSIGN(auto bytes, components_.host.resident(job.inode, job.plan.index, leaf));
    // What rotted here must not get into the store as a part of something new.
    if (bytes && bytes->size() == leaf.length && sha256(*bytes) == leaf.digest) {
      target = std::move(*bytes);
      return {};
    }
    wanting.push_back(&target);
    wanted.push_back(leaf);
    return {};
  };
  for (Job& job : window_) {
    if (job.base_leaf && !job.base_leaf->zero) TRY(bring(job, *job.base_leaf, job.base_bytes));
    for (Shared& shared : job.shared) TRY(bring(job, shared.leaf, shared.bytes));
  }
  if (wanted.empty()) return {};
  const std::vector<Leaf> asked = wanted;
  TRY_ASSIGN(auto fetched, await<std::vector<Buffer>>([&](Callback<std::vector<Buffer>> done) {
               components_.remote.fetch_leaves(std::move(wanted), context_, {}, std::move(done));
             }));
  for (size_t i = 0; i < wanting.size(); ++i) {
    if (i >= fetched.size() || fetched[i].size() != asked[i].length)
      return fail(Errc::kCorruption, "a leaf has another length than its file says");
    *wanting[i] = std::move(fetched[i]);
  }
  return {};
}

Status ChunkStager::hash(Job& job) {
  const ChunkPlan& plan = job.plan;
  job.leaf.length = plan.length;
  if (job.is_stored) {
    job.leaf.digest = plan.pieces[0].leaf->digest;
    return {};
  }
  if (plan.zero()) {
    job.leaf.digest = components_.shape.zero_leaf(plan.length);
    job.leaf.zero = true;
  } else if (plan.whole()) {
    TRY_ASSIGN(job.file, components_.host.open_data(plan.pieces[0].ref));
    ByteVec bytes(plan.length);
    TRY(read_fully(*job.file, plan.pieces[0].ref.offset, bytes));
    job.leaf.digest = sha256(bytes);
    job.leaf.zero = all_zero(bytes);
  } else {
    TRY(assemble(job));
    job.leaf.digest = sha256(job.bytes);
    job.leaf.zero = all_zero(job.bytes);
  }
  if (job.leaf.zero) {
    // One block of zeroes stands for all of them.
    job.file.reset();
    job.bytes = components_.shape.zero_leaf_block(plan.length);
  }
  return {};
}

Status ChunkStager::assemble(Job& job) {
  ByteVec out(job.plan.length);
  for (const Piece& piece : job.plan.pieces) {
    const MutableBytes place = MutableBytes(out).subspan(piece.offset, piece.length);
    if (piece.kind == Piece::Kind::kData) {
      TRY_ASSIGN(const auto file, components_.host.open_data(piece.ref));
      TRY(read_fully(*file, piece.ref.offset, place));
    } else if (piece.kind == Piece::Kind::kLeaf) {
      const auto from =
          std::find_if(job.shared.begin(), job.shared.end(), [&](const Shared& each) {
            return each.leaf.digest == piece.leaf->digest;
          });
      std::copy_n(from->bytes.data() + piece.leaf->offset, piece.length, place.begin());
    } else if (piece.kind == Piece::Kind::kBase && piece.offset < job.plan.base_bytes &&
               !job.base_bytes.empty()) {
      const size_t count = std::min<size_t>(piece.length, job.plan.base_bytes - piece.offset);
      std::copy_n(job.base_bytes.data() + piece.offset, count, place.begin());
    }
  }
  job.base_bytes = Buffer();
  job.shared.clear();
  job.bytes = Buffer(std::move(out));
  return {};
}

Status ChunkStager::pack(Job& job) {
  job.change->leaf = job.leaf.digest;
  components_.host.chunk_staged(job.inode, job.plan.index, job.leaf,
                                job.leaf.zero ? Buffer() : job.bytes);
  if (job.is_stored) return {};
  const Digest& digest = job.leaf.digest;
  if (packed_.contains(digest) || components_.packs.contains(digest)) return {};
  if (!pack_.fits(job.leaf.length)) TRY(seal());
  packed_.insert(digest);
  const Cid cid = Cid::from_digest(Codec::kRaw, digest);
  if (job.file) {
    TRY(pack_.add(cid, std::move(job.file), {job.plan.pieces[0].ref.offset, job.plan.length}));
  } else {
    TRY(pack_.add(cid, std::move(job.bytes)));
  }
  return seal_if_full();
}

Status ChunkStager::seal_if_full() {
  const bool knows_line = components_.uploader.in_flight_max() != 0;
  const uint64_t full =
      knows_line ? options_.pack_bytes : std::min(options_.pack_bytes, kTellingPackBytes);
  if (pack_.bytes() < full && pack_.memory_bytes() < options_.memory_bytes / 3) return {};
  return seal();
}

Status ChunkStager::seal() {
  if (pack_.empty()) return {};
  TRY_ASSIGN(SealedPack sealed, pack_.seal());
  return components_.uploader.send(std::move(sealed));
}

}  // namespace cairn
