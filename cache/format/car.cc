#include "cache/format/car.h"

#include <algorithm>
#include <array>
#include <string>

#include "cache/format/cbor.h"
#include "cache/format/dagpb.h"

namespace cairn {
namespace {

constexpr uint64_t kCarVersion = 1;

tl::unexpected<Error> bad(uint64_t at, const std::string& what) {
  return fail(Errc::kCorruption, "CAR: at byte " + std::to_string(at) + ": " + what);
}

// {"roots": [CID, ...], "version": 1} and no other key.
Result<std::vector<Cid>> decode_header(Bytes header) {
  CborReader in(header);
  std::vector<Cid> roots;
  bool has_roots = false;
  bool has_version = false;
  TRY_ASSIGN(CborMap map, in.map());
  while (map.left > 0) {
    TRY_ASSIGN(const std::string_view key, in.key(map));
    if (key == "roots") {
      has_roots = true;
      TRY_ASSIGN(const uint64_t count, in.array());
      if (count == 0 || count > kMaxCarRoots) return in.bad("CAR: number of roots");
      for (uint64_t i = 0; i < count; ++i) {
        TRY_ASSIGN(const Cid root, in.link());
        roots.push_back(root);
      }
    } else if (key == "version") {
      has_version = true;
      TRY_ASSIGN(const uint64_t version, in.uint());
      if (version != kCarVersion)
        return fail(Errc::kUnsupported, "CAR: version " + std::to_string(version));
    } else {
      return in.bad("CAR: unknown key in the header");
    }
  }
  TRY(in.finish());
  if (!has_roots || !has_version) return in.bad("CAR: the header lacks roots or version");
  return roots;
}

}  // namespace

ByteVec encode_car_header(const Cid& root) {
  ByteVec header;
  CborWriter out(header);
  out.map(2);
  out.text("roots");
  out.array(1);
  out.link(root);
  out.text("version");
  out.uint(kCarVersion);
  ByteVec framed;
  put_varint(framed, header.size());
  append(framed, header);
  return framed;
}

void append_car_frame(ByteVec& out, const Cid& cid, uint64_t length) {
  put_varint(out, cid.byte_size() + length);
  cid.append_to(out);
}

size_t car_frame_size(uint64_t length) {
  return varint_size(Cid::kDigestCidSize + length) + Cid::kDigestCidSize;
}

Status verify_block(const Cid& cid, Bytes data) {
  if (!cid.matches(data))
    return fail(Errc::kCorruption, "a block's bytes are not those of " + cid.text());
  switch (cid.codec()) {
    case Codec::kRaw:
      return {};
    case Codec::kDagPb:
      return validate_dag_pb(data);
    case Codec::kDagCbor:
      return cbor_validate(data);
  }
  return fail(Errc::kUnsupported, "unknown codec");
}

Result<uint64_t> CarReader::length() {
  std::array<std::byte, 9> window{};  // the longest varint
  const uint64_t left = source_->size() - at_;
  const auto in = MutableBytes(window).first(std::min<uint64_t>(left, window.size()));
  TRY(read_exact(*source_, at_, in));
  Bytes rest = in;
  auto value = take_varint(rest);
  if (!value) return bad(at_, value.error().message());
  at_ += in.size() - rest.size();
  return value;
}

Result<CarReader> CarReader::open(ByteSource& source) {
  CarReader reader(source);
  if (source.size() == 0) return bad(0, "an empty file");
  TRY_ASSIGN(const uint64_t size, reader.length());
  if (size == 0 || size > kMaxCarHeader || size > source.size() - reader.at_)
    return bad(reader.at_, "a header of " + std::to_string(size) + " bytes");
  ByteVec header(static_cast<size_t>(size));
  TRY(read_exact(source, reader.at_, header));
  reader.at_ += size;
  TRY_ASSIGN(reader.roots_, decode_header(header));
  reader.seen_.resize(reader.roots_.size());
  return reader;
}

Result<std::optional<CarSection>> CarReader::next() {
  if (at_ == source_->size()) {
    for (size_t i = 0; i < roots_.size(); ++i)
      if (!seen_[i]) return bad(at_, "root " + roots_[i].text() + " is not in the file");
    return std::optional<CarSection>{};
  }
  const uint64_t start = at_;
  TRY_ASSIGN(const uint64_t size, length());
  if (size > kMaxCarSection) return bad(start, "a section of " + std::to_string(size) + " bytes");
  if (size > source_->size() - at_) return bad(start, "a section that ends behind the file");
  ByteVec bytes(static_cast<size_t>(size));
  TRY(read_exact(*source_, at_, bytes));
  at_ += size;
  const Buffer section(std::move(bytes));
  Bytes rest = section;
  auto cid = Cid::take(rest);
  if (!cid) return bad(start, cid.error().message());
  if (cid->is_identity()) return bad(start, "an inline CID as a block");
  if (const Status good = verify_block(*cid, rest); !good)
    return bad(start, good.error().message());
  for (size_t i = 0; i < roots_.size(); ++i)
    if (roots_[i] == *cid) seen_[i] = true;
  return std::optional<CarSection>(
      {*cid, at_ - rest.size(), section.slice(section.size() - rest.size(), rest.size())});
}

Result<CarSummary> verify_car(ByteSource& source) {
  TRY_ASSIGN(CarReader reader, CarReader::open(source));
  CarSummary summary;
  while (true) {
    TRY_ASSIGN(const auto section, reader.next());
    if (!section) return summary;
    ++summary.blocks;
    summary.bytes += section->data.size();
  }
}

}  // namespace cairn
