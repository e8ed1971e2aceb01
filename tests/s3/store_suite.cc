// The conformance suite on a store named in the environment, for servers that a script starts:
//   CAIRN_STORE_URL=file:///dir build/dev/tests/store_suite
//   CAIRN_STORE_URL=s3://bucket/prefix AWS_ENDPOINT_URL=http://127.0.0.1:9000 ... store_suite
// The place must be empty. CAIRN_STORE_PAYLOAD=crc32c sends checksums instead of signed hashes.
// Exits non-zero when the store fails a check or cannot be opened.
#include <doctest/doctest.h>

#include <cstdlib>
#include <string>

#include "s3/file_store.h"
#include "s3/open_s3.h"
#include "tests/support/object_store_suite.h"

using namespace cairn;

namespace {

Result<StoreUnderTest> open_store(const std::string& url, Executor& executor) {
  if (url.starts_with("file://")) {
    TRY_ASSIGN(auto store, FileStore::open({posix_env(), executor, system_clock(), os_rng()},
                                           url.substr(7), FileStore::Create::kIfMissing));
    return StoreUnderTest{.store = std::move(store), .prefix = "suite/"};
  }
  if (url.starts_with("s3://")) {
    OpenS3 what;
    TRY_ASSIGN(what.url, parse_bucket_url(url));
    const char* payload = std::getenv("CAIRN_STORE_PAYLOAD");
    if (payload != nullptr && payload == std::string("crc32c"))
      what.settings.payload = S3Payload::kChecksumCrc32c;
    TRY_ASSIGN(std::shared_ptr<S3Store> store,
               open_s3_store(std::move(what), {posix_env(), process_env_vars(), executor,
                                               system_clock(), os_rng()}));
    Context context;
    context.deadline = Deadline::after(system_clock(), std::chrono::seconds(20));
    TRY(store->check_access_sync(context));
    return StoreUnderTest{.store = std::move(store), .prefix = "suite/", .takes_any_bytes = false};
  }
  return fail(Errc::kInvalid,
              "CAIRN_STORE_URL is '" + url + "': give a file:///dir or an s3://bucket");
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
