// dag-pb: the protobuf form of a node with links. Pure functions over bytes, any thread.
//
// Decoding is strict: links before data, fields in the order Hash, Name, Tsize, each at most once,
// shortest varints, nothing unknown, nothing behind the end. What passes has one encoding only.
// Errors: kCorruption. Format: FORMAT.md, "UnixFS files" (IPLD dag-pb specification).
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "cache/base/bytes.h"
#include "cache/base/result.h"
#include "cache/format/cid.h"

namespace cairn {

struct PbLink {
  Cid cid;
  std::optional<std::string_view> name;  // a view into the decoded block
  std::optional<uint64_t> tsize;
};

// Walks one encoded node: next_link() until it gives nothing, then data().
class PbNodeReader {
 public:
  explicit PbNodeReader(Bytes block) : rest_(block) {}
  Result<std::optional<PbLink>> next_link();
  // The data field, if there is one. Fails when links or other bytes follow.
  Result<std::optional<Bytes>> data();

 private:
  Bytes rest_;
};

// Appends a link with an empty name, as importers write the links of a file.
void append_pb_link(ByteVec& out, const Cid& cid, uint64_t tsize);
void append_pb_data(ByteVec& out, Bytes data);

// Any well-formed dag-pb node.
Status validate_dag_pb(Bytes block);

}  // namespace cairn
