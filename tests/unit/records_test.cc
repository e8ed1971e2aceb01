#include <doctest/doctest.h>
#include <sys/stat.h>

#include "cache/base/coding.h"
#include "cache/format/records.h"
#include "cache/format/superblock.h"

using namespace cairn;

namespace {

InodeRecord largest(uint32_t type_bits) {
  InodeRecord r;
  r.mode = type_bits | 07777;
  r.uid = r.gid = r.nlink = r.flags = UINT32_MAX;
  r.size = r.allocated = INT64_MAX;
  r.mtime = r.ctime = INT64_MAX;
  r.atime = r.btime = INT64_MIN;
  return r;
}

template <class Record>
void check_mutations(const Record& record) {
  const ByteVec good = record.encode();
  REQUIRE(Record::decode(good).value() == record);
  for (size_t cut = 0; cut < good.size(); ++cut)
    CHECK_FALSE(Record::decode(Bytes(good).first(cut)));
  ByteVec longer = good;
  longer.push_back(std::byte{0xf6});
  CHECK_FALSE(Record::decode(longer));
  for (size_t i = 0; i < good.size(); ++i) {
    for (int value = 0; value < 256; ++value) {
      ByteVec bad = good;
      if (bad[i] == static_cast<std::byte>(value)) continue;
      bad[i] = static_cast<std::byte>(value);
      if (const auto other = Record::decode(bad)) {
        CHECK_FALSE(*other == record);
        CHECK(other->encode() == bad);
      }
    }
  }
}

}  // namespace

TEST_CASE("an inode number holds slot, group and index") {
  CHECK(make_ino(0, 0, 1) == kRootIno);
  const Ino ino = make_ino(0xabcd, 0x12345678, 0xfedc);
  CHECK(ino == 0xabcd12345678fedc);
  CHECK(ino_slot(ino) == 0xabcd);
  CHECK(ino_group(ino) == 0x12345678);
  CHECK(ino_index(ino) == 0xfedc);
}

TEST_CASE("keys are built and parsed, and an inode's keys lie together") {
  CHECK(superblock_key() == "0000000000000000/s");
  CHECK(inode_key(kRootIno) == "0000000000000001/i");
  CHECK(dirent_key(0xabcdef, "x y") == "0000000000abcdef/d/x y");
  CHECK(xattr_key(UINT64_MAX, "user.a/b") == "ffffffffffffffff/x/user.a/b");
  const std::string name(kMaxName, '\xff');
  CHECK(dirent_key(1, name).size() == kMaxRecordKey);
  CHECK(parse_key(superblock_key()).value() == RecordKey{KeyKind::kSuperblock, 0, ""});
  CHECK(parse_key(inode_key(77)).value() == RecordKey{KeyKind::kInode, 77, ""});
  CHECK(parse_key(dirent_key(7, name)).value() == RecordKey{KeyKind::kDirent, 7, name});
  CHECK(parse_key(xattr_key(7, "user.a/b")).value() == RecordKey{KeyKind::kXattr, 7, "user.a/b"});
  for (const std::string& key : {dirent_key(7, name), inode_key(7), xattr_key(7, name)}) {
    CHECK(key > ino_prefix(7));
    CHECK(key < prefix_end(ino_prefix(7)));
    CHECK(key < ino_prefix(8));
  }
  CHECK(dirent_key(7, name) < prefix_end(dirent_prefix(7)));
  CHECK(prefix_end(dirent_prefix(7)) < inode_key(7));
  CHECK(prefix_end(std::string("\0\xff", 2)) == "\1");  // the key of a table may end in any byte
  CHECK(prefix_end("a\xff\xff") == "b");
  CHECK(prefix_end("\xff").empty());
  for (const std::string& bad :
       {std::string(), std::string("0000000000000000/i"), std::string("0000000000000001"),
        std::string("0000000000000001/"), std::string("0000000000000001/s"),
        std::string("0000000000000001/ii"), std::string("000000000000000A/i"),
        std::string("0000000000000001/d/"), std::string("0000000000000001/d"),
        std::string("0000000000000001/d/."), std::string("0000000000000001/d/.."),
        std::string("0000000000000001/d/a/b"), std::string("0000000000000001/x/"),
        std::string("0000000000000001/y/a"), std::string("0000000000000001/x/a\0b", 22),
        std::string("000000000000001/i"), dirent_key(1, name + "a")})
    CHECK_FALSE(parse_key(bad));
}

TEST_CASE("the largest inode records of every type fit an inline value") {
  const Cid leaf = Cid::make(Codec::kRaw, as_bytes("content"));
  std::vector<InodeRecord> all;
  all.push_back(largest(S_IFREG));
  all.back().body = leaf;
  CHECK(all.back().encode().size() == InodeRecord::kMaxEncoded);
  all.push_back(largest(S_IFREG));
  all.push_back(largest(S_IFDIR));
  all.back().body = uint64_t{UINT64_MAX};
  all.push_back(largest(S_IFCHR));
  all.back().body = uint64_t{UINT64_MAX};
  all.push_back(largest(S_IFBLK));
  all.back().body = uint64_t{0};
  all.push_back(largest(S_IFIFO));
  all.push_back(largest(S_IFSOCK));
  all.push_back(largest(S_IFLNK));
  all.back().body = leaf;
  all.push_back(largest(S_IFLNK));
  all.back().body = ByteVec(InodeRecord::kMaxInlineTarget, std::byte{'t'});
  all.back().size = InodeRecord::kMaxInlineTarget;  // a target's length is its size
  all.back().allocated = 4096;
  for (const InodeRecord& record : all) {
    const ByteVec bytes = record.encode();
    CHECK(bytes.size() <= InodeRecord::kMaxEncoded);
    CHECK(record_cid(bytes).is_identity());
    CHECK(InodeRecord::decode(bytes).value() == record);
  }
}

TEST_CASE("a body that does not fit its type is refused") {
  const Cid raw = Cid::make(Codec::kRaw, as_bytes("x"));
  const auto with = [](uint32_t mode, auto body) {
    InodeRecord r;
    r.mode = mode;
    r.body = body;
    return r.check();
  };
  CHECK(with(S_IFREG, Cid::make(Codec::kDagPb, as_bytes("x"))));
  CHECK_FALSE(with(S_IFREG, Cid::make(Codec::kDagCbor, as_bytes("x"))));
  CHECK_FALSE(with(S_IFREG, Cid::identity(Codec::kRaw, as_bytes("x"))));
  CHECK_FALSE(with(S_IFREG, uint64_t{1}));
  CHECK_FALSE(with(S_IFDIR, raw));
  CHECK_FALSE(with(S_IFDIR, uint64_t{0}));
  CHECK_FALSE(with(S_IFDIR, std::monostate{}));
  CHECK_FALSE(with(S_IFLNK, std::monostate{}));
  CHECK_FALSE(with(S_IFLNK, ByteVec{}));
  CHECK_FALSE(with(S_IFLNK, ByteVec(49, std::byte{'x'})));
  CHECK_FALSE(with(S_IFLNK, Cid::make(Codec::kDagPb, as_bytes("x"))));
  CHECK_FALSE(with(S_IFIFO, uint64_t{1}));
  CHECK_FALSE(with(S_IFCHR, std::monostate{}));
  CHECK_FALSE(with(0, std::monostate{}));
  CHECK_FALSE(with(0170000, std::monostate{}));
  CHECK_FALSE(with(S_IFREG | 0x10000, std::monostate{}));
}

TEST_CASE("records survive no truncation and no changed byte goes unnoticed") {
  InodeRecord file = largest(S_IFREG);
  file.body = Cid::make(Codec::kRaw, as_bytes("content"));
  check_mutations(file);
  InodeRecord link;
  link.mode = S_IFLNK | 0777;
  link.body = to_vec(as_bytes("../target"));
  link.size = 9;
  check_mutations(link);
  check_mutations(Dirent{kRootIno + 300, FileType::kSymlink, {}});
  check_mutations(XattrValue::of(as_bytes("value")));
  check_mutations(XattrValue::of(ByteVec(5000, std::byte{1})));
  Superblock superblock;
  superblock.features.ro_compat = {"a", "b"};
  check_mutations(superblock);
}

TEST_CASE("what a newer version adds is kept") {
  ByteVec dirent = from_hex(
                       "8418ff01"
                       "a16161f6"
                       "f5")
                       .value();
  const Dirent decoded = Dirent::decode(dirent).value();
  CHECK(decoded.ino == 255);
  CHECK(decoded.unknown.count == 2);
  CHECK(decoded.encode() == dirent);

  InodeRecord record;
  record.mode = S_IFREG | 0644;
  record.unknown = {1, from_hex("820102").value()};
  CHECK(InodeRecord::decode(record.encode()).value() == record);

  Superblock superblock;
  superblock.unknown.emplace("zzz", from_hex("8101").value());
  superblock.unknown.emplace("a", from_hex("f6").value());
  const ByteVec bytes = superblock.encode();
  CHECK(Superblock::decode(bytes).value() == superblock);
  CHECK(Superblock::decode(bytes)->encode() == bytes);
}

TEST_CASE("xattr values are inline while the record fits a value, else a block") {
  for (const size_t size : {0, 1, 23, 24, 126, 127, 65536}) {
    const ByteVec bytes(size, std::byte{7});
    const XattrValue value = XattrValue::of(bytes);
    CHECK(std::holds_alternative<ByteVec>(value.value) == (size <= XattrValue::kMaxInline));
    CHECK(record_cid(value.encode()).is_identity());
    CHECK(XattrValue::decode(value.encode()).value() == value);
    if (const auto* cid = std::get_if<Cid>(&value.value)) CHECK(cid->matches(bytes));
  }
  const ByteVec big(129, std::byte{0});
  CHECK_FALSE(record_cid(big).is_identity());
}

TEST_CASE("modes and types correspond") {
  for (int type = 1; type <= 7; ++type) {
    const auto file_type = static_cast<FileType>(type);
    CHECK(type_of_mode(mode_of_type(file_type) | 0644) == file_type);
  }
  CHECK_FALSE(type_of_mode(0644));
}

TEST_CASE("unknown features refuse, restrict or do nothing, as their set says") {
  Features features;
  features.compat = {"some-hint"};
  CHECK(check_features(features).value() == Access::kReadWrite);
  features.ro_compat = {"new-index"};
  CHECK(check_features(features).value() == Access::kReadOnly);
  features.incompat = {"zstd"};
  const auto refused = check_features(features);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == Errc::kUnsupported);
  CHECK(refused.error().message().find("zstd") != std::string::npos);

  Superblock other;
  other.format = 2;
  const auto newer = Superblock::decode(other.encode());
  REQUIRE_FALSE(newer);
  CHECK(newer.error().code() == Errc::kUnsupported);
  other = {};
  other.fanout_bits = 6;
  CHECK_FALSE(Superblock::decode(other.encode()));
  other = {};
  other.chunk_size = 4097;
  CHECK_FALSE(Superblock::decode(other.encode()));
  CHECK_FALSE(Superblock::decode(from_hex("a0").value()));
}
