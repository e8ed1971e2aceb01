// BucketLister: keeps a BucketTree as fresh as the metadata TTL says, by as few requests as it can.
//
// A directory is listed whole: one request a 1,000 names, one listing at a time for all who ask,
// with what is below it where that costs no more (bucket_deep.h). The first name that is looked up
// in an unknown directory is asked for alone, with what is below it: one request, two where many
// names begin like it. For the second one the directory is listed. When that has more than one
// page, names are asked for alone, until that cost as many as listing it; where one follows the
// other, each time with the next 1,000. A name that was just not there is remembered. The rest of a
// listing of very many pages is asked for in several places at once (bucket_split.h). States of a
// directory: unknown; begun (bucket_deep.h); listed at a time, with so many pages; left after its
// first page. Who asks waits for the answer, for its own deadline, or until a long listing got
// further: then it is told to look again, and asks again. While the store is away what was listed
// once counts as fresh, in short terms.
//
// Threads: all methods are thread-safe. No lock is held across a request, a table or a callback.
// Owner: BucketRemote, which calls `stop` before it goes; requests under way keep it alive.
// Where names fill their place, those of directories that were listed before are forgotten; a
// directory that alone has too many is not listed, and its names are asked for alone.
// Errors: those of the store; kNoSpace when the cache has no room for the names; kIo when a listing
// does not come forward.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cache/base/executor.h"
#include "cache/bucket_deep.h"
#include "cache/bucket_tree.h"
#include "cache/remote.h"

namespace cairn {

class BucketLister : public std::enable_shared_from_this<BucketLister> {
 public:
  struct Parts {
    ObjectStore& store;
    Clock& clock;
    Executor& executor;    // completions, work on the tables
    Executor& background;  // writes names to the disk; tells the kernel nothing
  };
  struct Options {
    Duration ttl = std::chrono::seconds(60);
    Duration io_timeout = std::chrono::seconds(60);
    uint64_t memory_bytes = 8ULL << 20;  // of names that are not on the disk yet
    // Names may be asked for alone. Not where an empty directory is one without objects.
    bool probe_names = true;
    // Keys of any depth may be asked for: it costs no more than one level of them.
    bool deep_pages = true;
  };
  BucketLister(const Parts& parts, const Options& options, std::shared_ptr<BucketTree> tree);
  // Ends all requests; when it returned none is under way.
  void stop();

  // Are all names of the directory here, fresh enough? `any_age`: however old.
  Result<bool> has_names(uint64_t dir, bool any_age);
  // The entry as it is known to be; nullopt: it is not there. kNotLocal: nobody knows.
  Result<std::optional<BucketEntry>> look_up(uint64_t dir, std::string_view name);
  // Asks the store for what is missing.
  void fetch(const std::vector<Missing::Name>& names, Context context, Callback<void> done);
  // An object turned out to be another version: its name is to be asked for again.
  void expire(uint64_t ino);
  void note_changes(BucketTree::Keys keys);
  // Forgets names when they fill their place, of directories that are not being listed. Blocks.
  Status make_room();
  // Is what was seen then still good enough?
  bool fresh(int64_t seen_ns) const;
  // Tree keys whose values changed since the last call.
  Changes take_changes();

 private:
  struct Waiter;
  struct Flight;
  struct Run;
  using Key = std::pair<uint64_t, std::string>;  // a directory, and a name or nothing

  Result<bool> is_unpublished(uint64_t dir) const;
  struct Question {
    Key key;
    bool all = false;   // however many pages there are
    std::string after;  // a name that somebody walks to: behind what was seen last
  };
  Result<Question> what_to_ask(const Missing::Name& wanted);
  Result<std::string> walked_from(const Missing::Name& wanted) const;
  void note_walk(const Flight& flight, std::string_view key, std::string after);
  void join(const Missing::Name& wanted, const Context& context, Callback<void> done);
  void watch(const std::weak_ptr<Flight>& flight, const std::shared_ptr<Waiter>& waiter);
  void answer(const std::shared_ptr<Waiter>& waiter, Status status);
  Context request_context(uint64_t dir);

  void start(const std::shared_ptr<Flight>& flight);
  void list_next(const std::shared_ptr<Flight>& flight);
  void listed(const std::shared_ptr<Flight>& flight, const Result<ListPage>& page);
  Result<bool> take_page(Flight& flight, const ListPage& page);
  Status check_page(const Flight& flight, Run& run, const ListPage& page) const;
  bool split(const std::shared_ptr<Flight>& flight);
  void run_on(const std::shared_ptr<Flight>& flight, const std::shared_ptr<Run>& run);
  bool is_only_late(const Flight& flight, const Run& run, const Result<ListPage>& page) const;
  Result<bool> take_run(Flight& flight, Run& run, const Result<ListPage>& page);
  void run_over(const std::shared_ptr<Flight>& flight, Status status);
  void end_listing(const std::shared_ptr<Flight>& flight);
  bool has_room() const;
  void with_room(Result<ListPage> page, std::function<void(const Result<ListPage>&)> next);
  void give_up(const std::shared_ptr<Flight>& flight, const Error& why);
  void done_with(const std::shared_ptr<Flight>& flight);
  void probe(const std::shared_ptr<Flight>& flight);
  void probe_page(const std::shared_ptr<Flight>& flight);
  void probed_page(const std::shared_ptr<Flight>& flight, const Result<ListPage>& page);
  void probe_directory(const std::shared_ptr<Flight>& flight);
  void probed(const std::shared_ptr<Flight>& flight);
  Status settle_probe(const Flight& flight);
  Status take_probed_directory(const Flight& flight);
  void finish(const std::shared_ptr<Flight>& flight, Status status);
  Status settle_for_old(const Flight& flight, const Status& failed);

  const Parts parts_;
  const Options options_;
  const std::shared_ptr<BucketTree> tree_;
  DeepPages deep_;
  CancelToken stop_token_;
  std::atomic<MonotonicTime> away_until_{MonotonicTime::min()};  // what is here counts until then

  mutable RankedMutex<Rank::kRemote> mutex_;
  ConditionVariable idle_;
  bool stopping_ = false;  // protected by mutex_, as is all below
  std::map<Key, std::shared_ptr<Flight>> flights_;
  std::map<Key, int64_t> absent_;        // names that were not there, and when
  std::map<uint64_t, uint64_t> probes_;  // of a directory, since it was listed
  struct Walk {
    std::string name;   // that was seen last
    std::string after;  // behind it, as a list of one level takes it
  };
  std::map<uint64_t, Walk> walks_;  // through a directory, name by name
  Changes changes_;
};

}  // namespace cairn
