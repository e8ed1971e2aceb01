// Strict DAG-CBOR: what cbor_validate accepts has one encoding, which reading and writing it again
// gives back.
#include "cache/format/cbor.h"
#include "tests/fuzz/fuzz.h"

using namespace cairn;
using fuzz::require;

namespace {

Status copy(CborReader& in, CborWriter& out) {
  TRY_ASSIGN(const CborType type, in.peek());
  switch (type) {
    case CborType::kUint: {
      TRY_ASSIGN(const uint64_t value, in.uint());
      out.uint(value);
      return {};
    }
    case CborType::kNegative: {
      TRY_ASSIGN(const int64_t value, in.integer());
      require(value < 0, "a negative is below zero");
      out.integer(value);
      return {};
    }
    case CborType::kBytes: {
      TRY_ASSIGN(const Bytes value, in.bytes());
      out.bytes(value);
      return {};
    }
    case CborType::kText: {
      TRY_ASSIGN(const std::string_view value, in.text());
      out.text(value);
      return {};
    }
    case CborType::kArray: {
      TRY_ASSIGN(const uint64_t count, in.array());
      out.array(count);
      for (uint64_t i = 0; i < count; ++i) TRY(copy(in, out));
      return {};
    }
    case CborType::kMap: {
      TRY_ASSIGN(CborMap map, in.map());
      out.map(map.left);
      while (map.left > 0) {
        TRY_ASSIGN(const std::string_view key, in.key(map));
        out.text(key);
        TRY(copy(in, out));
      }
      return {};
    }
    case CborType::kLink: {
      TRY_ASSIGN(const Cid cid, in.link());
      out.link(cid);
      return {};
    }
    case CborType::kBool: {
      TRY_ASSIGN(const bool value, in.boolean());
      out.boolean(value);
      return {};
    }
    case CborType::kNull:
      break;
  }
  TRY(in.null());
  out.null();
  return {};
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const Bytes block = fuzz::input(data, size);
  const auto links = cbor_links(block);
  require(links.has_value() == cbor_validate(block).has_value(), "both walks agree");
  if (!links) return 0;
  CborReader in(block);
  ByteVec again;
  CborWriter out(again);
  require(copy(in, out).has_value(), "what is valid can be read");
  require(in.finish().has_value(), "nothing is left over");
  require(equal(again, block), "one encoding");
  return 0;
}
