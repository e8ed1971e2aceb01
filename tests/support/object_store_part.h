// What the sources of object_store_suite share: one part of it, and short calls.
#pragma once

#include <doctest/doctest.h>

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "tests/support/object_store_suite.h"

namespace cairn::suite {

// A hang in a store must fail the suite, not stall it.
inline Context within(std::chrono::seconds limit = std::chrono::seconds(120)) {
  Context context;
  context.deadline = Deadline::after(system_clock(), limit);
  return context;
}

inline Body body_of(std::string_view text) {
  return Body(Buffer::copy(text));
}

// One part of the suite: its own prefix, short calls, and a clean place afterwards.
class Part {
 public:
  Part(const StoreUnderTest& subject, const std::string& name)
      : store(*subject.store), prefix(subject.prefix + name + "/") {}
  ~Part() {
    for (const std::string& key : all_keys()) (void)remove_sync(store, key, within());
  }
  Part(const Part&) = delete;
  Part& operator=(const Part&) = delete;

  std::string key(const std::string& name) const { return prefix + name; }
  Result<std::string> put(const std::string& name, std::string_view text, PutHow how = {}) {
    return put_sync(store, key(name), body_of(text), std::move(how), within());
  }
  Result<std::string> get(const std::string& name, GetRange range = GetRange::all()) {
    TRY_ASSIGN(const GetResult got, get_sync(store, key(name), range, within()));
    return to_string(got.bytes);
  }
  std::vector<std::string> all_keys(uint32_t limit = 1000) {
    std::vector<std::string> keys;
    while (true) {
      const auto page = list_sync(store, prefix, keys.empty() ? "" : keys.back(), limit, within());
      if (!page) {
        FAIL_CHECK("list failed: " << page.error().message());
        return keys;
      }
      for (const ObjectInfo& object : page->objects) keys.push_back(object.key);
      if (!page->truncated || page->objects.empty()) return keys;
    }
  }

  ObjectStore& store;
  const std::string prefix;
};

template <class T>
Errc code_of(const Result<T>& result) {
  REQUIRE_FALSE(result.has_value());
  CHECK_FALSE(result.error().message().empty());
  return result.error().code();
}

// object_store_suite_puts.cc
void put_suite(const StoreUnderTest& subject);
std::vector<std::string> awkward_names(bool any_bytes);

}  // namespace cairn::suite
