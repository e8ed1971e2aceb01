// Dumps for developers: what a commit, a pack, a segment, a node and a tree say, as text.
//
// Functions for tools. They read only, block on the store, and verify every block they show; one
// thread, never on a task of the store's executor. Output goes line by line to `out`, so that a
// tree of any size can be dumped; memory is bounded by the tails of the metadata packs.
// Errors: kNotFound, kCorruption, kInvalid, and the store's.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "cache/base/clock.h"
#include "cache/base/digest.h"
#include "cache/object_store.h"

namespace cairn {

using LineSink = std::function<void(std::string_view line)>;

// Commit `seq`; 0: the newest.
Status dump_commit(ObjectStore& store, uint64_t seq, Context context, const LineSink& out);

// Every key of the commit's tree in order: the key in hex, a tab, the value's CID. What an
// independent implementation of the tree needs to compute the same root.
Status dump_keys(ObjectStore& store, uint64_t seq, Context context, const LineSink& out);

// The same keys for people: the key, and its record decoded.
Status dump_tree(ObjectStore& store, uint64_t seq, Context context, const LineSink& out);

// One node of the commit's tree, named by its digest; the root when `node` is empty.
Status dump_node(ObjectStore& store, uint64_t seq, const std::optional<Digest>& node,
                 Context context, const LineSink& out);

// What a pack's tail says, sorted by digest.
Status dump_pack(ObjectStore& store, const Digest& pack, Context context, const LineSink& out);

}  // namespace cairn
