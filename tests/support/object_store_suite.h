// object_store_suite: what every ObjectStore must do, run on each of them and on real servers.
//
// Call it inside a TEST_CASE; it reports through doctest. It works below `prefix` only, which must
// be empty at first, and removes what it made. Blocks: not for tasks of the store's executor.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "cache/object_store.h"

namespace cairn {

struct StoreUnderTest {
  std::shared_ptr<ObjectStore> store;
  std::string prefix;  // "" or ending in '/'
  // S3 keys are UTF-8; other stores take every byte but NUL.
  bool takes_any_bytes = true;
  // A directory on a filesystem without extended attributes does not.
  bool keeps_headers = true;  // and tags
  bool keeps_versions = false;
  // versitygw does not go on behind the first page of versions, nor knows "null" in a HEAD.
  bool pages_versions = true;
  uint64_t large_bytes = (uint64_t{64} << 20) + 12'345;
  // How long "soon" may take after a cancellation or a deadline.
  Duration soon = std::chrono::seconds(5);
};

void object_store_suite(const StoreUnderTest& subject);
// Only what it says of tags and versions.
void object_version_suite(const StoreUnderTest& subject);

}  // namespace cairn
