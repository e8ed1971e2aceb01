// Attributes in an object's metadata: forms of other tools, hostile ones, and ours.
#include "cache/object_attrs.h"

#include <doctest/doctest.h>

#include "cache/bucket_rows.h"

using namespace cairn;

namespace {

ObjectHeaders with(const std::string& name, const std::string& value) {
  ObjectHeaders headers;
  headers.metadata = {{name, value}};
  return headers;
}

}  // namespace

TEST_CASE("times: whole and broken seconds, before 1970, and what is no time") {
  const auto time_of = [](const std::string& text) {
    return attrs_of(with("mtime", text)).mtime_ns;
  };
  CHECK(time_of("1700000000") == 1'700'000'000'000'000'000);
  CHECK(time_of("1700000000.5") == 1'700'000'000'500'000'000);
  CHECK(time_of("1700000000.123456789") == 1'700'000'000'123'456'789);
  CHECK(time_of("1700000000.1234567891") == 1'700'000'000'123'456'789);
  CHECK(time_of("-1.5") == -1'500'000'000);
  CHECK(time_of("0") == 0);
  for (const char* text : {"", ".", "x", "1 ", " 1", "1.x", "1e9", "99999999999999999999", "0x10",
                           "9223372036854775807", "-9223372036854775808", "1.-5"})
    CHECK_MESSAGE(!time_of(text), text);
}

TEST_CASE("numbers that are none count as absent") {
  for (const char* text : {"", "-1", "4294967296", "0644x", " 1"}) {
    CHECK_FALSE(attrs_of(with("mode", text)).mode);
    CHECK_FALSE(attrs_of(with("uid", text)).uid);
    CHECK_FALSE(attrs_of(with("gid", text)).gid);
  }
  CHECK(attrs_of(with("mode", "33188")).mode == 0100644);
}

TEST_CASE("what is set is read back, and what others set stays") {
  ObjectHeaders headers = with("colour", "green");
  InodeRecord record;
  record.mode = 0100640;
  record.uid = 7;
  record.gid = 8;
  for (const int64_t time : {int64_t{0}, int64_t{1}, int64_t{-1}, int64_t{-1'500'000'000},
                             int64_t{1'234'567'890'123'456'789}}) {
    record.mtime = time;
    set_attrs(headers, record);
    CHECK(attrs_of(headers) == ObjectAttrs{0100640, 7, 8, time});
  }
  CHECK(headers.metadata.size() == 5);
  CHECK(headers.metadata.front() == std::pair<std::string, std::string>("colour", "green"));
  const auto rng = make_seeded_rng(1);
  const ObjectWriter writer{make_uuid(*rng), 0xfff0000000000001, 12345};
  set_writer(headers, writer);
  set_writer(headers, writer);
  CHECK(headers.metadata.size() == 6);
  const auto read = writer_of(headers);
  REQUIRE(read);
  CHECK(read->cache == writer.cache);
  CHECK(read->ino == writer.ino);
  CHECK(read->lsn == writer.lsn);
  const std::string good = headers.metadata.back().second;
  for (const std::string& text :
       {std::string(), good.substr(0, 33), good.substr(0, 36), "zz" + good.substr(2), good + "x"})
    CHECK_MESSAGE(!writer_of(with("cairn-writer", text)), text);
}

TEST_CASE("types by the ending of a name") {
  CHECK(content_type_of("a.txt") == "text/plain");
  CHECK(content_type_of("A.JPG") == "image/jpeg");
  CHECK(content_type_of("a.tar.gz") == "application/gzip");
  CHECK(content_type_of("x.7z") == "application/x-7z-compressed");
  CHECK(content_type_of("x.zip") == "application/zip");
  for (const char* name : {"", "txt", ".txt", "a.", "a.unknown"})
    CHECK(content_type_of(name).empty());
}

TEST_CASE("rows of names: all of them come back, and no damaged one is taken for good") {
  BucketNode node;
  node.kind = BucketNode::Kind::kFile;
  node.parent = 7;
  node.size = 1 << 20;
  node.mtime_ns = -5;
  node.etag = "\"abc\"";
  node.part = "name";
  node.lsn = 9;
  node.version.bytes[3] = std::byte{4};
  node.target = "target";
  node.headers = with("colour", "green");
  const std::string row = bucket_rows::encode(node);
  const auto read = bucket_rows::decode_node(row);
  REQUIRE(read);
  CHECK(bucket_rows::encode(*read) == row);
  CHECK(read->part == "name");
  CHECK(read->headers->metadata == node.headers->metadata);
  for (size_t length = 0; length < row.size(); ++length)
    CHECK_FALSE(bucket_rows::decode_node(row.substr(0, length)));
  CHECK_FALSE(bucket_rows::decode_node(row + "x"));
  // Lengths that promise more than there is.
  for (size_t at = 0; at < row.size(); ++at) {
    std::string other = row;
    other[at] = '\xff';
    (void)bucket_rows::decode_node(other);
  }
}

TEST_CASE("a mode is decimal as s3fs writes it, or octal as rclone does") {
  const auto mode = [](const std::string& text) {
    return attrs_of(ObjectHeaders{"", {{"mode", text}}}).mode;
  };
  CHECK(mode("33188") == 0100644);
  CHECK(mode("100644") == 0100644);
  CHECK(mode("16877") == 040755);
  CHECK(mode("40755") == 040755);
  CHECK(mode("120777") == 0120777);
  CHECK(mode("41471") == 0120777);
  CHECK(mode("755") == 0755);
  CHECK_FALSE(mode("999999"));
  CHECK_FALSE(mode("rw-r--r--"));
}

TEST_CASE("metadata of our own makes room for others'") {
  ObjectHeaders headers{"", {{"theirs", std::string(1960, 'x')}}};
  InodeRecord record;
  record.mode = 0100644;
  set_attrs(headers, record);
  set_writer(headers, {});
  fit_metadata(headers);
  uint64_t bytes = 0;
  for (const auto& [name, value] : headers.metadata) bytes += metadata_bytes(name, value);
  CHECK(bytes <= 2048);
  CHECK(attrs_of(headers).mode == 0100644u);
  CHECK_FALSE(writer_of(headers));
}
