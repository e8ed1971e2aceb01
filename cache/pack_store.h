// PackStore: packs in the object store: putting them there, finding a block in them, reading
// blocks back with few requests.
//
// Owner: the remote of one mount (or a tool). Thread-safe; no lock is held across a callback.
// Callbacks are tasks of the executor. Memory is bounded: tails of packs and pages of index
// segments are kept in LRUs, and at most `requests_max` GETs are under way.
//
// Promise: every block that is given out was verified against its digest. A wrong one is located
// anew and read once more, then the answer is kCorruption.
// Ordering: a pack put with `put_pack` can be read from the moment its callback runs without
// error. `set_published` replaces what the head names; packs put since stay known besides.
// Errors: kNotFound (no pack that is named here has the block), kCorruption, and the store's.
//
// How a block is located: a hint of the caller, tails that are here; leaves in index segments,
// newest first, then in tails of data packs that are not here yet, then of metadata packs; nodes
// in tails of metadata packs first; last of all the condemned packs. A block that is in none of
// them, or whose pack is gone, is looked for once more by what the newest commit names.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cache/base/clock.h"
#include "cache/base/digest.h"
#include "cache/base/executor.h"
#include "cache/format/pack.h"
#include "cache/object_store.h"

namespace cairn {

class TailFiles;

// A pack as a commit names it.
struct PackName {
  Digest digest;        // of its tail; also its key
  uint64_t size = 0;    // bytes of the object
  uint64_t blocks = 0;  // entries of its tail
  PackKind kind = PackKind::kData;
  bool operator==(const PackName&) const = default;
};
PackName name_of(const PackTail& tail);

struct SegmentName {
  Digest digest;
  uint64_t size = 0;
  uint64_t entries = 0;
};

// A pack that a commit condemns.
struct CondemnedName {
  Digest digest;
  bool deleted = false;  // a segment still lists it, that is all
};

// Where a block's bytes are (behind its CID, as they are hashed).
struct BlockPlace {
  Digest pack;
  uint64_t offset = 0;
  uint32_t length = 0;
};

struct BlockWant {
  Digest digest;
  std::optional<BlockPlace> hint;  // tried first; a wrong one costs a request
};

// Takes a block as soon as it is here, by its place among the wants; from several threads.
using EachBlock = std::function<void(size_t want, const Buffer& block)>;

// A pack that was collected has moved: looking it up anew finds the block. A store that forgets an
// object for a moment is believed a little later, and bytes that broke on the way come anew.
constexpr unsigned kLooksMax = 7;

class PackStore {
 public:
  struct Options {
    uint64_t tail_bytes = 16ULL << 20;           // memory of tails kept
    uint64_t page_bytes = 8ULL << 20;            // memory of index pages kept
    uint64_t around_bytes = 8ULL << 20;          // memory of what came with small blocks
    uint64_t gap_bytes_max = 128ULL << 10;       // read rather than split a request
    uint64_t request_bytes_max = 8ULL << 20;     // of one GET of blocks
    uint32_t requests_max = 40;                  // GETs under way at once
    uint64_t under_way_bytes_max = 64ULL << 20;  // that they asked for together
    std::shared_ptr<TailFiles> tail_files = {};  // of metadata packs; none: in memory as others
  };
  // All references must outlive the store and its callbacks.
  static std::unique_ptr<PackStore> make(ObjectStore& store, Executor& executor, Clock& clock,
                                         Options options);
  virtual ~PackStore() = default;

  // What the head names; `packs` are all that no segment covers, oldest first.
  virtual void set_published(std::vector<PackName> packs, std::vector<SegmentName> segments) = 0;
  // What the head condemns. Nothing is deduplicated against these, and they are read only where
  // no other pack has the block. The engine says which of them are deleted already.
  virtual void set_condemned(std::vector<CondemnedName> packs) = 0;
  // Packs that a collection is about to condemn: nothing is deduplicated against them from now on.
  virtual void set_suspects(std::vector<Digest> packs) = 0;
  // Condemned, or a suspect.
  virtual bool leaves(const Digest& pack) const = 0;
  // Packs that the head does not name and that are there: blocks that no other pack has are looked
  // for in these. A collection reads the trees of snapshots with it.
  virtual void also_look_in(std::vector<PackName> packs) = 0;
  // `ask` finds out what the newest commit names and calls set_published and set_condemned. It is
  // called when a block is not where this mount knows it to be: the collector may have moved it.
  virtual void on_lost(std::function<void(Callback<void>)> ask) = 0;
  // Calls what `on_lost` gave; at once done without it.
  // Asks for the newest commit, then waits the longer the more looks there were (kLooksMax at
  // most).
  virtual void ask_again(unsigned looks, Callback<void> done) = 0;
  // The pack is not where it was: what its tail says does not count until it is fetched anew.
  virtual void lost(const Digest& pack) = 0;
  // `here` says that the caller has all blocks of a metadata pack: what is looked for is hardly in
  // one of these, so they are asked last.
  virtual void on_all_here(std::function<bool(const Digest& pack)> here) = 0;
  // `keep` gets what came of a metadata pack with its tail, nothing of it verified: `end` is the
  // object's end, in which its upper nodes may lie. Before anybody has the tail.
  virtual void on_pack_end(std::function<void(const PackTail& tail, const Buffer& end)> keep) = 0;

  // Puts an immutable object under its name; finding an equal one there is success. From success
  // on its blocks can be read and `contains` knows them.
  virtual void put_pack(PackTail tail, Body body, Context context, Callback<void> done) = 0;
  virtual void put_segment(SegmentName segment, Body body, Context context,
                           Callback<void> done) = 0;

  // What was put since set_published may not be there: the store is another one than it was.
  virtual void forget_put() = 0;

  // True when the block is surely in a data pack that is neither condemned nor a suspect: one that
  // the head names, or one that was put since (which the next commit must name). (What lies in a
  // metadata pack is kept for the tree's sake, and only as long as the tree needs it.) Never asks
  // the network; false only means that nothing here knows.
  virtual bool contains(const Digest& digest) = 0;

  // Places in the order asked for; kNotFound names the first block that is nowhere. Packs of
  // `kind` are asked first.
  virtual void locate(std::vector<Digest> digests, PackKind kind, Context context,
                      Callback<std::vector<BlockPlace>> done) = 0;
  // Bytes in the order asked for. Neighbours in one pack come with one request; a block that is
  // already on its way is waited for; around a small block of a data pack more is asked for
  // (pack_windows.h). `each` (may be empty) has every block before it counts as on its way no
  // more, so who keeps it there leaves no gap in which it would be asked for again; never after
  // `done` began.
  virtual void read_blocks(std::vector<BlockWant> wants, PackKind kind, Context context,
                           EachBlock each, Callback<std::vector<Buffer>> done) = 0;
  // Whether the tails of all these may be here at once.
  virtual bool has_room_for_tails(const std::vector<PackName>& packs) const = 0;
  // What a pack's tail says, from memory or with one request (two when the tail is large).
  virtual void read_tail(PackName pack, Context context, Callback<PackTail> done) = 0;
  // Brings what look-ups in the newest index segments begin with: at most `bytes_max`.
  virtual void read_index_ahead(uint64_t bytes_max, Context context, Callback<void> done) = 0;
  // Bytes of a pack as they are in the store (nothing verified).
  virtual void read_range(const Digest& pack, ByteRange range, Context context,
                          Callback<Buffer> done) = 0;

  // What the head names (set_published) and what was put since, oldest first.
  virtual std::vector<PackName> packs() const = 0;
};

}  // namespace cairn
