#include "s3/curl_pool.h"

#include <pthread.h>

#include <algorithm>
#include <deque>
#include <list>
#include <mutex>
#include <thread>
#include <vector>

#include "cache/base/log.h"
#include "cache/base/mutex.h"
#include "s3/byte_pool.h"
#include "s3/curl_transfer.h"

namespace cairn {

namespace {

constexpr Duration kSweepInterval = std::chrono::milliseconds(100);
constexpr int kBusyPollMs = 100;
constexpr int kKeepingPollMs = 1'000;  // memory is kept for requests that may come
constexpr int kIdlePollMs = 60'000;
constexpr Duration kCleaningTime = std::chrono::seconds(5);
constexpr Duration kTrimInterval = std::chrono::seconds(1);
// libcurl's own cap on idle connections is four times the handles added, which shrinks as they end.
constexpr size_t kMaxIdleHandles = 64;

void init_curl_once() {
  static const CURLcode done = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (done != CURLE_OK) log_error("libcurl cannot start: {}", curl_easy_strerror(done));
}

}  // namespace

class CurlPool::Loop {
 public:
  Loop(CurlOptions options, Executor& executor, Clock& clock)
      : options_(std::move(options)),
        executor_(executor),
        clock_(clock),
        memory_(std::make_shared<BytePool>(options_.kept_bytes_max)) {
    init_curl_once();
    multi_ = curl_multi_init();
    curl_multi_setopt(multi_, CURLMOPT_PIPELINING, static_cast<long>(CURLPIPE_NOTHING));
    curl_multi_setopt(multi_, CURLMOPT_MAXCONNECTS, static_cast<long>(options_.max_active));
  }

  static std::shared_ptr<Loop> start(CurlOptions options, Executor& executor, Clock& clock) {
    auto loop = std::make_shared<Loop>(std::move(options), executor, clock);
    loop->thread_ = std::thread([loop] { loop->run(); });
    ::pthread_setname_np(loop->thread_.native_handle(), "cairn-curl");
    return loop;
  }

  void stop() {
    if (!thread_.joinable()) return;
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    curl_multi_wakeup(multi_);
    // What a request kept may be let go by this very thread, and the pool with it.
    if (thread_.get_id() == std::this_thread::get_id())
      thread_.detach();
    else
      thread_.join();
  }

  ~Loop() {
    for (CURL* handle : idle_) curl_easy_cleanup(handle);
    curl_multi_cleanup(multi_);
  }

  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  void submit(HttpRequest request, Callback<HttpResponse> done) {
    auto transfer = std::make_unique<CurlTransfer>(std::move(request), std::move(done), memory_);
    std::optional<Error> refused;
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) {
        refused = shutting_down();
      } else if (queued_ >= options_.max_waiting) {
        refused = Error(Errc::kTransient, "too many requests wait for the store already")
                      .with_no_effect();
      } else {
        arrived_.push_back(std::move(transfer));
        ++queued_;
      }
    }
    if (refused) {
      complete(*transfer, not_sent(std::move(*refused)));
    } else {
      curl_multi_wakeup(multi_);
    }
  }

 private:
  using TransferPtr = std::unique_ptr<CurlTransfer>;

  void run() {
    while (take_arrivals()) {
      start_waiting();
      turn();
      trim();
      // A finished transfer may have made room: start the next before sleeping.
      if (!waiting_.empty() && active_.size() < options_.max_active) continue;
      const bool busy = !active_.empty() || !waiting_.empty();
      const int idle_ms = memory_->rests() ? kIdlePollMs : kKeepingPollMs;
      curl_multi_poll(multi_, nullptr, 0, busy ? kBusyPollMs : idle_ms, nullptr);
    }
    end_all_but_cleaning();
    const MonotonicTime end = clock_.now() + kCleaningTime;
    while ((!active_.empty() || !waiting_.empty()) && clock_.now() < end) {
      start_waiting();
      turn();
      curl_multi_poll(multi_, nullptr, 0, kBusyPollMs, nullptr);
    }
    end_all();
  }

  void turn() {
    int running = 0;
    curl_multi_perform(multi_, &running);
    reap();
    sweep();
  }

  // False when the pool is being destroyed.
  bool take_arrivals() {
    const std::lock_guard lock(mutex_);
    while (!arrived_.empty()) {
      waiting_.push_back(std::move(arrived_.front()));
      arrived_.pop_front();
    }
    return !stopping_;
  }

  static tl::unexpected<Error> not_sent(Error error) {
    return tl::unexpected<Error>(std::move(error).with_no_effect());
  }

  TransferPtr pop_waiting() {
    TransferPtr next = std::move(waiting_.front());
    waiting_.pop_front();
    note_left_queue(1);
    return next;
  }

  void note_left_queue(size_t count) {
    const std::lock_guard lock(mutex_);
    queued_ -= count;
  }

  void start_waiting() {
    while (!waiting_.empty() && active_.size() < options_.max_active) {
      TransferPtr next = pop_waiting();
      if (auto over = next->given_up(clock_)) {
        complete(*next, not_sent(std::move(*over)));
        continue;
      }
      CURL* handle = take_handle();
      if (handle == nullptr) {
        complete(*next, not_sent(Error(Errc::kTransient, "no memory for another request")));
        continue;
      }
      if (auto ready = next->prepare(handle, options_, clock_); !ready) {
        release_handle(handle);
        complete(*next, not_sent(std::move(ready).error()));
        continue;
      }
      curl_multi_add_handle(multi_, handle);
      active_.push_back(std::move(next));
    }
  }

  CURL* take_handle() {
    if (idle_.empty()) return curl_easy_init();
    CURL* handle = idle_.back();
    idle_.pop_back();
    return handle;
  }

  void release_handle(CURL* handle) {
    if (idle_.size() >= kMaxIdleHandles) {
      curl_easy_cleanup(handle);
      return;
    }
    curl_easy_reset(handle);
    idle_.push_back(handle);
  }

  void reap() {
    int left = 0;
    while (CURLMsg* message = curl_multi_info_read(multi_, &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      const CURLcode code = message->data.result;
      CURL* handle = message->easy_handle;
      void* self = nullptr;
      curl_easy_getinfo(handle, CURLINFO_PRIVATE, &self);
      const auto it = std::find_if(active_.begin(), active_.end(),
                                   [&](const TransferPtr& t) { return t.get() == self; });
      if (it == active_.end()) continue;
      auto result = (*it)->take_result(code, clock_);
      finish(it, std::move(result));
    }
  }

  void trim() {
    const MonotonicTime now = clock_.now();
    if (now < next_trim_) return;
    next_trim_ = now + kTrimInterval;
    memory_->trim(!active_.empty());
  }

  // Ends what its caller no longer wants.
  void sweep() {
    const MonotonicTime now = clock_.now();
    if (now < next_sweep_) return;
    next_sweep_ = now + kSweepInterval;
    for (auto it = active_.begin(); it != active_.end();) {
      const auto current = it++;
      if (auto over = (*current)->given_up(clock_))
        finish(current, tl::unexpected<Error>(std::move(*over)));
    }
    size_t dropped = 0;
    for (TransferPtr& t : waiting_) {
      if (auto over = t->given_up(clock_)) {
        complete(*t, not_sent(std::move(*over)));
        t.reset();
        ++dropped;
      }
    }
    if (dropped == 0) return;
    std::erase(waiting_, nullptr);
    note_left_queue(dropped);
  }

  void finish(std::list<TransferPtr>::iterator it, Result<HttpResponse> result) {
    CURL* handle = (*it)->handle();
    curl_multi_remove_handle(multi_, handle);
    release_handle(handle);
    complete(**it, std::move(result));
    active_.erase(it);
  }

  void complete(CurlTransfer& transfer, Result<HttpResponse> result) {
    // Shared, because a std::function must be copyable and an answer may be large.
    auto answer = std::make_shared<Result<HttpResponse>>(std::move(result));
    executor_.submit([done = transfer.take_callback(), answer] { done(std::move(*answer)); });
  }

  void end_all_but_cleaning() {
    const Error over = shutting_down();
    for (auto it = active_.begin(); it != active_.end();) {
      const auto current = it++;
      if (!(*current)->cleans_up()) finish(current, tl::unexpected<Error>(over));
    }
    std::deque<TransferPtr> cleaning;
    for (TransferPtr& t : waiting_) {
      if (t->cleans_up())
        cleaning.push_back(std::move(t));
      else
        complete(*t, not_sent(over));
    }
    waiting_.swap(cleaning);
  }

  static Error shutting_down() { return {Errc::kCancelled, "the HTTP client is shutting down"}; }

  void end_all() {
    const Error over = shutting_down();
    while (!active_.empty()) finish(active_.begin(), tl::unexpected<Error>(over));
    for (TransferPtr& t : waiting_) complete(*t, not_sent(over));
    waiting_.clear();
  }

  const CurlOptions options_;
  Executor& executor_;
  Clock& clock_;
  const std::shared_ptr<BytePool> memory_;
  CURLM* multi_ = nullptr;

  RankedMutex<Rank::kPool> mutex_;
  std::deque<TransferPtr> arrived_;
  size_t queued_ = 0;  // arrived and waiting
  bool stopping_ = false;

  // Of the pool's thread alone.
  std::deque<TransferPtr> waiting_;
  std::list<TransferPtr> active_;
  std::vector<CURL*> idle_;
  MonotonicTime next_sweep_{};
  MonotonicTime next_trim_{};

  std::thread thread_;
};

CurlPool::CurlPool(CurlOptions options, Executor& executor, Clock& clock)
    : loop_(Loop::start(std::move(options), executor, clock)) {}

CurlPool::~CurlPool() {
  close();
}

void CurlPool::close() {
  loop_->stop();
}

void CurlPool::send(HttpRequest request, Callback<HttpResponse> done) {
  loop_->submit(std::move(request), std::move(done));
}

}  // namespace cairn
