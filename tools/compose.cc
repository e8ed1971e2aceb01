#include "tools/compose.h"

#include <algorithm>
#include <atomic>
#include <iostream>
#include <thread>

#include "cache/base/log.h"
#include "s3/all_buckets_store.h"
#include "s3/file_store.h"
#include "s3/limiting_store.h"
#include "s3/open_s3.h"
#include "s3/retrying_store.h"
#include "tools/spool.h"
#include "tools/units.h"

namespace cairn {

namespace {
// Two for the socket and the signals; the others so that who waits for a flush keeps nobody out.
constexpr unsigned kControlThreads = 16;
// A hiccup is nothing to speak of.
constexpr Duration kPatience = std::chrono::seconds(2);

// On standard error, terminal or not: who waits for a script wants to know what it waits for.
void say_trouble(const Error& error, Duration tried, std::optional<Duration> left) {
  static std::atomic<bool> was_said{false};
  if (tried < kPatience || was_said.exchange(true)) return;
  std::cerr << "cairn: the store does not answer and is tried again"
            << (left ? " for " + format_duration(left->count() / 1'000'000) : "") << ": "
            << error.message() << "\n";
}
}  // namespace

Runtime::Runtime(bool says)
    : says_trouble(says),
      cores(std::max(2U, std::thread::hardware_concurrency())),
      io("cairn-io", 4),
      work("cairn-work", cores),
      maintenance("cairn-maint", 1),
      publishing("cairn-pub", 1),
      collecting("cairn-gc", 1),
      control("cairn-ctl", kControlThreads) {}

Runtime::~Runtime() {
  for (ThreadExecutor* executor : {&control, &collecting, &publishing, &maintenance, &work, &io})
    executor->stop();
  for (const auto& pool : pools) pool->close();
  stores.clear();
}

namespace {

// Outside in: every request is counted once, retries wait without holding a place in the queue.
StoreStack stack_on(std::shared_ptr<ObjectStore> base, Runtime& runtime) {
  auto limited = std::make_shared<LimitingStore>(std::move(base), runtime.io, system_clock());
  auto retrying = std::make_shared<RetryingStore>(
      std::move(limited), RetryingStore::Parts{runtime.io, system_clock(), os_rng(),
                                               runtime.says_trouble ? say_trouble : nullptr});
  StoreStack stack;
  stack.store = std::make_shared<MeteredStore>(std::move(retrying));
  runtime.stores.push_back(stack.store);
  return stack;
}

OpenS3 open_with(const StoreOptions& options) {
  OpenS3 what;
  what.overrides = options.aws;
  what.no_sign_request = options.no_sign_request;
  what.options = options.s3;
  what.sse_c_key_file = options.sse_c_key_file;
  return what;
}

OpenS3Deps s3_deps(Runtime& runtime) {
  return {posix_env(), process_env_vars(), runtime.io, system_clock(), os_rng(), runtime.pools};
}

void say_aborted(const Result<uint64_t>& aborted) {
  if (!aborted)
    log_debug("stale multipart uploads cannot be aborted: {}", aborted.error().message());
  else if (*aborted > 0)
    log_info("multipart uploads that nobody finished were aborted: {}", *aborted);
}

// What has to be known as a whole.
Result<std::string> put_spooled(ObjectStore& store, const std::string& key, const ReadStream& read,
                                const PutHow& how, const Context& context) {
  TRY_ASSIGN(const Spooled whole, spool(read));
  Body body;
  body.add(whole.file, {0, whole.size});
  return put_sync(store, key, std::move(body), how, context);
}

Result<StoreStack> open_all_buckets(const StoreOptions& options, Runtime& runtime) {
  TRY_ASSIGN(const auto buckets, open_s3_buckets(open_with(options), s3_deps(runtime)));
  auto all = std::make_shared<AllBucketsStore>(buckets, runtime.io);
  StoreStack stack = stack_on(all, runtime);
  stack.check_access = [buckets](Context context) {
    return buckets->check_access_sync(std::move(context));
  };
  stack.abort_stale_uploads = [buckets, all](Duration older_than, const Context& context) {
    all->on_first_put([buckets, older_than, context](const std::string& bucket) {
      if (const auto store = buckets->open_store(bucket))
        (*store)->abort_stale_uploads(older_than, context, say_aborted);
    });
  };
  stack.server = [buckets] { return buckets->server(); };
  return stack;
}

}  // namespace

Result<StoreStack> open_store(const RemoteUrl& url, const StoreOptions& options, bool may_create,
                              Runtime& runtime) {
  if (url.kind == RemoteUrl::Kind::kFile) {
    TRY_ASSIGN(auto files,
               FileStore::open(
                   {posix_env(), runtime.io, system_clock(), os_rng()}, url.directory,
                   may_create ? FileStore::Create::kIfMissing : FileStore::Create::kMustExist));
    StoreStack stack = stack_on(std::move(files), runtime);
    stack.check_access = [](Context) { return Status(); };
    stack.put_stream = [store = stack.store](const std::string& key, const ReadStream& read,
                                             const PutHow& how, const Context& context) {
      return put_spooled(*store, key, read, how, context);
    };
    return stack;
  }
  if (url.is_all_buckets()) return open_all_buckets(options, runtime);
  OpenS3 what = open_with(options);
  what.url.bucket = url.bucket;
  what.url.prefix = url.prefix;
  TRY_ASSIGN(auto opened, open_s3_store(what, s3_deps(runtime)));
  std::shared_ptr<S3Store> s3 = std::move(opened);
  StoreStack stack = stack_on(s3, runtime);
  stack.check_access = [s3](Context context) { return s3->check_access_sync(std::move(context)); };
  stack.abort_stale_uploads = [s3](Duration older_than, Context context) {
    s3->abort_stale_uploads(older_than, std::move(context), say_aborted);
  };
  stack.put_stream = [s3, store = stack.store](const std::string& key, const ReadStream& read,
                                               const PutHow& how, const Context& context) {
    return s3->put_stream(*store, key, read, how, context);
  };
  stack.server = [s3] { return s3->server(); };
  return stack;
}

}  // namespace cairn
