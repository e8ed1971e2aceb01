// Strict DAG-CBOR: CborWriter appends values to a byte vector, CborReader pulls them out of one.
//
// There is one encoding of every value, and the reader accepts nothing else: shortest integers,
// definite lengths, map keys that are text, unique and in canonical order (shorter first, then by
// bytes), tag 42 alone, null, true and false alone; no floats. Bytes, text and raw values that a
// reader returns point into its input. It never allocates, least of all from a declared length.
// One thread at a time. Errors: kCorruption, with the position.
// Format: FORMAT.md, "DAG-CBOR" (RFC 8949, IPLD DAG-CBOR).
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cache/base/bytes.h"
#include "cache/base/coding.h"
#include "cache/base/result.h"
#include "cache/format/cid.h"

namespace cairn {

class CborWriter {
 public:
  explicit CborWriter(ByteVec& out) : out_(out) {}
  void uint(uint64_t value);
  void integer(int64_t value);
  void bytes(Bytes value);
  void text(std::string_view value);  // Requires valid UTF-8.
  void array(uint64_t count);         // `count` values follow
  // `count` pairs of a text and a value follow, the texts in canonical order.
  void map(uint64_t count);
  void boolean(bool value);
  void null();
  void link(const Cid& cid);
  // A value that is encoded already.
  void raw(Bytes encoded) { append(out_, encoded); }

 private:
  void head(unsigned major, uint64_t argument);
  ByteVec& out_;
};

enum class CborType : uint8_t {
  kUint,
  kNegative,
  kBytes,
  kText,
  kArray,
  kMap,
  kLink,
  kBool,
  kNull
};

// The state of a map that is being read: see CborReader::key.
struct CborMap {
  uint64_t left = 0;  // pairs not yet read
  std::string_view last;
  bool started = false;
};

class CborReader {
 public:
  // How deep arrays and maps nest at most inside one value that skip() or raw() passes over.
  static constexpr size_t kMaxDepth = 64;

  // `in` must outlive the reader and what it returns.
  explicit CborReader(Bytes in) : in_(in) {}

  bool at_end() const { return at_ == in_.size(); }
  size_t position() const { return at_; }
  // The type of the next value, which stays where it is.
  Result<CborType> peek() const;

  Result<uint64_t> uint();
  Result<uint64_t> uint_at_most(uint64_t max);
  Result<int64_t> integer();
  Result<Bytes> bytes();
  Result<std::string_view> text();
  // The number of elements that follow: never more than there are bytes left.
  Result<uint64_t> array();
  // A map whose pairs follow. While map.left > 0: key(map), then read its value.
  Result<CborMap> map();
  Result<std::string_view> key(CborMap& map);
  Result<bool> boolean();
  Status null();
  // True, and the null is consumed, when the next value is null.
  Result<bool> take_null();
  Result<Cid> link();

  // Passes over one whole value, checking all of it; returns its bytes.
  Result<Bytes> raw();
  Status skip();
  // kCorruption unless everything was read.
  Status finish() const;
  // An error at the current position, for callers that refuse what a value means.
  tl::unexpected<Error> bad(std::string_view what) const;

 private:
  struct Head {
    unsigned major;
    unsigned info;
    uint64_t argument;
  };
  Result<Head> head();
  Result<uint64_t> expect(unsigned major, std::string_view name);
  Result<Bytes> payload(uint64_t size);
  Result<uint64_t> count(uint64_t declared, unsigned bytes_each);
  Result<std::string_view> text_of(uint64_t size);
  Result<Cid> link_of(uint64_t tag);
  Status simple(unsigned info) const;

  Bytes in_;
  size_t at_ = 0;
};

// True when a comes before b as a map key.
bool cbor_key_less(std::string_view a, std::string_view b);
struct CborKeyLess {
  bool operator()(std::string_view a, std::string_view b) const { return cbor_key_less(a, b); }
};
// The pairs of a map by key, their values encoded. Records keep here the fields they do not know,
// so that a newer writer's fields survive an older one.
using CborFields = std::map<std::string, ByteVec, CborKeyLess>;
void write_cbor_map(CborWriter& out, const CborFields& fields);
// Sets one pair; write(CborWriter&) writes its value.
template <class Write>
void put_cbor_field(CborFields& fields, std::string_view key, const Write& write) {
  ByteVec value;
  CborWriter writer(value);
  write(writer);
  fields.insert_or_assign(std::string(key), std::move(value));
}

// One DAG-CBOR value and nothing after it, nested at most kMaxDepth deep.
Status cbor_validate(Bytes block);
// Every link in a value, in order. Refuses what cbor_validate refuses.
Result<std::vector<Cid>> cbor_links(Bytes block);

}  // namespace cairn
