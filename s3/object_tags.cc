#include "s3/object_tags.h"

#include "s3/s3_xml.h"
#include "s3/sigv4.h"

namespace cairn {

std::string format_tags(const ObjectTags& tags) {
  std::string out;
  for (const auto& [name, value] : tags) {
    if (!out.empty()) out.push_back('&');
    out.append(uri_encode(name, false)).append("=").append(uri_encode(value, false));
  }
  return out;
}

Result<ObjectTags> parse_tags(std::string_view text) {
  ObjectTags tags;
  while (!text.empty()) {
    const std::string_view pair = text.substr(0, text.find('&'));
    text.remove_prefix(std::min(pair.size() + 1, text.size()));
    const size_t equals = std::min(pair.find('='), pair.size());
    TRY_ASSIGN(std::string name, url_decode(pair.substr(0, equals)));
    std::string value;
    if (equals < pair.size()) {
      TRY_ASSIGN(value, url_decode(pair.substr(equals + 1)));
    }
    tags.emplace_back(std::move(name), std::move(value));
    if (tags.size() > kTagsMax) break;
  }
  if (auto good = check_tags(tags); !good) return fail(Errc::kIo, good.error().message());
  return tags;
}

}  // namespace cairn
