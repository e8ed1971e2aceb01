// sim: runs simulated lives.
//
//   sim --seed N [--verbose]      one life; again and again the same one
//   sim --seeds A..B [--jobs J]   several
//   sim --seconds S [--jobs J]    new seeds until the time is over
//   sim --forever [--jobs J]      new seeds until one fails
//   sim --canary NAME --seeds A..B   succeeds when the bug NAME is noticed in one of them
//   sim --failpoints FILE --seeds A..B   fails unless FILE names exactly the failpoints reached,
//                                        and a process died at each that is no call to disk or
//                                        store; where few come by it goes on, up to four times as
//                                        many lives
//
// Exit status 0: all lives were good; 1: one was not (its seed is printed); 2: usage.
#include <fmt/format.h>

#include <unistd.h>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "cache/base/log.h"
#include "tests/sim/life.h"

namespace {

using cairn::sim::BucketLie;
using cairn::sim::Lie;
using cairn::sim::Outcome;
using cairn::sim::Wish;

struct Arguments {
  uint64_t first = 1, last = 1;
  unsigned jobs = 2;
  std::optional<std::chrono::seconds> at_most;
  bool forever = false;
  bool verbose = false;
  std::string canary;
  std::string failpoints;
};

// For the handler of a crash: which seeds are running.
std::atomic<uint64_t> running_seeds[16];

void say_seeds(int signal) {
  for (auto& seed : running_seeds) {
    if (seed == 0) continue;
    char line[64];
    const int n = std::snprintf(line, sizeof line, "FAIL seed-%llu: signal %d\n",
                                static_cast<unsigned long long>(seed.load()), signal);
    if (::write(STDOUT_FILENO, line, static_cast<size_t>(n)) < 0) break;
  }
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

std::optional<uint64_t> number(const char* text) {
  char* end = nullptr;
  const uint64_t value = std::strtoull(text, &end, 10);
  if (end == text || *end != '\0') return std::nullopt;
  return value;
}

int usage() {
  std::fputs(
      "usage: sim --seed N | --seeds A..B | --seconds S | --forever  [--jobs J] [--verbose]\n"
      "           [--canary journal-sync|segment-sync|meta-commit|dir-sync|torn-record|\n"
      "                     segment-remove|store-forgets|store-answers-early|store-keeps]\n"
      "           [--failpoints README]\n",
      stderr);
  return 2;
}

bool set_canary(const std::string& name, Wish& wish) {
  static const std::map<std::string, Lie> lies{{"", Lie::kNone},
                                               {"journal-sync", Lie::kJournalSync},
                                               {"segment-sync", Lie::kSegmentSync},
                                               {"meta-commit", Lie::kMetaCommit},
                                               {"dir-sync", Lie::kDirSync},
                                               {"segment-remove", Lie::kSegmentRemove},
                                               {"torn-record", Lie::kTornRecord}};
  static const std::map<std::string, BucketLie> bucket_lies{
      {"store-forgets", BucketLie::kForgets},
      {"store-answers-early", BucketLie::kAnswersEarly},
      {"store-keeps", BucketLie::kKeeps}};
  if (const auto lie = bucket_lies.find(name); lie != bucket_lies.end()) {
    wish.bucket_lie = lie->second;
    return true;
  }
  const auto it = lies.find(name);
  if (it == lies.end()) return false;
  wish.lie = it->second;
  return true;
}

// Seeds that no run had before.
void set_new_seeds(Arguments& out) {
  out.first = static_cast<uint64_t>(std::chrono::system_clock::now().time_since_epoch().count());
  out.last = UINT64_MAX;
}

bool parse(int argc, char** argv, Arguments& out) {
  bool chosen = false;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--verbose") {
      out.verbose = true;
      continue;
    }
    if (name == "--forever") {
      out.forever = chosen = true;
      set_new_seeds(out);
      continue;
    }
    if (i + 1 == argc) return false;
    const std::string value = argv[++i];
    const auto n = number(value.c_str());
    if (name == "--seed" && n) {
      out.first = out.last = *n;
      chosen = true;
    } else if (name == "--seeds") {
      const size_t dots = value.find("..");
      if (dots == std::string::npos) return false;
      const auto first = number(value.substr(0, dots).c_str());
      const auto last = number(value.substr(dots + 2).c_str());
      if (!first || !last) return false;
      out.first = *first;
      out.last = *last;
      chosen = true;
    } else if (name == "--seconds" && n) {
      out.at_most = std::chrono::seconds(*n);
      set_new_seeds(out);
      chosen = true;
    } else if (name == "--jobs" && n && *n >= 1 && *n <= 16) {
      out.jobs = static_cast<unsigned>(*n);
    } else if (name == "--canary") {
      out.canary = value;
    } else if (name == "--failpoints") {
      out.failpoints = value;
    } else {
      return false;
    }
  }
  return chosen;
}

class Runs {
 public:
  explicit Runs(Arguments arguments) : arguments_(std::move(arguments)), next_(arguments_.first) {}
  int go();

 private:
  void work(size_t slot);
  int judge_canary() const;
  bool judge_failpoints(bool say) const;
  void run_threads();

  const Arguments arguments_;
  uint64_t last_ = arguments_.last;
  const std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
  std::atomic<uint64_t> next_;
  std::atomic<bool> enough_{false};
  std::mutex mutex_;
  uint64_t good_ = 0;
  uint64_t bad_ = 0;
  uint64_t first_bad_ = 0;
  double simulated_ = 0;
  std::map<std::string, uint64_t> reached_;
};

void Runs::work(size_t slot) {
  while (!enough_) {
    const uint64_t seed = next_++;
    if (seed > last_) break;
    if (arguments_.at_most && std::chrono::steady_clock::now() - began_ > *arguments_.at_most)
      break;
    running_seeds[slot] = seed;
    Wish wish;
    wish.seed = seed;
    wish.verbose = arguments_.verbose;
    if (!set_canary(arguments_.canary, wish)) std::abort();
    Outcome outcome = live(wish);
    // The same seed is the same life: of some, that is tried.
    if (outcome.good && arguments_.canary.empty() && seed % 16 == 0) {
      wish.verbose = false;
      const Outcome again = live(wish);
      if (again.trace != outcome.trace || again.steps != outcome.steps) {
        outcome.good = false;
        outcome.failure = "the same seed gave two different lives";
      }
    }
    running_seeds[slot] = 0;
    const std::lock_guard lock(mutex_);
    simulated_ += outcome.simulated_seconds;
    for (const auto& [name, count] : outcome.reached) reached_[name] += count;
    if (outcome.good) {
      ++good_;
    } else {
      ++bad_;
      if (first_bad_ == 0 || seed < first_bad_) first_bad_ = seed;
      if (arguments_.canary.empty())
        std::fputs(fmt::format("FAIL seed-{}: {}\n", seed, outcome.failure).c_str(), stdout);
      if (arguments_.forever || !arguments_.canary.empty()) enough_ = true;
    }
    if (arguments_.first == arguments_.last)
      std::fputs(fmt::format("trace {:016x} after {} steps and {:.1f} simulated seconds\n",
                             outcome.trace, outcome.steps, outcome.simulated_seconds)
                     .c_str(),
                 stdout);
    std::fflush(stdout);
  }
}

int Runs::judge_canary() const {
  if (bad_ > 0) {
    std::fputs(fmt::format("canary {}: noticed, seed {}\n1 passed, 0 failed\n", arguments_.canary,
                           first_bad_)
                   .c_str(),
               stdout);
    return 0;
  }
  std::fputs(fmt::format("FAIL canary-{}: {} lives did not notice it\n0 passed, 1 failed\n",
                         arguments_.canary, good_)
                 .c_str(),
             stdout);
  return 1;
}

// The names in the README, in `backquotes` at the start of a table row.
bool Runs::judge_failpoints(bool say) const {
  std::set<std::string> listed;
  std::ifstream file(arguments_.failpoints);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("| `")) continue;
    listed.insert(line.substr(3, line.find('`', 3) - 3));
  }
  bool good = true;
  for (const std::string& name : listed) {
    // Of a call, its kind does not say what it was for.
    const bool is_call =
        name.starts_with("disk.") || name.starts_with("meta.") || name.starts_with("store.");
    const bool reached = reached_.contains(name);
    if (reached && (is_call || reached_.contains("died at " + name))) continue;
    good = false;
    if (!say) continue;
    std::fputs(fmt::format("FAIL failpoint-{}: {}\n", name,
                           reached ? "nothing died there" : "never reached")
                   .c_str(),
               stdout);
  }
  for (const auto& [name, count] : reached_) {
    if (!say || name.find('.') == std::string::npos || name.find(' ') != std::string::npos ||
        listed.contains(name))
      continue;
    std::fputs(fmt::format("FAIL failpoint-{}: not in {}\n", name, arguments_.failpoints).c_str(),
               stdout);
    good = false;
  }
  return good;
}

void Runs::run_threads() {
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < arguments_.jobs; ++i) threads.emplace_back([this, i] { work(i); });
  for (std::thread& thread : threads) thread.join();
}

int Runs::go() {
  run_threads();
  // Which lives come to a rare point is chance, and another one after each change.
  const uint64_t lives = last_ - arguments_.first + 1;
  const bool bounded = !arguments_.at_most && !arguments_.forever;
  const bool judged = !arguments_.failpoints.empty() && bounded;
  for (int more = 0; more < 6 && judged && !judge_failpoints(false); ++more) {
    next_ = last_ + 1;
    last_ += std::max<uint64_t>(lives / 2, 1);
    run_threads();
  }
  if (!arguments_.canary.empty()) return judge_canary();
  for (const auto& [name, count] : reached_)
    std::fputs(fmt::format("{:>9} {}\n", count, name).c_str(), stdout);
  std::fputs(
      fmt::format("{} lives, {:.1f} simulated hours\n", good_ + bad_, simulated_ / 3600).c_str(),
      stdout);
  const bool failpoints_good = arguments_.failpoints.empty() || judge_failpoints(true);
  if (!failpoints_good) ++bad_;
  std::fputs(fmt::format("{} passed, {} failed\n", good_, bad_).c_str(), stdout);
  return bad_ == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  Wish wish;
  if (!parse(argc, argv, arguments) || !set_canary(arguments.canary, wish)) return usage();
  cairn::set_log_level(arguments.verbose ? cairn::LogLevel::kInfo : cairn::LogLevel::kOff);
  for (const int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE}) std::signal(signal, say_seeds);
  return Runs(arguments).go();
}
