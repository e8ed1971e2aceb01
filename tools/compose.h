// The composition root: the only place that knows all concrete types.
//
// Runtime owns the threads; StoreStack is one remote's store with its decorators. Nothing here may
// exist before a daemon has forked.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cache/base/executor.h"
#include "cache/object_store.h"
#include "s3/aws_config.h"
#include "s3/metered_store.h"
#include "s3/s3_options.h"
#include "s3/s3_stream.h"
#include "tools/remote_url.h"

namespace cairn {

class CurlPool;

struct Runtime {
  // `says_trouble`: a person who waits is told, once, that the store does not answer.
  explicit Runtime(bool says_trouble = true);
  // Threads end before requests and stores: what they still have to do may send one more, such as
  // the end of an upload that failed. And all of that goes before executors, where it is answered.
  ~Runtime();
  const bool says_trouble;
  unsigned cores;
  ThreadExecutor io;           // store completions, file I/O of a file: remote
  ThreadExecutor work;         // completions of the engine, hashing
  ThreadExecutor maintenance;  // local syncs, checkpoints
  ThreadExecutor publishing;   // publishes, one at a time
  ThreadExecutor collecting;   // garbage collections, one at a time
  ThreadExecutor control;      // the control socket
  std::vector<std::shared_ptr<ObjectStore>> stores;  // all that were opened
  std::vector<std::shared_ptr<CurlPool>> pools;      // what their requests go by
};

// What the command line says about reaching a store.
struct StoreOptions {
  AwsOverrides aws;
  bool no_sign_request = false;
  S3Options s3;
  std::string sse_c_key_file;
};

struct StoreStack {
  std::shared_ptr<MeteredStore> store;
  // The first minute: can it be used at all? A sentence says what to do.
  std::function<Status(Context)> check_access;
  // Aborts multipart uploads that nobody finished for so long; the log says how many. Of all
  // buckets those of each that something is put to.
  std::function<void(Duration, Context)> abort_stale_uploads = [](Duration, const Context&) {};
  // Puts what a stream gives, however much (s3/s3_stream.h). Blocks.
  std::function<Result<std::string>(const std::string& key, const ReadStream& read,
                                    const PutHow& how, const Context& context)>
      put_stream;
  // What the store says it is, or nothing.
  std::function<std::string()> server = [] { return std::string(); };
};

// `may_create`: a missing directory of a file: remote is made.
Result<StoreStack> open_store(const RemoteUrl& url, const StoreOptions& options, bool may_create,
                              Runtime& runtime);

}  // namespace cairn
