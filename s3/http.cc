#include "s3/http.h"

#include <strings.h>

#include "s3/byte_pool.h"

namespace cairn {

const std::string* HttpResponse::header(std::string_view name) const {
  for (const HttpHeader& h : headers)
    if (h.name.size() == name.size() && ::strncasecmp(h.name.data(), name.data(), name.size()) == 0)
      return &h.value;
  return nullptr;
}

Buffer HttpResponse::take_body() {
  return pool ? pool->share(std::move(body)) : Buffer(std::move(body));
}

}  // namespace cairn
