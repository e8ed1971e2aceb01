// Going through many objects of a store (check, collector, snapshots).
//
// Blocks on the store; never on a task of its executor. Memory: what is asked for at once.
// Errors: the store's; those of single gets are in their results.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "cache/object_store.h"

namespace cairn {

// Gets several objects at the same time, at most `bytes_max` of each, in the order of the keys.
std::vector<Result<GetResult>> get_all(ObjectStore& store, const std::vector<std::string>& keys,
                                       uint64_t bytes_max, const Context& context);

// Visits every object under `prefix` in the order of the keys.
Status list_all(ObjectStore& store, std::string_view prefix, const Context& context,
                const std::function<void(const ObjectInfo&)>& visit);

// Removes objects, several at the same time; the first error, after all have ended.
Status remove_all(ObjectStore& store, const std::vector<std::string>& keys, const Context& context);

}  // namespace cairn
