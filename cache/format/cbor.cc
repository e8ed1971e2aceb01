#include "cache/format/cbor.h"

#include <array>
#include <vector>

namespace cairn {
namespace {

// Major types (the top three bits of a head).
enum : unsigned {
  kUintMajor,
  kNegMajor,
  kBytesMajor,
  kTextMajor,
  kArrayMajor,
  kMapMajor,
  kTagMajor
};
constexpr unsigned kSimpleMajor = 7;
constexpr unsigned kFalse = 20, kTrue = 21, kNull = 22;
constexpr uint64_t kLinkTag = 42;
constexpr std::byte kLinkPrefix{0};  // multibase "identity", in front of the CID's bytes

}  // namespace

void CborWriter::head(unsigned major, uint64_t argument) {
  const auto top = static_cast<uint8_t>(major << 5);
  const auto put = [&](unsigned info, int size) {
    out_.push_back(static_cast<std::byte>(top | info));
    for (int shift = 8 * (size - 1); shift >= 0; shift -= 8)
      out_.push_back(static_cast<std::byte>(argument >> shift));
  };
  if (argument < 24) return put(static_cast<unsigned>(argument), 0);
  if (argument <= UINT8_MAX) return put(24, 1);
  if (argument <= UINT16_MAX) return put(25, 2);
  if (argument <= UINT32_MAX) return put(26, 4);
  put(27, 8);
}

void CborWriter::uint(uint64_t value) {
  head(kUintMajor, value);
}

void CborWriter::integer(int64_t value) {
  if (value >= 0) return head(kUintMajor, static_cast<uint64_t>(value));
  head(kNegMajor,
       ~static_cast<uint64_t>(value));  // -1 - value, which two's complement calls ~value
}

void CborWriter::bytes(Bytes value) {
  head(kBytesMajor, value.size());
  append(out_, value);
}

void CborWriter::text(std::string_view value) {
  head(kTextMajor, value.size());
  append(out_, as_bytes(value));
}

void CborWriter::array(uint64_t count) {
  head(kArrayMajor, count);
}
void CborWriter::map(uint64_t count) {
  head(kMapMajor, count);
}
void CborWriter::boolean(bool value) {
  head(kSimpleMajor, value ? kTrue : kFalse);
}
void CborWriter::null() {
  head(kSimpleMajor, kNull);
}

void CborWriter::link(const Cid& cid) {
  head(kTagMajor, kLinkTag);
  head(kBytesMajor, 1 + cid.byte_size());
  out_.push_back(kLinkPrefix);
  cid.append_to(out_);
}

tl::unexpected<Error> CborReader::bad(std::string_view what) const {
  return fail(Errc::kCorruption, "CBOR: " + std::string(what) + " at byte " + std::to_string(at_));
}

Result<CborReader::Head> CborReader::head() {
  if (at_end()) return bad("truncated");
  const auto first = static_cast<unsigned>(in_[at_]);
  Head out{first >> 5, first & 31, first & 31};
  if (out.info < 24) {
    ++at_;
    return out;
  }
  if (out.info > 27) return bad("indefinite or reserved length");
  const size_t size = size_t{1} << (out.info - 24);
  if (in_.size() - at_ - 1 < size) return bad("truncated");
  out.argument = 0;
  for (size_t i = 0; i < size; ++i)
    out.argument = out.argument << 8 | static_cast<uint64_t>(in_[at_ + 1 + i]);
  constexpr std::array<uint64_t, 4> kSmallest{24, 0x100, 0x10000, 0x100000000};
  if (out.major == kSimpleMajor) return bad("float or other simple value");
  if (out.argument < kSmallest[out.info - 24]) return bad("integer not in its shortest form");
  at_ += 1 + size;
  return out;
}

Result<CborType> CborReader::peek() const {
  if (at_end()) return bad("truncated");
  const auto first = static_cast<unsigned>(in_[at_]);
  switch (first >> 5) {
    case kUintMajor:
      return CborType::kUint;
    case kNegMajor:
      return CborType::kNegative;
    case kBytesMajor:
      return CborType::kBytes;
    case kTextMajor:
      return CborType::kText;
    case kArrayMajor:
      return CborType::kArray;
    case kMapMajor:
      return CborType::kMap;
    case kTagMajor:
      return CborType::kLink;
    default:
      break;
  }
  TRY(simple(first & 31));
  return (first & 31) == kNull ? CborType::kNull : CborType::kBool;
}

Status CborReader::simple(unsigned info) const {
  if (info != kFalse && info != kTrue && info != kNull) return bad("float or other simple value");
  return {};
}

Result<uint64_t> CborReader::expect(unsigned major, std::string_view name) {
  const size_t start = at_;
  TRY_ASSIGN(const Head h, head());
  if (h.major == major) return h.argument;
  at_ = start;
  return bad("not " + std::string(name));
}

Result<Bytes> CborReader::payload(uint64_t size) {
  if (size > in_.size() - at_) return bad("truncated");
  const Bytes out = in_.subspan(at_, static_cast<size_t>(size));
  at_ += out.size();
  return out;
}

// Every element takes at least a byte, so a count beyond the input is refused before any work.
Result<uint64_t> CborReader::count(uint64_t declared, unsigned bytes_each) {
  if (declared > (in_.size() - at_) / bytes_each) return bad("more elements than bytes");
  return declared;
}

Result<uint64_t> CborReader::uint() {
  return expect(kUintMajor, "an unsigned integer");
}

Result<uint64_t> CborReader::uint_at_most(uint64_t max) {
  TRY_ASSIGN(const uint64_t value, uint());
  if (value > max) return bad("integer out of range");
  return value;
}

Result<int64_t> CborReader::integer() {
  TRY_ASSIGN(const CborType type, peek());
  TRY_ASSIGN(const uint64_t magnitude, type == CborType::kNegative
                                           ? expect(kNegMajor, "an integer")
                                           : expect(kUintMajor, "an integer"));
  if (magnitude > static_cast<uint64_t>(INT64_MAX)) return bad("integer out of range");
  return static_cast<int64_t>(type == CborType::kNegative ? ~magnitude : magnitude);
}

Result<Bytes> CborReader::bytes() {
  TRY_ASSIGN(const uint64_t size, expect(kBytesMajor, "bytes"));
  return payload(size);
}

Result<std::string_view> CborReader::text() {
  TRY_ASSIGN(const uint64_t size, expect(kTextMajor, "text"));
  return text_of(size);
}

Result<std::string_view> CborReader::text_of(uint64_t size) {
  TRY_ASSIGN(const Bytes raw, payload(size));
  if (!is_utf8(as_chars(raw))) return bad("text that is not UTF-8");
  return as_chars(raw);
}

Result<uint64_t> CborReader::array() {
  TRY_ASSIGN(const uint64_t declared, expect(kArrayMajor, "an array"));
  return count(declared, 1);
}

Result<CborMap> CborReader::map() {
  TRY_ASSIGN(const uint64_t declared, expect(kMapMajor, "a map"));
  TRY_ASSIGN(const uint64_t pairs, count(declared, 2));
  return CborMap{pairs, {}, false};
}

Result<std::string_view> CborReader::key(CborMap& map) {
  if (map.left == 0) return bad("a pair too few");
  TRY_ASSIGN(const std::string_view key, text());
  if (map.started && !cbor_key_less(map.last, key)) return bad("map keys not in order");
  map.started = true;
  map.last = key;
  --map.left;
  return key;
}

Result<bool> CborReader::boolean() {
  TRY_ASSIGN(const uint64_t value, expect(kSimpleMajor, "a boolean"));
  if (value != kFalse && value != kTrue) return bad("not a boolean");
  return value == kTrue;
}

Status CborReader::null() {
  TRY_ASSIGN(const uint64_t value, expect(kSimpleMajor, "null"));
  if (value != kNull) return bad("not null");
  return {};
}

Result<bool> CborReader::take_null() {
  TRY_ASSIGN(const CborType type, peek());
  if (type == CborType::kNull) ++at_;
  return type == CborType::kNull;
}

Result<Cid> CborReader::link() {
  TRY_ASSIGN(const uint64_t tag, expect(kTagMajor, "a link"));
  return link_of(tag);
}

Result<Cid> CborReader::link_of(uint64_t tag) {
  if (tag != kLinkTag) return bad("a tag other than 42");
  TRY_ASSIGN(const Bytes inside, bytes());
  if (inside.empty() || inside[0] != kLinkPrefix) return bad("a link without its prefix");
  auto cid = Cid::from_bytes(inside.subspan(1));
  if (!cid) return bad(cid.error().message());
  return cid;
}

namespace {

// An array or map that a walk is inside of.
struct Level {
  bool is_map = false;
  uint64_t left = 0;  // values of an array
  CborMap map;
};

// Walks one value without recursion; calls on_link for each link.
template <class OnLink>
Status walk_value(CborReader& in, const OnLink& on_link) {
  std::array<Level, CborReader::kMaxDepth> open;
  size_t depth = 0;
  do {
    if (depth > 0) {
      Level& level = open[depth - 1];
      if ((level.is_map ? level.map.left : level.left) == 0) {
        --depth;
        continue;
      }
      if (!level.is_map) {
        --level.left;
      } else {
        TRY(in.key(level.map));
      }
    }
    TRY_ASSIGN(const CborType type, in.peek());
    const bool opens = type == CborType::kArray || type == CborType::kMap;
    if (opens && depth == open.size()) return in.bad("nested too deeply");
    switch (type) {
      case CborType::kArray: {
        TRY_ASSIGN(const uint64_t left, in.array());
        open[depth++] = Level{false, left, {}};
        break;
      }
      case CborType::kMap: {
        TRY_ASSIGN(const CborMap map, in.map());
        open[depth++] = Level{true, 0, map};
        break;
      }
      case CborType::kLink: {
        TRY_ASSIGN(const Cid cid, in.link());
        on_link(cid);
        break;
      }
      case CborType::kUint:
        TRY(in.uint());
        break;
      case CborType::kNegative:
        TRY(in.integer());
        break;
      case CborType::kBytes:
        TRY(in.bytes());
        break;
      case CborType::kText:
        TRY(in.text());
        break;
      case CborType::kBool:
        TRY(in.boolean());
        break;
      case CborType::kNull:
        TRY(in.null());
        break;
    }
  } while (depth > 0);
  return {};
}

}  // namespace

Result<Bytes> CborReader::raw() {
  const size_t start = at_;
  TRY(skip());
  return in_.subspan(start, at_ - start);
}

Status CborReader::skip() {
  return walk_value(*this, [](const Cid&) {});
}

Status CborReader::finish() const {
  if (!at_end()) return bad("bytes after the value");
  return {};
}

bool cbor_key_less(std::string_view a, std::string_view b) {
  return a.size() != b.size() ? a.size() < b.size() : a < b;
}

void write_cbor_map(CborWriter& out, const CborFields& fields) {
  out.map(fields.size());
  for (const auto& [key, value] : fields) {
    out.text(key);
    out.raw(value);
  }
}

Status cbor_validate(Bytes block) {
  CborReader in(block);
  TRY(in.skip());
  return in.finish();
}

Result<std::vector<Cid>> cbor_links(Bytes block) {
  std::vector<Cid> links;
  CborReader in(block);
  TRY(walk_value(in, [&](const Cid& cid) { links.push_back(cid); }));
  TRY(in.finish());
  return links;
}

}  // namespace cairn
