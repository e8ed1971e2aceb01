#include "cache/head_look.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "cache/store_keys.h"

namespace cairn {

HeadLook::HeadLook(ObjectStore& store, const Context& context) : store_(store) {
  Context own = context;
  own.cancel = over_;
  const GetRange number = GetRange::from(0, kNumberBytesMax);
  store_.get(std::string(kHeadKey), number, own, hint_.callback());
  store_.get(std::string(kBoundaryKey), number, own, boundary_.callback());
}

HeadLook::~HeadLook() {
  if (taken_) return;
  over_.cancel();
  (void)take();  // whatever they say
}

HeadLook::Found HeadLook::take() {
  taken_ = true;
  const auto head = hint_.get();
  std::optional<uint64_t> hint;
  if (head) hint = parse_number_text(as_chars(head->bytes));
  return {hint, boundary_of(store_, boundary_.get())};
}

Result<uint64_t> boundary_of(const ObjectStore& store, const Result<GetResult>& got) {
  if (!got && got.error().code() == Errc::kNotFound) return 1;
  if (!got) return tl::unexpected<Error>(got.error());
  const auto number = parse_number_text(as_chars(got->bytes));
  if (number) return std::max<uint64_t>(1, *number);
  return fail(Errc::kCorruption,
              fmt::format("{}: {} is not a number", store.description(), kBoundaryKey));
}

}  // namespace cairn
