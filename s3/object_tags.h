// Tags as one line of text: what the header x-amz-tagging carries, and the file store keeps.
//
// Pure. The form is that of a URL's query: names and values percent-encoded, `name=value` joined by
// '&'. Source: Amazon S3 API reference (PutObject).
#pragma once

#include <string>
#include <string_view>

#include "cache/object_store.h"

namespace cairn {

std::string format_tags(const ObjectTags& tags);
// kIo when it is no such text or breaks the port's rule for tags.
Result<ObjectTags> parse_tags(std::string_view text);

}  // namespace cairn
