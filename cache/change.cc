#include "cache/change.h"

#include <type_traits>

#include "cache/base/coding.h"

namespace cairn {

namespace {

constexpr uint8_t kChangeVersion = 1;
constexpr size_t kMaxKey = 1024;

enum class Tag : uint8_t {
  kPut = 1,
  kDelete = 2,
  kSegmentWrite = 3,
  kInlineWrite = 4,
  kCut = 5,
  kZero = 6,
  kForget = 7,
  kBlock = 8,
  kState = 9,
  kGroup = 10,
  kShareData = 11,
  kShareLeaf = 12,
};

class Encoder {
 public:
  explicit Encoder(ByteVec& out) : out_(out) {}

  void operator()(const PutKey& e) {
    tag(e.value ? Tag::kPut : Tag::kDelete);
    bytes16(as_bytes(e.key));
    if (e.value) bytes16(e.value->bytes());
  }
  void operator()(const WriteData& e) {
    const bool is_inline = e.ref.kind == DataRef::Kind::kJournal;
    tag(is_inline ? Tag::kInlineWrite : Tag::kSegmentWrite);
    place(e.inode, e.offset, e.length);
    put_le(out_, e.crc);
    if (is_inline) {
      append(out_, e.inline_bytes);
    } else {
      put_le(out_, e.ref.file);
      put_le(out_, e.ref.offset);
    }
  }
  void operator()(const CutContent& e) {
    tag(Tag::kCut);
    put_le(out_, e.inode);
    put_le(out_, e.limit);
  }
  void operator()(const ZeroRange& e) {
    tag(Tag::kZero);
    put_le(out_, e.inode);
    put_le(out_, e.offset);
    put_le(out_, e.length);
  }
  void operator()(const ForgetContent& e) {
    tag(Tag::kForget);
    put_le(out_, e.inode);
  }
  void operator()(const AddBlock& e) {
    tag(Tag::kBlock);
    append(out_, e.digest.view());
    put_le(out_, static_cast<uint32_t>(e.bytes.size()));
    append(out_, e.bytes);
  }
  void operator()(const PutState& e) {
    tag(Tag::kState);
    bytes16(as_bytes(e.key));
    bytes16(as_bytes(e.value));
  }
  void operator()(const OpenGroup& e) {
    tag(Tag::kGroup);
    put_le(out_, e.group);
  }
  void operator()(const ShareData& e) {
    tag(Tag::kShareData);
    place(e.inode, e.offset, e.length);
    put_le(out_, e.ref.file);
    put_le(out_, e.ref.offset);
  }
  void operator()(const ShareLeaf& e) {
    tag(Tag::kShareLeaf);
    place(e.inode, e.offset, e.length);
    append(out_, e.leaf.digest.view());
    put_le(out_, e.leaf.length);
    put_le(out_, e.leaf.offset);
  }

 private:
  void tag(Tag t) { out_.push_back(static_cast<std::byte>(t)); }
  void place(uint64_t inode, uint64_t offset, uint32_t length) {
    put_le(out_, inode);
    put_le(out_, offset);
    put_le(out_, length);
  }
  void bytes16(Bytes b) {
    put_le(out_, static_cast<uint16_t>(b.size()));
    append(out_, b);
  }

  ByteVec& out_;
};

class Decoder {
 public:
  explicit Decoder(const JournalRecord& record) : record_(record), rest_(record.payload) {}

  Result<Change> run() {
    Change change;
    TRY_ASSIGN(const auto version, fixed<uint8_t>());
    if (version != kChangeVersion) return damaged("an unknown version");
    TRY_ASSIGN(change.time_ns, fixed<int64_t>());
    while (!rest_.empty()) {
      TRY_ASSIGN(const auto tag, fixed<uint8_t>());
      TRY_ASSIGN(Effect effect, one(static_cast<Tag>(tag)));
      change.effects.push_back(std::move(effect));
    }
    return change;
  }

 private:
  tl::unexpected<Error> damaged(const char* what) const {
    return fail(Errc::kCorruption,
                "journal record " + std::to_string(record_.lsn) + " has " + what);
  }

  template <class T>
  Result<T> fixed() {
    if (rest_.size() < sizeof(T)) return damaged("a field that is cut off");
    const T value = get_le<T>(rest_.data());
    rest_ = rest_.subspan(sizeof(T));
    return value;
  }
  Result<Bytes> take(size_t size) {
    if (rest_.size() < size) return damaged("bytes that are cut off");
    const Bytes taken = rest_.first(size);
    rest_ = rest_.subspan(size);
    return taken;
  }
  Result<Bytes> bytes16() {
    TRY_ASSIGN(const auto size, fixed<uint16_t>());
    return take(size);
  }
  Result<std::string> key() {
    TRY_ASSIGN(const Bytes bytes, bytes16());
    if (bytes.empty() || bytes.size() > kMaxKey) return damaged("a key of a wrong size");
    return to_string(bytes);
  }

  Result<Effect> one(Tag tag) {
    switch (tag) {
      case Tag::kPut:
        return put();
      case Tag::kDelete: {
        TRY_ASSIGN(std::string k, key());
        return Effect(PutKey{std::move(k), std::nullopt});
      }
      case Tag::kSegmentWrite:
        return write(false);
      case Tag::kInlineWrite:
        return write(true);
      case Tag::kCut: {
        CutContent e;
        TRY_ASSIGN(e.inode, fixed<uint64_t>());
        TRY_ASSIGN(e.limit, fixed<uint64_t>());
        return Effect(e);
      }
      case Tag::kZero: {
        ZeroRange e;
        TRY_ASSIGN(e.inode, fixed<uint64_t>());
        TRY_ASSIGN(e.offset, fixed<uint64_t>());
        TRY_ASSIGN(e.length, fixed<uint64_t>());
        return Effect(e);
      }
      case Tag::kForget: {
        ForgetContent e;
        TRY_ASSIGN(e.inode, fixed<uint64_t>());
        return Effect(e);
      }
      case Tag::kBlock:
        return block();
      case Tag::kState: {
        PutState e;
        TRY_ASSIGN(e.key, key());
        TRY_ASSIGN(const Bytes value, bytes16());
        e.value = to_string(value);
        return Effect(std::move(e));
      }
      case Tag::kGroup: {
        OpenGroup e;
        TRY_ASSIGN(e.group, fixed<uint32_t>());
        return Effect(e);
      }
      case Tag::kShareData:
        return share_data();
      case Tag::kShareLeaf:
        return share_leaf();
    }
    return damaged("an effect of an unknown kind");
  }

  Result<Effect> put() {
    TRY_ASSIGN(std::string k, key());
    TRY_ASSIGN(const Bytes value, bytes16());
    TRY_ASSIGN(Cid cid, Cid::from_bytes(value));
    return Effect(PutKey{std::move(k), cid});
  }

  // Where in a file bytes were put.
  template <class E>
  Status place(E& e) {
    TRY_ASSIGN(e.inode, fixed<uint64_t>());
    TRY_ASSIGN(e.offset, fixed<uint64_t>());
    TRY_ASSIGN(e.length, fixed<uint32_t>());
    if (e.length == 0) return damaged("an empty write");
    if (e.offset > static_cast<uint64_t>(INT64_MAX) - e.length)
      return damaged("a write beyond the largest file");
    return {};
  }

  Result<Effect> share_data() {
    ShareData e;
    TRY(place(e));
    TRY_ASSIGN(e.ref.file, fixed<uint64_t>());
    TRY_ASSIGN(e.ref.offset, fixed<uint64_t>());
    return Effect(e);
  }

  Result<Effect> share_leaf() {
    ShareLeaf e;
    TRY(place(e));
    TRY_ASSIGN(const Bytes digest, take(sizeof(Digest::bytes)));
    e.leaf.digest = Digest::from_bytes(digest);
    TRY_ASSIGN(e.leaf.length, fixed<uint32_t>());
    TRY_ASSIGN(e.leaf.offset, fixed<uint32_t>());
    if (e.leaf.offset > e.leaf.length || e.length > e.leaf.length - e.leaf.offset)
      return damaged("bytes behind the end of a leaf");
    return Effect(e);
  }

  Result<Effect> write(bool is_inline) {
    WriteData e;
    TRY(place(e));
    TRY_ASSIGN(e.crc, fixed<uint32_t>());
    if (is_inline) {
      e.ref.kind = DataRef::Kind::kJournal;
      e.ref.file = record_.file;
      e.ref.offset = record_.payload_offset + (record_.payload.size() - rest_.size());
      TRY_ASSIGN(e.inline_bytes, take(e.length));
    } else {
      TRY_ASSIGN(e.ref.file, fixed<uint64_t>());
      TRY_ASSIGN(e.ref.offset, fixed<uint64_t>());
    }
    return Effect(e);
  }

  Result<Effect> block() {
    AddBlock e;
    TRY_ASSIGN(const Bytes digest, take(sizeof(Digest::bytes)));
    e.digest = Digest::from_bytes(digest);
    TRY_ASSIGN(const auto size, fixed<uint32_t>());
    TRY_ASSIGN(e.bytes, take(size));
    return Effect(e);
  }

  const JournalRecord& record_;
  Bytes rest_;
};

}  // namespace

ByteVec encode_change(const Change& change) {
  ByteVec out;
  out.reserve(256);
  put_le(out, kChangeVersion);
  put_le(out, change.time_ns);
  Encoder encode(out);
  for (const Effect& effect : change.effects) std::visit(encode, effect);
  return out;
}

uint64_t local_bytes(const Change& change, uint64_t payload_bytes) {
  uint64_t bytes = payload_bytes;
  for (const Effect& effect : change.effects) {
    const auto* write = std::get_if<WriteData>(&effect);
    if (write != nullptr && write->ref.kind == DataRef::Kind::kSegment) bytes += write->length;
  }
  return bytes;
}

Result<Change> decode_change(const JournalRecord& record) {
  return Decoder(record).run();
}

Result<Buffer> decode_commit_intent(Bytes payload) {
  constexpr size_t kHead = sizeof(uint64_t);
  if (payload.size() < kHead) return fail(Errc::kCorruption, "a damaged record of a commit");
  return Buffer::copy(payload.subspan(kHead));
}

}  // namespace cairn
