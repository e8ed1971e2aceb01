// put_stream: puts what comes from a stream, however much that turns out to be, as one object.
//
// What ends within the first part is one put of the caller's. More is a multipart upload whose
// parts are sent while the stream is read; they have kStreamPartBytes, and after every
// kStreamPartsAlike of them twice as much as before, so that 10,000 parts are nearly 3 TiB. The
// object appears when the stream has ended and all parts are there; after an error, or when the
// caller gives up, the parts are given back to the store. Bounds: in memory are the part that is
// read and those that are sent, together at most kStreamBytesMax, or two parts when these are
// larger. Threads: blocks its caller, which is no task of the client's executor; `read` runs there.
// Parts are sent by tasks. Errors: of `read`; those of ObjectStore::put; kInvalid when the stream
// is longer than an object can be. Source: Amazon S3 user guide, "Multipart upload limits".
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "s3/s3_put.h"

namespace cairn {

inline constexpr uint64_t kStreamPartBytes = 16ULL << 20;
inline constexpr uint64_t kStreamPartsAlike = 1000;
inline constexpr uint64_t kStreamPartBytesMax = 512ULL << 20;
inline constexpr uint64_t kStreamBytesMax = 96ULL << 20;

// Bytes of the part with this number (from 0), unless the stream ends in it.
uint64_t stream_part_bytes(uint64_t index);

// Fills the front of the buffer; 0 at the end of the stream.
using ReadStream = std::function<Result<size_t>(MutableBytes)>;

// Completes with the new object's etag. `put_short`: puts what is less than a part.
Result<std::string> put_stream(const std::shared_ptr<S3Client>& client, const std::string& key,
                               const ReadStream& read, const PutHow& how, const Context& context,
                               const std::function<Result<std::string>(Body)>& put_short);

}  // namespace cairn
