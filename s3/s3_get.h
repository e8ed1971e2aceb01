// What a ranged GET asks S3 for and what an answer to it means. Pure; used by S3Store.
//
// Servers differ: some answer 200 with the whole object, some 416 without the size. An answer that
// does not add up (a length, an offset) is an error, never passed on.
#pragma once

#include <optional>
#include <string>

#include "cache/object_store.h"
#include "s3/http.h"

namespace cairn {

// The value of the Range header; nullopt for the whole object. Nothing can be asked for zero bytes,
// so one is, and thrown away.
std::optional<std::string> range_header(const GetRange& range);

struct ContentRange {
  bool satisfied = false;  // "bytes first-last/size", else "bytes */size"
  uint64_t first = 0;
  uint64_t last = 0;
  uint64_t size = 0;
};
std::optional<ContentRange> parse_content_range(std::string_view text);

// From an answer with status 200 or 206. `what` is for messages ("get s3://b/k").
Result<GetResult> read_get_answer(HttpResponse response, const GetRange& range,
                                  const std::string& what);
// The object's size out of an answer with status 416; nullopt when it does not say.
std::optional<uint64_t> size_from_unsatisfied(const HttpResponse& response);

}  // namespace cairn
