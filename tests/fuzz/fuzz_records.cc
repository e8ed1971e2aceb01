// Keys, dirents, inode records, xattrs, superblocks and CIDs: what decodes encodes to the same
// bytes. The first byte chooses.
#include "cache/format/records.h"
#include "cache/format/superblock.h"
#include "tests/fuzz/fuzz.h"

using namespace cairn;
using fuzz::require;

namespace {

template <class Record>
void round_trip(Bytes bytes) {
  const auto record = Record::decode(bytes);
  if (record) require(equal(record->encode(), bytes), "one encoding");
}

void key(std::string_view text) {
  const auto parsed = parse_key(text);
  if (!parsed) return;
  switch (parsed->kind) {
    case KeyKind::kSuperblock:
      require(superblock_key() == text, "one key");
      break;
    case KeyKind::kDirent:
      require(dirent_key(parsed->ino, parsed->name) == text, "one key");
      break;
    case KeyKind::kInode:
      require(inode_key(parsed->ino) == text, "one key");
      break;
    case KeyKind::kXattr:
      require(xattr_key(parsed->ino, parsed->name) == text, "one key");
      break;
  }
}

void cid(Bytes bytes) {
  const auto binary = Cid::from_bytes(bytes);
  if (binary) {
    require(equal(binary->bytes(), bytes), "one binary form");
    require(Cid::parse(binary->text()).value() == *binary, "the text names the same");
  }
  const auto text = Cid::parse(as_chars(bytes));
  if (text) require(text->text() == as_chars(bytes), "one text");
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const Bytes bytes = fuzz::input(data + 1, size - 1);
  switch (data[0]) {
    case 'k':
      key(as_chars(bytes));
      break;
    case 'd':
      round_trip<Dirent>(bytes);
      break;
    case 'i':
      round_trip<InodeRecord>(bytes);
      break;
    case 'x':
      round_trip<XattrValue>(bytes);
      break;
    case 's':
      round_trip<Superblock>(bytes);
      break;
    case 'c':
      cid(bytes);
      break;
    default:
      break;
  }
  return 0;
}
