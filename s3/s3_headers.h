// Content type, metadata and the like of an object as HTTP headers: what a put sends, what a HEAD
// answers.
//
// Pure; answers are hostile input. Values that are not plain ASCII travel as RFC 2047 encoded
// words: what Amazon S3 decodes when it stores and answers with again. Other stores keep the words
// as they are; here they are decoded in any case. A value in bytes that are not UTF-8 (headers of
// other tools) is read as ISO 8859-1. s3fs, rclone and the AWS CLI write ASCII, which travels as it
// is.
// Source: Amazon S3 user guide, "User-defined object metadata"; RFC 2047; RFC 9110.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cache/object_store.h"
#include "s3/http.h"

namespace cairn {

inline constexpr std::string_view kMetadataHeader = "x-amz-meta-";

// content-type, x-amz-meta-* and what is kept as it is. Requires check_headers: nothing that passes
// it can end a header.
void append_object_headers(const ObjectHeaders& headers, std::vector<HttpHeader>& out);

// From a HEAD's answer with status 200. kIo when size, etag or time are missing or malformed, or
// when there is more metadata than the port allows. Times of HEADs are whole seconds. `what` is for
// messages.
Result<ObjectHead> read_head_answer(const HttpResponse& response, std::string key,
                                    const std::string& what);

// What a request for a version got: not an object, but the mark that it was removed.
bool is_delete_marker(const HttpResponse& response);

// One value: as it is when it is printable ASCII that nobody would change or decode.
std::string encode_metadata_value(std::string_view value);
std::string decode_metadata_value(std::string_view text);

}  // namespace cairn
