// RefreshingCredentials: keys that expire, always a valid set at hand, asked for once at a time.
//
// While the keys are good, they are handed out at once. Some time before they expire (15 minutes,
// or half of their life when that is shorter) the first request starts a refresh in the background
// and goes on with the old ones; only when those have expired do requests wait, all of them for the
// one refresh under way. A refresh that fails while the old keys are good is said in the log and
// tried again; when nothing good is left, its error goes to whoever waits. So a change of keys in
// the middle of an upload costs at most one wait, and no failure is kept longer than a second.
// Threads: all methods from any thread; completions are tasks of the executor. A waiting request
// ends with its own context; the refresh itself has its own time limit.
// Owner: shared by stores, plans that need its keys, and the refresh under way.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cache/base/random.h"
#include "s3/credentials.h"
#include "s3/request.h"

namespace cairn {

// One way to get keys, with no memory of earlier ones. Must be owned by a shared_ptr: a fetch under
// way keeps it alive. At most one fetch is under way at a time.
class CredentialSource {
 public:
  virtual ~CredentialSource() = default;
  virtual void fetch(Context context, Callback<Credentials> done) = 0;
  // For messages: "role arn:... (profile 'dev')".
  virtual std::string description() const = 0;
};

struct RefreshPolicy {
  Duration ahead = std::chrono::minutes(15);
  Duration margin = std::chrono::seconds(10);  // keys this close to their end are not used
  Duration fetch_timeout = std::chrono::seconds(60);
  unsigned tries = 3;  // of one refresh, when the failure may be gone soon
  Duration first_pause = std::chrono::milliseconds(200);
  Duration pause_after_failure = std::chrono::seconds(30);  // while the old keys are good
  Duration failure_kept = std::chrono::seconds(1);          // when there are none
  Duration refusal_pause = std::chrono::seconds(10);        // between two refreshes after refusals
};

class RefreshingCredentials final : public CredentialsProvider,
                                    public std::enable_shared_from_this<RefreshingCredentials> {
 public:
  RefreshingCredentials(std::shared_ptr<CredentialSource> source, Executor& executor, Clock& clock,
                        Rng& rng, RefreshPolicy policy = {});

  void get(Context context, Callback<Credentials> done) override;
  void refused(const Credentials& keys) override;

 private:
  bool good(const Credentials& keys, int64_t now) const;
  bool due(int64_t now) const;
  void start_fetch(unsigned attempt);
  void fetched(unsigned attempt, Result<Credentials> result);
  void store(Credentials keys);
  void give_up(const Error& error);

  const std::shared_ptr<CredentialSource> source_;
  Executor& executor_;
  Clock& clock_;
  Rng& rng_;
  const RefreshPolicy policy_;

  RankedMutex<Rank::kStore> mutex_;
  std::optional<Credentials> keys_;
  int64_t fetched_wall_ns_ = 0;
  bool stale_ = false;  // the store refused them: not handed out any more
  bool fetching_ = false;
  std::vector<std::shared_ptr<Pending<Credentials>>> waiting_;
  std::optional<Error> failure_;  // of the last refresh, until failure_until_
  MonotonicTime failure_until_{};
  MonotonicTime not_before_{};  // of a refresh in the background
  MonotonicTime refusals_count_from_{};
};

}  // namespace cairn
