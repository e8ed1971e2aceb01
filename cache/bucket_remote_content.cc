// BucketRemote: the content of objects, in chunks.
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <mutex>
#include <utility>

#include "cache/bucket_content.h"
#include "cache/bucket_remote.h"

namespace cairn {

namespace {

constexpr uint64_t kRunBytesMax = 8ULL << 20;
constexpr Duration kOvertakenPause = std::chrono::milliseconds(100);

}  // namespace

// Neighbouring chunks of one object, which come with one request.
struct BucketRemote::Run {
  uint64_t ino = 0;
  BucketNode node;
  std::string key;
  uint64_t offset = 0;
  uint64_t length = 0;
  std::vector<size_t> places;  // where they stand in the answer
  bool is_past = false;        // a version from before what was published from here
};

struct BucketRemote::Fetch {
  std::vector<Leaf> leaves;
  std::vector<Buffer> out;
  EachLeaf each;
  Callback<std::vector<Buffer>> done;
  std::atomic<size_t> left{0};
  RankedMutex<Rank::kLeaf> mutex;
  Status status;  // protected by mutex
};

Result<std::vector<Leaf>> BucketRemote::leaves(const Cid& content, uint64_t size, uint64_t first,
                                               uint64_t count, Missing&) {
  const Digest name = content.digest();
  const Digest version = half(name);
  const uint64_t chunks = size / kObjectChunkBytes + (size % kObjectChunkBytes != 0 ? 1 : 0);
  std::vector<Leaf> out;
  for (uint64_t i = first; i < chunks && i - first < count; ++i)
    out.push_back(
        {name_of_chunk(version, ino_of_name(name), i), object_chunk_length(size, i), false, true});
  return out;
}

Result<std::optional<uint64_t>> BucketRemote::next_data(const Cid&, uint64_t size, uint64_t first,
                                                        Missing&) {
  if (first >= size / kObjectChunkBytes + (size % kObjectChunkBytes != 0 ? 1 : 0))
    return std::optional<uint64_t>();
  return std::optional<uint64_t>(first);
}

void BucketRemote::fetch_leaves(std::vector<Leaf> leaves, Context context, EachLeaf each,
                                Callback<std::vector<Buffer>> done) {
  auto fetch = std::make_shared<Fetch>();
  fetch->leaves = std::move(leaves);
  fetch->out.resize(fetch->leaves.size());
  fetch->each = std::move(each);
  fetch->done = std::move(done);
  std::vector<size_t> order(fetch->leaves.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  const auto place = [&fetch](size_t i) {
    const Digest& name = fetch->leaves[i].digest;
    return std::pair(ino_of_name(name), index_of_name(name));
  };
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return place(a) < place(b); });

  std::vector<Result<Run>> runs;
  for (size_t i = 0; i < order.size();) {
    std::vector<size_t> places{order[i]};
    uint64_t bytes = fetch->leaves[order[i]].length;
    for (++i; i < order.size(); ++i) {
      const auto [ino, index] = place(places.back());
      const uint64_t more = fetch->leaves[order[i]].length;
      if (place(order[i]) != std::pair(ino, index + 1) || bytes + more > kRunBytesMax) break;
      places.push_back(order[i]);
      bytes += more;
    }
    runs.push_back(run_of(fetch->leaves, std::move(places)));
  }
  fetch->left = runs.size() + 1;
  for (const Result<Run>& run : runs) {
    if (run && run->is_past) {
      finish(*fetch, {});
    } else if (run) {
      get(*run, fetch, context);
    } else {
      finish(*fetch, tl::unexpected<Error>(run.error()));
    }
  }
  // As a task: not on the caller's stack, whatever there was to do.
  parts_.executor.submit([fetch] { finish(*fetch, {}); });
}

// The object that the chunks are of, if it still is the version they are of.
Result<BucketRemote::Run> BucketRemote::run_of(const std::vector<Leaf>& leaves,
                                               std::vector<size_t> places) {
  const Digest& first = leaves[places.front()].digest;
  Run run;
  run.ino = ino_of_name(first);
  TRY_ASSIGN(auto node, tree_->node(run.ino));
  if (!node) return object_replaced();
  run.node = *std::move(node);
  TRY_ASSIGN(run.key, tree_->key_of(run.node));
  run.offset = index_of_name(first) * kObjectChunkBytes;
  const Digest version = run.node.version;
  for (const size_t place : places) {
    const Leaf& leaf = leaves[place];
    run.is_past |= leaf.digest != name_of_chunk(version, run.ino, index_of_name(leaf.digest));
    run.length += leaf.length;
  }
  run.places = std::move(places);
  return run;
}

void BucketRemote::get(const Run& run, const std::shared_ptr<Fetch>& fetch,
                       const Context& context) {
  GetRange range = GetRange::from(run.offset, run.length);
  if (!run.node.etag.empty()) range.if_match = run.node.etag;
  gets_->get(run.key, range, context,
             [run, fetch, lister = lister_, tree = tree_, parts = parts_](Result<GetResult> got) {
               auto bytes = check(run, std::move(got));
               if (!bytes) {
                 const bool is_replaced = bytes.error().sys_errno() == ESTALE;
                 // Whom this cache itself overtook looks again.
                 if (is_replaced && is_overtaken(*tree, run)) {
                   const MonotonicTime later = parts.clock.now() + kOvertakenPause;
                   return parts.executor.submit_at(later, [fetch] { finish(*fetch, {}); });
                 }
                 if (is_replaced) lister->expire(run.ino);
                 return finish(*fetch, tl::unexpected<Error>(bytes.error()));
               }
               size_t at = 0;
               for (const size_t place : run.places) {
                 const size_t length = fetch->leaves[place].length;
                 fetch->out[place] = bytes->slice(at, length);
                 if (fetch->each) fetch->each(place, fetch->out[place]);
                 at += length;
               }
               finish(*fetch, {});
             });
}

// Is the object another one for this cache now, or about to be?
bool BucketRemote::is_overtaken(const BucketTree& tree, const Run& run) {
  const auto now = tree.node(run.ino);
  if (!now || !*now) return false;
  if ((*now)->version != run.node.version || (*now)->etag != run.node.etag) return true;
  const auto key = tree.key_of(**now);
  return (key && *key != run.key) || tree.is_held(run.ino);
}

// The last one answers.
void BucketRemote::finish(Fetch& fetch, Status status) {
  if (!status) {
    const std::lock_guard lock(fetch.mutex);
    if (fetch.status) fetch.status = std::move(status);
  }
  if (--fetch.left > 0) return;
  const auto done = std::exchange(fetch.done, nullptr);
  if (!fetch.status) return done(tl::unexpected<Error>(fetch.status.error()));
  done(std::move(fetch.out));
}

// Also of a store that does not honour If-Match: what it says it sent is compared.
Result<Buffer> BucketRemote::check(const Run& run, Result<GetResult> got) {
  if (!got) {
    const Errc code = got.error().code();
    if (code == Errc::kPrecondition || code == Errc::kNotFound) return object_replaced();
    return tl::unexpected<Error>(got.error());
  }
  const bool same = bare_etag(got->etag) == bare_etag(run.node.etag) || run.node.etag.empty();
  if (!same || got->object_size != run.node.size) return object_replaced();
  if (got->bytes.size() != run.length)
    return fail(Errc::kIo, "get '" + run.key + "': the store sent less than the object has");
  return std::move(got->bytes);
}

}  // namespace cairn
