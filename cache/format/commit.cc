#include "cache/format/commit.h"

#include <algorithm>
#include <utility>

#include "cache/base/coding.h"

namespace cairn {
namespace {

// ---- writing

void write_writer(CborWriter& w, const CommitRecord::Writer& writer) {
  w.array(5);
  w.bytes(writer.cache_id);
  w.text(writer.host);
  w.uint(writer.slot);
  w.boolean(writer.open);
  w.uint(writer.lsn);
}

void write_packs(CborWriter& w, const std::vector<CommitPack>& packs, bool with_tier) {
  w.array(packs.size());
  for (const CommitPack& pack : packs) {
    w.array(with_tier ? 4 : 3);
    w.bytes(pack.digest.view());
    w.uint(pack.size);
    w.uint(pack.blocks);
    if (with_tier) w.uint(pack.tier);
  }
}

void write_slots(CborWriter& w, const std::map<uint16_t, CommitRecord::Slot>& slots) {
  w.array(slots.size());
  for (const auto& [number, slot] : slots) {
    w.array(3);
    w.uint(number);
    w.bytes(slot.cache_id);
    w.uint(slot.highest_group);
  }
}

// ---- reading

Status expect_array(CborReader& in, uint64_t size) {
  TRY_ASSIGN(const uint64_t count, in.array());
  if (count != size) return in.bad("an array of another length");
  return {};
}

template <size_t kSize>
Status read_fixed(CborReader& in, std::array<std::byte, kSize>& out) {
  TRY_ASSIGN(const Bytes bytes, in.bytes());
  if (bytes.size() != kSize) return in.bad("bytes of another length");
  std::copy(bytes.begin(), bytes.end(), out.begin());
  return {};
}

Status read_uints(CborReader& in, std::initializer_list<uint64_t*> fields) {
  for (uint64_t* field : fields) {
    TRY_ASSIGN(*field, in.uint());
  }
  return {};
}

Status read_writer(CborReader& in, CommitRecord::Writer& out) {
  TRY(expect_array(in, 5));
  TRY(read_fixed(in, out.cache_id));
  TRY_ASSIGN(const std::string_view host, in.text());
  if (host.size() > CommitRecord::kMaxHost) return in.bad("a host name that is too long");
  out.host = host;
  TRY_ASSIGN(const uint64_t slot, in.uint_at_most(UINT16_MAX));
  out.slot = static_cast<uint16_t>(slot);
  TRY_ASSIGN(out.open, in.boolean());
  TRY_ASSIGN(out.lsn, in.uint());
  return {};
}

Status read_previous(CborReader& in, std::optional<CommitRecord::Previous>& out) {
  TRY_ASSIGN(const bool none, in.take_null());
  if (none) return {};
  out = CommitRecord::Previous{};
  TRY(expect_array(in, 2));
  TRY_ASSIGN(out->seq, in.uint());
  return read_fixed(in, out->digest.bytes);
}

Status read_root(CborReader& in, Cid& out) {
  TRY_ASSIGN(out, in.link());
  if (out.is_identity() || out.codec() != Codec::kDagCbor)
    return in.bad("a root that is not a dag-cbor block");
  return {};
}

Status read_place(CborReader& in, std::optional<CommitRecord::RootPlace>& out) {
  TRY_ASSIGN(const bool none, in.take_null());
  if (none) return {};
  out = CommitRecord::RootPlace{};
  TRY(expect_array(in, 3));
  TRY(read_fixed(in, out->pack.bytes));
  return read_uints(in, {&out->offset, &out->length});
}

Status read_packs(CborReader& in, std::vector<CommitPack>& out, bool with_tier) {
  TRY_ASSIGN(const uint64_t count, in.array());
  for (uint64_t i = 0; i < count; ++i) {
    CommitPack pack;
    TRY(expect_array(in, with_tier ? 4 : 3));
    TRY(read_fixed(in, pack.digest.bytes));
    TRY(read_uints(in, {&pack.size, &pack.blocks}));
    if (with_tier) {
      TRY_ASSIGN(pack.tier, in.uint_at_most(CommitRecord::kMaxTier));
    }
    out.push_back(pack);
  }
  return {};
}

Status read_segments(CborReader& in, std::vector<CommitSegment>& out) {
  TRY_ASSIGN(const uint64_t count, in.array());
  for (uint64_t i = 0; i < count; ++i) {
    CommitSegment segment;
    TRY(expect_array(in, 3));
    TRY(read_fixed(in, segment.digest.bytes));
    TRY(read_uints(in, {&segment.size, &segment.entries}));
    out.push_back(segment);
  }
  return {};
}

Status read_condemned(CborReader& in, std::vector<CondemnedPack>& out) {
  TRY_ASSIGN(const uint64_t count, in.array());
  for (uint64_t i = 0; i < count; ++i) {
    CondemnedPack pack;
    TRY(expect_array(in, 3));
    TRY(read_fixed(in, pack.digest.bytes));
    TRY(read_uints(in, {&pack.size, &pack.since}));
    out.push_back(pack);
  }
  return {};
}

Status read_totals(CborReader& in, CommitRecord::Totals& out) {
  TRY(expect_array(in, 3));
  return read_uints(in, {&out.live_bytes, &out.inodes, &out.stored_bytes});
}

Status read_slots(CborReader& in, std::map<uint16_t, CommitRecord::Slot>& out) {
  TRY_ASSIGN(const uint64_t count, in.array());
  for (uint64_t i = 0; i < count; ++i) {
    TRY(expect_array(in, 3));
    TRY_ASSIGN(const uint64_t number, in.uint_at_most(UINT16_MAX));
    if (!out.empty() && number <= out.rbegin()->first) return in.bad("slots not in order");
    CommitRecord::Slot slot;
    TRY(read_fixed(in, slot.cache_id));
    TRY_ASSIGN(const uint64_t group, in.uint_at_most(UINT32_MAX));
    slot.highest_group = static_cast<uint32_t>(group);
    out.emplace_hint(out.end(), static_cast<uint16_t>(number), slot);
  }
  return {};
}

// One known field of the record's map: how it is written and read.
struct Field {
  std::string_view key;
  void (*write)(CborWriter&, const CommitRecord&);
  Status (*read)(CborReader&, CommitRecord&);
};

Status read_uint(CborReader& in, uint64_t& out) {
  TRY_ASSIGN(out, in.uint());
  return {};
}
Status read_set(CborReader& in, std::vector<std::string>& out) {
  TRY_ASSIGN(out, read_feature_set(in));
  return {};
}

using W = CborWriter;
using R = CborReader;
using C = CommitRecord;

constexpr Field kFields[] = {
    {"seq", [](W& w, const C& c) { w.uint(c.seq); },
     [](R& in, C& c) { return read_uint(in, c.seq); }},
    {"epoch", [](W& w, const C& c) { w.uint(c.epoch); },
     [](R& in, C& c) { return read_uint(in, c.epoch); }},
    {"nonce", [](W& w, const C& c) { w.bytes(c.nonce); },
     [](R& in, C& c) { return read_fixed(in, c.nonce); }},
    {"writer", [](W& w, const C& c) { write_writer(w, c.writer); },
     [](R& in, C& c) { return read_writer(in, c.writer); }},
    {"prev",
     [](W& w, const C& c) {
       if (!c.previous) return w.null();
       w.array(2);
       w.uint(c.previous->seq);
       w.bytes(c.previous->digest.view());
     },
     [](R& in, C& c) { return read_previous(in, c.previous); }},
    {"root", [](W& w, const C& c) { w.link(c.root); },
     [](R& in, C& c) { return read_root(in, c.root); }},
    {"root_at",
     [](W& w, const C& c) {
       if (!c.root_place) return w.null();
       w.array(3);
       w.bytes(c.root_place->pack.view());
       w.uint(c.root_place->offset);
       w.uint(c.root_place->length);
     },
     [](R& in, C& c) { return read_place(in, c.root_place); }},
    {"time", [](W& w, const C& c) { w.integer(c.time_ns); },
     [](R& in, C& c) -> Status {
       TRY_ASSIGN(c.time_ns, in.integer());
       return {};
     }},
    {"meta", [](W& w, const C& c) { write_packs(w, c.metadata_packs, true); },
     [](R& in, C& c) { return read_packs(in, c.metadata_packs, true); }},
    {"young", [](W& w, const C& c) { write_packs(w, c.young_packs, false); },
     [](R& in, C& c) { return read_packs(in, c.young_packs, false); }},
    {"index",
     [](W& w, const C& c) {
       w.array(c.index_segments.size());
       for (const CommitSegment& segment : c.index_segments) {
         w.array(3);
         w.bytes(segment.digest.view());
         w.uint(segment.size);
         w.uint(segment.entries);
       }
     },
     [](R& in, C& c) { return read_segments(in, c.index_segments); }},
    {"condemned",
     [](W& w, const C& c) {
       w.array(c.condemned_packs.size());
       for (const CondemnedPack& pack : c.condemned_packs) {
         w.array(3);
         w.bytes(pack.digest.view());
         w.uint(pack.size);
         w.uint(pack.since);
       }
     },
     [](R& in, C& c) { return read_condemned(in, c.condemned_packs); }},
    {"totals",
     [](W& w, const C& c) {
       w.array(3);
       w.uint(c.totals.live_bytes);
       w.uint(c.totals.inodes);
       w.uint(c.totals.stored_bytes);
     },
     [](R& in, C& c) { return read_totals(in, c.totals); }},
    {"slots", [](W& w, const C& c) { write_slots(w, c.slots); },
     [](R& in, C& c) { return read_slots(in, c.slots); }},
    {"compat", [](W& w, const C& c) { write_feature_set(w, c.features.compat); },
     [](R& in, C& c) { return read_set(in, c.features.compat); }},
    {"ro_compat", [](W& w, const C& c) { write_feature_set(w, c.features.ro_compat); },
     [](R& in, C& c) { return read_set(in, c.features.ro_compat); }},
    {"incompat", [](W& w, const C& c) { write_feature_set(w, c.features.incompat); },
     [](R& in, C& c) { return read_set(in, c.features.incompat); }},
};

// The checksum stands under a key of its own and covers every other byte of the record.
constexpr std::string_view kCrcKey = "crc";
constexpr size_t kCrcBytes = 4;

// Where in `record` the checksum's bytes are.
Result<size_t> find_crc(Bytes record) {
  CborReader in(record);
  TRY_ASSIGN(CborMap map, in.map());
  while (map.left > 0) {
    TRY_ASSIGN(const std::string_view key, in.key(map));
    if (key != kCrcKey) {
      TRY(in.raw());
      continue;
    }
    TRY_ASSIGN(const Bytes crc, in.bytes());
    if (crc.size() != kCrcBytes) return in.bad("a checksum of another length");
    return static_cast<size_t>(crc.data() - record.data());
  }
  return in.bad("a commit record without a checksum");
}

uint32_t crc_without(Bytes record, size_t crc_at) {
  return crc32c(record.subspan(crc_at + kCrcBytes), crc32c(record.first(crc_at)));
}

// What decode would refuse.
Status check(const CommitRecord& c) {
  const auto bad = [](const char* what) {
    return fail(Errc::kInvalid, std::string("commit record: ") + what);
  };
  if (c.root.is_identity() || c.root.codec() != Codec::kDagCbor) return bad("no root");
  if (c.previous && c.previous->seq >= c.seq) return bad("not behind its predecessor");
  if (c.writer.host.size() > C::kMaxHost || !is_utf8(c.writer.host)) return bad("host name");
  for (const CommitPack& pack : c.metadata_packs)
    if (pack.tier > C::kMaxTier) return bad("tier out of range");
  for (const CommitPack& pack : c.young_packs)
    if (pack.tier != 0) return bad("a data pack with a tier");
  return {};
}

}  // namespace

Result<ByteVec> CommitRecord::encode() const {
  TRY(check(*this));
  CborFields fields = unknown;
  for (const Field& field : kFields)
    put_cbor_field(fields, field.key, [&](CborWriter& out) { field.write(out, *this); });
  constexpr std::array<std::byte, kCrcBytes> kNoCrc{};
  put_cbor_field(fields, kCrcKey, [&](CborWriter& w) { w.bytes(kNoCrc); });
  ByteVec out;
  CborWriter w(out);
  write_cbor_map(w, fields);
  TRY_ASSIGN(const size_t crc_at, find_crc(out));
  ByteVec crc;
  put_le(crc, crc_without(out, crc_at));
  std::copy(crc.begin(), crc.end(), out.begin() + static_cast<ptrdiff_t>(crc_at));
  if (out.size() > kMaxBytes)
    return fail(Errc::kUnsupported, "commit record: " + std::to_string(out.size()) +
                                        " bytes, more than a commit holds");
  return out;
}

Result<CommitRecord> CommitRecord::decode(Bytes bytes) {
  if (bytes.size() > kMaxBytes) return fail(Errc::kCorruption, "commit record: too large");
  CborReader in(bytes);
  CommitRecord out;
  size_t known = 0;
  TRY_ASSIGN(CborMap map, in.map());
  while (map.left > 0) {
    TRY_ASSIGN(const std::string_view key, in.key(map));
    const auto* field = std::find_if(std::begin(kFields), std::end(kFields),
                                     [&](const Field& f) { return f.key == key; });
    if (field != std::end(kFields)) {
      TRY(field->read(in, out));
      ++known;
      continue;
    }
    TRY_ASSIGN(const Bytes value, in.raw());
    if (key == kCrcKey) continue;
    out.unknown.emplace(std::string(key), to_vec(value));
  }
  TRY(in.finish());
  if (known != std::size(kFields)) return in.bad("a commit record without all of its fields");
  TRY_ASSIGN(const size_t crc_at, find_crc(bytes));
  if (get_le<uint32_t>(&bytes[crc_at]) != crc_without(bytes, crc_at))
    return in.bad("the checksum is wrong");
  if (const Status valid = check(out); !valid) return in.bad(valid.error().message());
  return out;
}

}  // namespace cairn
