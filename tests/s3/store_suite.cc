// The conformance suite on a store named in the environment, for servers that a script starts:
//   CAIRN_STORE_URL=file:///dir build/dev/tests/store_suite
// The place must be empty. Exits non-zero when the store fails a check or cannot be opened.
#include <doctest/doctest.h>

#include <cstdlib>
#include <string>

#include "s3/file_store.h"
#include "tests/support/object_store_suite.h"

using namespace cairn;

namespace {

Result<StoreUnderTest> open_store(const std::string& url, Executor& executor) {
  if (url.starts_with("file://")) {
    TRY_ASSIGN(auto store, FileStore::open({posix_env(), executor, system_clock(), os_rng()},
                                           url.substr(7), FileStore::Create::kIfMissing));
    return StoreUnderTest{.store = std::move(store), .prefix = "suite/"};
  }
  return fail(Errc::kInvalid, "CAIRN_STORE_URL is '" + url + "': give a file:///dir");
}

}  // namespace

TEST_CASE("the store named in CAIRN_STORE_URL passes the conformance suite") {
  const char* url = std::getenv("CAIRN_STORE_URL");
  REQUIRE_MESSAGE(url != nullptr, "set CAIRN_STORE_URL to the store to test");
  ThreadExecutor executor("store", 4);
  const auto subject = open_store(url, executor);
  REQUIRE_MESSAGE(subject, subject.error().message());
  object_store_suite(*subject);
}
