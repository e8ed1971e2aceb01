#include "cache/format/dagpb.h"

namespace cairn {
namespace {

// Protobuf tags: field number << 3 | wire type (0 varint, 2 length-delimited).
constexpr auto kTagNodeData = std::byte{0x0a};
constexpr auto kTagNodeLink = std::byte{0x12};
constexpr auto kTagLinkHash = std::byte{0x0a};
constexpr auto kTagLinkName = std::byte{0x12};
constexpr auto kTagLinkTsize = std::byte{0x18};

bool take_tag(Bytes& in, std::byte tag) {
  if (in.empty() || in.front() != tag) return false;
  in = in.subspan(1);
  return true;
}

Result<Bytes> take_field(Bytes& in) {
  TRY_ASSIGN(const uint64_t size, take_varint(in));
  if (size > in.size()) return fail(Errc::kCorruption, "dag-pb: a field ends behind the block");
  const Bytes field = in.first(static_cast<size_t>(size));
  in = in.subspan(field.size());
  return field;
}

}  // namespace

Result<std::optional<PbLink>> PbNodeReader::next_link() {
  if (!take_tag(rest_, kTagNodeLink)) return std::optional<PbLink>{};
  TRY_ASSIGN(Bytes in, take_field(rest_));
  PbLink link;
  if (!take_tag(in, kTagLinkHash)) return fail(Errc::kCorruption, "dag-pb: a link without a hash");
  TRY_ASSIGN(const Bytes hash, take_field(in));
  TRY_ASSIGN(link.cid, Cid::from_bytes(hash));
  if (take_tag(in, kTagLinkName)) {
    TRY_ASSIGN(const Bytes name, take_field(in));
    link.name = as_chars(name);
  }
  if (take_tag(in, kTagLinkTsize)) {
    TRY_ASSIGN(link.tsize, take_varint(in));
  }
  if (!in.empty()) return fail(Errc::kCorruption, "dag-pb: unexpected field in a link");
  return std::optional<PbLink>(link);
}

Result<std::optional<Bytes>> PbNodeReader::data() {
  std::optional<Bytes> field;
  if (take_tag(rest_, kTagNodeData)) {
    TRY_ASSIGN(field, take_field(rest_));
  }
  if (!rest_.empty()) return fail(Errc::kCorruption, "dag-pb: unexpected bytes behind the data");
  return field;
}

void append_pb_link(ByteVec& out, const Cid& cid, uint64_t tsize) {
  const size_t cid_size = cid.byte_size();
  const size_t size = 1 + varint_size(cid_size) + cid_size + 2 + 1 + varint_size(tsize);
  out.push_back(kTagNodeLink);
  put_varint(out, size);
  out.push_back(kTagLinkHash);
  put_varint(out, cid_size);
  cid.append_to(out);
  out.push_back(kTagLinkName);
  put_varint(out, 0);
  out.push_back(kTagLinkTsize);
  put_varint(out, tsize);
}

void append_pb_data(ByteVec& out, Bytes data) {
  out.push_back(kTagNodeData);
  put_varint(out, data.size());
  append(out, data);
}

Status validate_dag_pb(Bytes block) {
  PbNodeReader node(block);
  while (true) {
    TRY_ASSIGN(const auto link, node.next_link());
    if (!link) break;
  }
  TRY(node.data());
  return {};
}

}  // namespace cairn
