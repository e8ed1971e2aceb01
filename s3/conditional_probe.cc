#include "s3/conditional_probe.h"

#include <fmt/format.h>

#include <algorithm>
#include <future>
#include <optional>
#include <vector>

namespace cairn {

namespace {

using Answers = std::vector<Result<std::string>>;

std::string racer_body(const std::string& key, uint32_t racer) {
  return fmt::format("{} racer {}", key, racer);
}

// Starts every create before it waits for the first answer.
Answers race(ObjectStore& store, const std::string& key, uint32_t racers, const Context& context) {
  std::vector<std::promise<Result<std::string>>> promises(racers);
  for (uint32_t i = 0; i < racers; ++i) {
    store.put(key, Body(Buffer::copy(racer_body(key, i))), PutCondition::kIfAbsent, context,
              [&promise = promises[i]](Result<std::string> answer) {
                promise.set_value(std::move(answer));
              });
  }
  Answers answers;
  for (auto& promise : promises) answers.push_back(promise.get_future().get());
  return answers;
}

struct Round {
  uint32_t winners = 0;
  std::string violation;  // empty: the promise was kept
};

// What the answers and the key itself say about a round.
Result<Round> judge(ObjectStore& store, const std::string& key, const Answers& answers,
                    const Context& context) {
  Round round;
  std::vector<uint32_t> candidates;  // whose bytes may be there
  for (uint32_t i = 0; i < answers.size(); ++i) {
    if (answers[i]) {
      ++round.winners;
      candidates.push_back(i);
    }
  }
  if (round.winners == 0) {
    std::optional<Error> unclear;
    for (uint32_t i = 0; i < answers.size(); ++i) {
      const Error& error = answers[i].error();
      if (error.code() == Errc::kPrecondition) continue;
      if (!outcome_unknown(error)) return tl::unexpected<Error>(error);
      unclear = error;
      candidates.push_back(i);
    }
    if (candidates.empty()) {
      round.violation = fmt::format("none of {} creates of a fresh key succeeded", answers.size());
      return round;
    }
    // Nobody was told that he won: without the key the round has no answer.
    if (!get_sync(store, key, GetRange::all(), context)) return tl::unexpected<Error>(*unclear);
  }
  if (round.winners > 1) {
    round.violation =
        fmt::format("{} of {} creates of one key succeeded", round.winners, answers.size());
    return round;
  }
  TRY_ASSIGN(const GetResult there, get_sync(store, key, GetRange::all(), context));
  const auto is_there = [&](uint32_t racer) {
    return as_chars(there.bytes) == racer_body(key, racer);
  };
  if (std::none_of(candidates.begin(), candidates.end(), is_there)) {
    round.violation = "a create that was refused overwrote the one that succeeded";
    return round;
  }
  const auto late =
      put_sync(store, key, Body(Buffer::copy("late")), PutCondition::kIfAbsent, context);
  if (late) {
    round.violation = "a create of a key that exists succeeded";
  } else if (late.error().code() != Errc::kPrecondition) {
    return tl::unexpected<Error>(late.error());
  }
  return round;
}

}  // namespace

Result<ProbeReport> probe_conditional_create(ObjectStore& store, const std::string& prefix,
                                             Rng& rng, const Context& context,
                                             ProbeOptions options) {
  ProbeReport report;
  report.racers = std::max(options.racers, 2U);
  const std::string name = prefix + "probe-" + uuid_text(make_uuid(rng));
  for (uint32_t i = 0; i < options.rounds; ++i) {
    const std::string key = fmt::format("{}-{}", name, i);
    const Answers answers = race(store, key, report.racers, context);
    const Result<Round> round = judge(store, key, answers, context);
    if (!remove_sync(store, key, context)) ++report.keys_left;
    if (!round) {
      return tl::unexpected<Error>(
          Error(round.error()).wrap("cannot tell whether the store honours conditional creates"));
    }
    ++report.rounds;
    report.winners_max = std::max(report.winners_max, round->winners);
    if (round->violation.empty()) continue;
    ++report.violations;
    if (report.first_violation.empty()) report.first_violation = round->violation;
  }
  return report;
}

}  // namespace cairn
