#include "s3/s3_xml.h"

#include <doctest/doctest.h>

using namespace cairn;

namespace {

std::string page(const std::string& inside) {
  return "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult "
         "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>b</Name>" +
         inside + "</ListBucketResult>";
}

std::string entry(const std::string& key) {
  return "<Contents><Key>" + key +
         "</Key><LastModified>2026-11-22T20:47:07.250Z</LastModified><ETag>&quot;e&quot;</ETag>"
         "<Size>7</Size></Contents>";
}

const std::string kHead = "<EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>";

}  // namespace

TEST_CASE("a listing is read, its keys decoded") {
  const auto listing =
      parse_list_objects(as_bytes(page(kHead + entry("a+b%2Bc%FF/%3Cx") + entry("z"))), 10);
  REQUIRE(listing);
  REQUIRE(listing->objects.size() == 2);
  CHECK(listing->objects[0].key == "a b+c\xff/<x");
  CHECK(listing->objects[0].size == 7);
  CHECK(listing->objects[0].etag == "\"e\"");
  CHECK(listing->objects[0].mtime_ns == 1795380427'250'000'000);
  CHECK_FALSE(listing->truncated);
  // Without EncodingType the keys are as they stand.
  const auto raw =
      parse_list_objects(as_bytes(page("<IsTruncated>true</IsTruncated>" + entry("a+b%2B"))), 10);
  REQUIRE(raw);
  CHECK(raw->objects[0].key == "a+b%2B");
  CHECK(raw->truncated);
}

TEST_CASE("listings that lie or break bounds are refused") {
  CHECK_FALSE(parse_list_objects(as_bytes(page(entry("a"))), 10));  // no IsTruncated
  CHECK_FALSE(parse_list_objects(as_bytes(page(kHead + entry("a") + entry("b"))), 1));
  CHECK_FALSE(parse_list_objects(as_bytes(page(kHead + entry("a%2"))), 10));
  CHECK_FALSE(parse_list_objects(as_bytes(page(kHead + entry(""))), 10));
  CHECK_FALSE(parse_list_objects(as_bytes(page(kHead + entry(std::string(5000, 'k')))), 10));
  CHECK_FALSE(parse_list_objects(as_bytes("<html><body>hello</body></html>"), 10));
  CHECK_FALSE(parse_list_objects(as_bytes("<ListBucketResult>"), 10));
  CHECK_FALSE(parse_list_objects({}, 10));
  std::string many = kHead;
  for (int i = 0; i < 300'000; ++i) many += "<a/>";
  CHECK_FALSE(parse_list_objects(as_bytes(page(many)), 10));
  std::string deep;
  for (int i = 0; i < 150'000; ++i) deep += "<a>";
  CHECK_FALSE(parse_list_objects(as_bytes(deep), 10));
  CHECK_FALSE(parse_list_objects(as_bytes(std::string(kMaxXmlBytes + 1, ' ')), 10));
}

TEST_CASE("entities of a document type are not expanded") {
  const auto error =
      parse_s3_error(as_bytes("<!DOCTYPE e [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;&a;\">]>"
                              "<Error><Code>&b;</Code><Message>m &amp; m</Message></Error>"));
  REQUIRE(error);
  CHECK(error->code == "&b;");
  CHECK(error->message == "m & m");
}

TEST_CASE("errors, uploads and their ends") {
  const auto error = parse_s3_error(
      as_bytes("<Error><Code>InvalidRange</Code><Message>x</Message><Region>eu</Region>"
               "<ActualObjectSize>12</ActualObjectSize></Error>"));
  REQUIRE(error);
  CHECK(error->region == "eu");
  CHECK(error->has_object_size);
  CHECK(error->object_size == 12);
  CHECK_FALSE(parse_s3_error(as_bytes("<Error></Error>")));
  CHECK_FALSE(parse_s3_error(as_bytes("Not found")));

  CHECK(*parse_initiate_multipart(as_bytes("<InitiateMultipartUploadResult><UploadId>u/1+"
                                           "</UploadId></InitiateMultipartUploadResult>")) ==
        "u/1+");
  CHECK_FALSE(parse_initiate_multipart(as_bytes("<InitiateMultipartUploadResult/>")));
  CHECK(*parse_complete_multipart(as_bytes("\n  \n<CompleteMultipartUploadResult><ETag>\"x-2\""
                                           "</ETag></CompleteMultipartUploadResult>")) ==
        "\"x-2\"");
  CHECK_FALSE(parse_complete_multipart(as_bytes("<Error><Code>InternalError</Code></Error>")));
  CHECK(format_complete_multipart({{1, "\"a<\"", ""}, {2, "b", "AAAA"}}) ==
        "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Part>"
        "<PartNumber>1</PartNumber><ETag>&quot;a&lt;&quot;</ETag></Part><Part><PartNumber>2"
        "</PartNumber><ETag>b</ETag><ChecksumCRC32C>AAAA</ChecksumCRC32C></Part>"
        "</CompleteMultipartUpload>");
}

TEST_CASE("times") {
  CHECK(*parse_iso8601("1970-01-01T00:00:00Z") == 0);
  CHECK(*parse_iso8601("2013-05-24T00:00:00.000Z") == 1'369'353'600'000'000'000);
  CHECK(*parse_iso8601("1969-12-31T23:59:59.999999999Z") == -1);
  for (const char* bad : {"", "2013-05-24", "2013-05-24T00:00:00", "2013-13-24T00:00:00Z",
                          "2013-02-30T00:00:00Z", "2013-05-24T24:00:00Z", "9999-01-01T00:00:00Z",
                          "2013-05-24T00:00:00.Z", "2013-05-24T00:00:00.x1Z"})
    CHECK_FALSE(parse_iso8601(bad));
}

TEST_CASE("the results of copies and the list of uploads, and what is none") {
  const auto copied = parse_copy_result(
      as_bytes("<CopyPartResult><LastModified>x</LastModified><ETag>&quot;e&quot;</ETag>"
               "<ChecksumCRC32C>yZRlqg==</ChecksumCRC32C></CopyPartResult>"));
  REQUIRE(copied);
  CHECK(copied->etag == "\"e\"");
  CHECK(copied->crc32c == "yZRlqg==");
  CHECK(parse_copy_result(as_bytes("<CopyObjectResult><ETag>e</ETag></CopyObjectResult>")));
  for (const char* xml : {"", "<CopyObjectResult/>", "<Error><Code>InternalError</Code></Error>",
                          "<CopyObjectResult><ETag>", "<Other><ETag>e</ETag></Other>"})
    CHECK_FALSE(parse_copy_result(as_bytes(std::string_view(xml))));

  const auto list = [](const std::string& inside) {
    return parse_list_uploads(
        as_bytes("<ListMultipartUploadsResult>" + inside + "</ListMultipartUploadsResult>"), 1);
  };
  const std::string upload =
      "<Upload><Key>a+b</Key><UploadId>u</UploadId><Initiated>2026-11-22T20:47:07Z</Initiated>"
      "</Upload>";
  const auto uploads = list(
      "<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>"
      "<NextKeyMarker>a+b</NextKeyMarker>"
      "<NextUploadIdMarker>u</NextUploadIdMarker>" +
      upload);
  REQUIRE(uploads);
  CHECK(uploads->truncated);
  CHECK(uploads->next_key == "a b");
  CHECK(uploads->next_upload_id == "u");
  CHECK(uploads->uploads.at(0).key == "a b");
  CHECK(uploads->uploads.at(0).begun_ns == 1795380427'000'000'000);
  CHECK_FALSE(list(upload));
  CHECK_FALSE(list("<IsTruncated>false</IsTruncated>" + upload + upload));
  CHECK_FALSE(list("<IsTruncated>false</IsTruncated><Upload><Key>a</Key></Upload>"));
}

TEST_CASE("a list of versions is read as it stands, and what is none") {
  const std::string head =
      "<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>"
      "<NextKeyMarker>a+b</NextKeyMarker><NextVersionIdMarker>v/1+2</NextVersionIdMarker>";
  const std::string version =
      "<Version><Key>a+b</Key><VersionId>v1</VersionId><IsLatest>false</IsLatest>"
      "<LastModified>2026-11-22T20:47:07Z</LastModified><ETag>&quot;e&quot;</ETag><Size>7</Size>"
      "</Version>";
  const std::string marker =
      "<DeleteMarker><Key>a+b</Key><VersionId>v2</VersionId><IsLatest>true</IsLatest>"
      "<LastModified>2026-11-22T20:47:08Z</LastModified></DeleteMarker>";
  const auto list = [](const std::string& inside, size_t most = 10) {
    return parse_list_versions(as_bytes("<ListVersionsResult>" + inside + "</ListVersionsResult>"),
                               most);
  };
  const auto listing = list(head + marker + version +
                            "<CommonPrefixes><Prefix>d%2F</Prefix>"
                            "</CommonPrefixes>");
  REQUIRE(listing);
  CHECK(listing->truncated);
  CHECK(listing->next_key == "a b");
  CHECK(listing->next_version == "v/1+2");
  REQUIRE(listing->versions.size() == 2);
  CHECK(listing->versions[0].deleted);
  CHECK(listing->versions[0].latest);
  CHECK(listing->versions[1].info.key == "a b");
  CHECK(listing->versions[1].info.size == 7);
  CHECK(listing->versions[1].info.etag == "\"e\"");
  CHECK(listing->versions[1].version_id == "v1");
  CHECK(listing->prefixes == std::vector<std::string>{"d/"});
  CHECK_FALSE(list(version));
  CHECK_FALSE(list(head + version + version, 1));
  CHECK_FALSE(list(head + "<Version><Key>a</Key></Version>"));
  CHECK_FALSE(parse_list_versions(as_bytes(page(kHead)), 1));
}

TEST_CASE("tags and versioning are read and written, and what is none") {
  const ObjectTags tags{{"a", "b & <c>"}, {"empty", ""}};
  const std::string document = format_tagging(tags);
  CHECK(*parse_tagging(as_bytes(document)) == tags);
  CHECK(parse_tagging(as_bytes("<Tagging><TagSet/></Tagging>"))->empty());
  CHECK_FALSE(parse_tagging(as_bytes("<TagSet></TagSet>")));
  std::string many = "<Tagging><TagSet>";
  for (int i = 0; i < 101; ++i) many += "<Tag><Key>k</Key><Value>v</Value></Tag>";
  CHECK_FALSE(parse_tagging(as_bytes(many + "</TagSet></Tagging>")));
  const auto versioning = [](const std::string& inside) {
    return parse_versioning(
        as_bytes("<VersioningConfiguration>" + inside + "</VersioningConfiguration>"));
  };
  CHECK(*versioning("<Status>Enabled</Status>"));
  CHECK(*versioning("<Status>Suspended</Status>"));
  CHECK_FALSE(*versioning(""));
  CHECK_FALSE(parse_versioning(as_bytes("<Other/>")));
}
