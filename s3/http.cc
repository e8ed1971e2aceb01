#include "s3/http.h"

#include <strings.h>

namespace cairn {

const std::string* HttpResponse::header(std::string_view name) const {
  for (const HttpHeader& h : headers)
    if (h.name.size() == name.size() && ::strncasecmp(h.name.data(), name.data(), name.size()) == 0)
      return &h.value;
  return nullptr;
}

}  // namespace cairn
