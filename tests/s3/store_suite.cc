// The conformance suite on a store named in the environment, for servers that a script starts:
//   CAIRN_STORE_URL=file:///dir build/dev/tests/store_suite
//   CAIRN_STORE_URL=s3://bucket/prefix AWS_ENDPOINT_URL=http://127.0.0.1:9000 ... store_suite
// The place must be empty. CAIRN_STORE_PAYLOAD=crc32c sends checksums instead of signed hashes;
// CAIRN_STORE_VERSIONED says that the bucket keeps versions: then it is about tags and versions
// only, because MinIO lists prefixes of which all is removed, and versitygw does not make anew what
// was removed. With CAIRN_STORE_VERSIONS=one-page versions are asked for in large pages only.
// Exits non-zero when the store fails a check or cannot be opened.
#include <doctest/doctest.h>

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <string>
#include <vector>

#include "cache/await.h"
#include "s3/file_store.h"
#include "s3/open_s3.h"
#include "tests/support/object_store_suite.h"

using namespace cairn;

namespace {

// Requests end before the threads that answer them.
struct Threads {
  ~Threads() {
    for (const auto& pool : pools) pool->close();
  }
  ThreadExecutor executor{"store", 4};
  std::vector<std::shared_ptr<CurlPool>> pools;
};

Result<StoreUnderTest> open_store(const std::string& url, Threads& threads,
                                  unsigned parts_in_flight = 4) {
  if (url.starts_with("file://")) {
    TRY_ASSIGN(auto store,
               FileStore::open({posix_env(), threads.executor, system_clock(), os_rng()},
                               url.substr(7), FileStore::Create::kIfMissing));
    return StoreUnderTest{.store = std::move(store), .prefix = "suite/"};
  }
  if (url.starts_with("s3://")) {
    OpenS3 what;
    TRY_ASSIGN(what.url, parse_bucket_url(url));
    what.settings.parts_in_flight = parts_in_flight;
    const char* payload = std::getenv("CAIRN_STORE_PAYLOAD");
    if (payload != nullptr && payload == std::string("crc32c"))
      what.settings.payload = S3Payload::kChecksumCrc32c;
    TRY_ASSIGN(std::shared_ptr<S3Store> store,
               open_s3_store(std::move(what), {posix_env(), process_env_vars(), threads.executor,
                                               system_clock(), os_rng(), threads.pools}));
    Context context;
    context.deadline = Deadline::after(system_clock(), std::chrono::seconds(20));
    TRY(store->check_access_sync(context));
    return StoreUnderTest{.store = std::move(store),
                          .prefix = "suite/",
                          .takes_any_bytes = false,
                          .keeps_versions = std::getenv("CAIRN_STORE_VERSIONED") != nullptr,
                          .pages_versions = std::getenv("CAIRN_STORE_VERSIONS") == nullptr};
  }
  return fail(Errc::kInvalid,
              "CAIRN_STORE_URL is '" + url + "': give a file:///dir or an s3://bucket");
}

}  // namespace

TEST_CASE("the store named in CAIRN_STORE_URL passes the conformance suite") {
  const char* url = std::getenv("CAIRN_STORE_URL");
  REQUIRE_MESSAGE(url != nullptr, "set CAIRN_STORE_URL to the store to test");
  Threads threads;
  const auto subject = open_store(url, threads);
  REQUIRE_MESSAGE(subject, subject.error().message());
  if (subject->keeps_versions)
    object_version_suite(*subject);
  else
    object_store_suite(*subject);
}

namespace {

// Holds whoever reads it, until `go`.
class HeldFile final : public File {
 public:
  Result<size_t> read_at(uint64_t, MutableBytes out) override {
    {
      const std::lock_guard lock(mutex_);
      reached_ = true;
    }
    changed_.notify_all();
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::seconds(120), [this] { return go_; });
    std::fill(out.begin(), out.end(), std::byte{1});
    return out.size();
  }
  Status write_at(uint64_t, Bytes) override { return fail(Errc::kUnsupported, "held"); }
  Status sync_data() override { return {}; }
  Result<uint64_t> size() override { return 0; }
  Result<uint64_t> allocated_bytes() override { return 0; }
  Status allocate(uint64_t, uint64_t) override { return {}; }
  Status punch(uint64_t, uint64_t) override { return {}; }
  Status truncate(uint64_t) override { return {}; }

  bool wait_reached() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(120), [this] { return reached_; });
  }
  void go() {
    {
      const std::lock_guard lock(mutex_);
      go_ = true;
    }
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool reached_ = false;
  bool go_ = false;
};

}  // namespace

TEST_CASE("an upload that is aborted as an old one of nobody's ends without an object") {
  const char* url = std::getenv("CAIRN_STORE_URL");
  if (url == nullptr || !std::string_view(url).starts_with("s3://")) return;
  Threads threads;
  const auto subject = open_store(url, threads, 1);
  REQUIRE_MESSAGE(subject, subject.error().message());
  const auto store = std::dynamic_pointer_cast<S3Store>(subject->store);
  REQUIRE(store);
  Context context;
  context.deadline = Deadline::after(system_clock(), std::chrono::seconds(240));
  const auto abort_older = [&](Duration than) {
    Awaited<uint64_t> answer;
    store->abort_stale_uploads(than, context, answer.callback());
    const auto aborted = answer.get();
    REQUIRE_MESSAGE(aborted, aborted.error().message());
    return *aborted;
  };
  const auto file = std::make_shared<HeldFile>();
  Body body;
  body.add(file, {0, 1});  // the first part waits, and no other one is under way
  body.add(Buffer(ByteVec(size_t{80} << 20)));
  Awaited<std::string> put;
  store->put("suite/held", body, {}, context, put.callback());
  REQUIRE(file->wait_reached());
  CHECK(abort_older(std::chrono::hours(1)) == 0);  // it lives
  CHECK(abort_older(-std::chrono::hours(1)) == 1);
  file->go();
  CHECK_FALSE(put.get());
  CHECK(abort_older(-std::chrono::hours(1)) == 0);
  CHECK(head_sync(*store, "suite/held", context).error().code() == Errc::kNotFound);
}
