#include "cache/commit_log.h"

#include <doctest/doctest.h>

#include <atomic>
#include <thread>

#include "cache/format/commit.h"
#include "cache/format/mst.h"
#include "cache/store_keys.h"
#include "s3/memory_store.h"
#include "tests/support/faulty_store.h"
#include "tests/support/manual_clock.h"

using namespace cairn;
using test::FaultKind;
using test::StoreOp;

namespace {
Uuid cache(uint8_t n) {
  Uuid id{};
  id[0] = std::byte{n};
  return id;
}

WriterOptions writer(uint8_t n, bool takeover = false) {
  WriterOptions options;
  options.cache_id = cache(n);
  options.host = "host-" + std::to_string(n);
  options.takeover = takeover;
  return options;
}

struct Fixture {
  test::ManualClock clock;
  std::unique_ptr<Rng> rng = make_seeded_rng(1);
  ThreadExecutor executor{"commits", 4};  // finishes what is under way before the others go
  std::shared_ptr<MemoryStore> memory = std::make_shared<MemoryStore>(executor, clock);
  test::FaultyStore store{memory, {executor, clock, *rng}};

  CommitLog::Options options(bool unsafe = false) {
    CommitLog::Options fast;
    fast.unsafe_single_writer = unsafe;
    fast.backoff_first = std::chrono::milliseconds(1);
    fast.backoff_max = std::chrono::milliseconds(4);
    return fast;
  }
  // The clock of pauses is the real one: the manual one only ages what was seen.
  CommitLog log(bool unsafe = false) {
    return CommitLog(store, executor, clock, *rng, options(unsafe));
  }

  CommitRecord record(uint64_t seq, const Digest& previous = {}) {
    CommitRecord record;
    record.seq = seq;
    record.epoch = 1;
    record.nonce[0] = static_cast<std::byte>(rng->next());
    record.nonce[1] = static_cast<std::byte>(rng->next());
    record.writer.host = "maker";
    if (seq > 1) record.previous = CommitRecord::Previous{seq - 1, previous};
    record.root = Cid::from_digest(Codec::kDagCbor, sha256(as_bytes(std::to_string(seq))));
    record.time_ns = clock.wall_ns();
    return record;
  }
  static Buffer encoded(const CommitRecord& record) { return Buffer(record.encode().value()); }

  void put(const std::string& key, Buffer bytes) {
    REQUIRE(put_sync(*memory, key, Body(std::move(bytes)), PutCondition::kAlways, {}));
  }
  void put(const std::string& key, const std::string& text) { put(key, Buffer::copy(text)); }
  Buffer bytes_at(const std::string& key) {
    return get_sync(*memory, key, GetRange::all(), {}).value().bytes;
  }
  void make_history(uint64_t count) {
    Digest previous;
    for (uint64_t seq = 1; seq <= count; ++seq) {
      const Buffer bytes = encoded(record(seq, previous));
      previous = sha256(bytes);
      put(commit_key(seq), bytes);
    }
  }
  Cid root(uint64_t seq) {
    return Cid::from_digest(Codec::kDagCbor, sha256(as_bytes(std::to_string(seq))));
  }
};

Context soon() {
  Context context;
  context.deadline = Deadline(MonotonicTime::max());
  return context;
}
}  // namespace

TEST_CASE_FIXTURE(Fixture, "the head is found whatever the hint says, with few requests") {
  constexpr uint64_t kHead = 1000;
  make_history(kHead);
  CommitLog commits = log();
  for (const char* hint :
       {"", "1000\n", "999\n", "17\n", "5000\n", "18446744073709551615\n", "what"}) {
    CAPTURE(hint);
    if (*hint != 0) put(std::string(kHeadKey), hint);
    const uint64_t before = store.requests();
    const auto head = commits.find_head(std::nullopt, soon());
    REQUIRE(head);
    CHECK(head->record->seq == kHead);
    CHECK(head->digest == sha256(bytes_at(commit_key(kHead))));
    CHECK(store.requests() - before <= 26);  // 2 + 2 x log2(1000) and a few
  }
  put(std::string(kHeadKey), std::string("1000\n"));
  const uint64_t before = store.requests();
  REQUIRE(commits.find_head(std::nullopt, soon()));
  CHECK(store.requests() - before == 4);  // HEAD, gc.boundary, the head, what is behind it
}

TEST_CASE_FIXTURE(Fixture, "the search starts at the boundary where older commits are gone") {
  make_history(60);
  for (uint64_t seq = 1; seq < 40; ++seq) REQUIRE(remove_sync(*memory, commit_key(seq), {}));
  put(std::string(kBoundaryKey), std::string("40\n"));
  put(std::string(kHeadKey), std::string("3\n"));
  CommitLog commits = log();
  REQUIRE(commits.find_head(std::nullopt, soon()).value().record->seq == 60);
  // What a cache saw before the boundary cannot be compared, and need not be.
  CHECK(commits.find_head(LastSeen{3, root(3)}, soon()));
  CHECK(commits.find_head(LastSeen{45, root(45)}, soon()));
  CHECK_FALSE(commits.find_head(LastSeen{45, root(44)}, soon()));
}

TEST_CASE_FIXTURE(Fixture, "a store that went back in time is refused") {
  make_history(10);
  CommitLog commits = log();
  const auto refused = [&](uint64_t seq, const Cid& tree) {
    const auto head = commits.find_head(LastSeen{seq, tree}, soon());
    REQUIRE_FALSE(head);
    CHECK(head.error().code() == Errc::kCorruption);
    CHECK(head.error().message().find("back in time") != std::string::npos);
  };
  CHECK(commits.find_head(LastSeen{10, root(10)}, soon()));
  CHECK(commits.find_head(LastSeen{4, root(4)}, soon()));
  refused(12, root(12));
  refused(10, root(9));
  refused(4, root(5));
}

TEST_CASE_FIXTURE(Fixture, "without commits there is no volume; a damaged one is named") {
  CommitLog commits = log();
  CHECK(commits.find_head(std::nullopt, soon()).error().code() == Errc::kNotFound);
  make_history(2);
  put(commit_key(2), std::string("no record"));
  const auto head = commits.find_head(std::nullopt, soon());
  REQUIRE_FALSE(head);
  CHECK(head.error().code() == Errc::kCorruption);
  CHECK(head.error().message().find(commit_key(2)) != std::string::npos);
  put(commit_key(2), encoded(record(3, {})));
  CHECK(commits.find_head(std::nullopt, soon()).error().code() == Errc::kCorruption);
}

TEST_CASE_FIXTURE(Fixture, "followers need one request when there is nothing new") {
  make_history(3);
  CommitLog commits = log();
  const auto seen = commits.find_head(std::nullopt, soon());
  uint64_t before = store.requests();
  CHECK_FALSE(commits.find_newer(*seen, soon()).value());
  CHECK(store.requests() - before == 1);
  put(commit_key(4), encoded(record(4, seen->digest)));
  put(commit_key(5), encoded(record(5)));
  CHECK(commits.find_newer(*seen, soon()).value()->record->seq == 5);
  // One that slept while all it knew was removed finds the boundary.
  for (uint64_t seq = 1; seq <= 4; ++seq) REQUIRE(remove_sync(*memory, commit_key(seq), {}));
  put(std::string(kBoundaryKey), std::string("5\n"));
  clock.advance(std::chrono::hours(30));
  CHECK(commits.find_newer(*seen, soon()).value()->record->seq == 5);
}

TEST_CASE_FIXTURE(Fixture, "every unclear outcome of a create is decided by reading it back") {
  make_history(1);
  CommitLog commits = log();
  REQUIRE(commits.find_head(std::nullopt, soon()));
  const Buffer ours = encoded(record(2));
  const auto create = [&] { return commits.create(2, ours, soon()); };
  const auto fault = [&](FaultKind kind, StoreOp op, uint32_t count, Errc code = Errc::kTransient) {
    test::StoreFault rule;
    rule.kind = kind;
    rule.ops = op;
    rule.prefix = "c/";
    rule.count = count;
    rule.code = code;
    store.add(rule);
  };
  SUBCASE("nothing happened, several times") {
    fault(FaultKind::kFail, StoreOp::kPut, 4);
  }
  SUBCASE("a timeout, not carried out") {
    fault(FaultKind::kFail, StoreOp::kPut, 1, Errc::kTimeout);
  }
  SUBCASE("carried out, the reply lost") {
    fault(FaultKind::kLoseReply, StoreOp::kPut, 1);
  }
  SUBCASE("carried out, the reply lost, and reading fails, too") {
    fault(FaultKind::kLoseReply, StoreOp::kPut, 1);
    fault(FaultKind::kFail, StoreOp::kGet, 3);
  }
  SUBCASE("carried out, the reply lost, and read back broken") {
    fault(FaultKind::kLoseReply, StoreOp::kPut, 1);
    fault(FaultKind::kTruncate, StoreOp::kGet, 2);
  }
  SUBCASE("refused although nothing is there") {
    fault(FaultKind::kRefuseCreate, StoreOp::kPut, 2);
  }
  SUBCASE("throttled") {
    fault(FaultKind::kThrottle, StoreOp::kPut, 2);
  }
  SUBCASE("sent before the process died") {
    put(commit_key(2), ours);
  }
  const auto created = create();
  REQUIRE(created);
  CHECK(created->record->seq == 2);
  CHECK(equal(bytes_at(commit_key(2)), ours));
  CHECK(create());  // and again
}

TEST_CASE_FIXTURE(Fixture, "a create that lost says so, whatever the reply was") {
  make_history(1);
  CommitLog commits = log();
  put(commit_key(2), encoded(record(2)));
  test::StoreFault fault;
  fault.ops = StoreOp::kPut;
  SUBCASE("412") {
    fault.count = 0;
  }
  SUBCASE("a timeout") {
    fault.code = Errc::kTimeout;
  }
  SUBCASE("a 5xx") {
    fault.code = Errc::kTransient;
  }
  if (fault.count != 0) store.add(fault);
  const auto lost = commits.create(2, encoded(record(2)), soon());
  REQUIRE_FALSE(lost);
  CHECK(lost.error().code() == Errc::kPrecondition);
  CHECK(lost.error().message().find("maker") != std::string::npos);
  CHECK(commits.lost_to(2, soon()).code() == Errc::kFenced);
}

TEST_CASE_FIXTURE(Fixture, "a refused create is an error at once; a cancelled one stops") {
  make_history(1);
  CommitLog commits = log();
  test::StoreFault fault;
  fault.ops = StoreOp::kPut;
  fault.code = Errc::kPermission;
  store.add(fault);
  CHECK(commits.create(2, encoded(record(2)), soon()).error().code() == Errc::kPermission);
  CHECK(store.hits() == 1);
  fault.code = Errc::kTransient;
  fault.count = test::FaultyStore::kForever;
  store.add(fault);
  Context context;
  std::thread interrupt([&] {
    while (store.hits() < 5) std::this_thread::yield();
    context.cancel.cancel();
  });
  const auto cancelled = commits.create(2, encoded(record(2)), context);
  interrupt.join();
  REQUIRE_FALSE(cancelled);
}

TEST_CASE_FIXTURE(Fixture, "a store without conditional creates: look, write, read back") {
  make_history(1);
  CommitLog commits = log(/*unsafe=*/true);
  const Buffer ours = encoded(record(2));
  REQUIRE(commits.create(2, ours, soon()));
  CHECK(commits.create(2, ours, soon()));
  CHECK(commits.create(2, encoded(record(2)), soon()).error().code() == Errc::kPrecondition);
  CHECK(equal(bytes_at(commit_key(2)), ours));
}

TEST_CASE_FIXTURE(Fixture, "a writer that slept for a day does not trust a number that is free") {
  make_history(2);
  CommitLog commits = log();
  const auto head = commits.find_head(std::nullopt, soon());
  // Meanwhile others wrote 3 to 9, and the collector removed what was below 9.
  put(std::string(kBoundaryKey), std::string("9\n"));
  clock.advance(std::chrono::hours(25));
  const auto stale = commits.create(3, encoded(record(3, head->digest)), soon());
  REQUIRE_FALSE(stale);
  CHECK(stale.error().code() == Errc::kFenced);
}

TEST_CASE_FIXTURE(Fixture, "nor when its own collection wrote the boundary after it slept") {
  make_history(2);
  CommitLog commits = log();
  const auto head = commits.find_head(std::nullopt, soon());
  clock.advance(std::chrono::hours(25));
  // Others went on to 9 and removed what was below; then the sleeper's late write came.
  for (uint64_t seq = 1; seq <= 2; ++seq) REQUIRE(remove_sync(*memory, commit_key(seq), {}));
  put(std::string(kBoundaryKey), std::string("2\n"));
  const auto stale = commits.create(3, encoded(record(3, head->digest)), soon());
  REQUIRE_FALSE(stale);
  CHECK(stale.error().code() == Errc::kFenced);
}

TEST_CASE_FIXTURE(Fixture, "the boundary is read twice and never goes back") {
  make_history(60);
  CommitLog commits = log();
  CHECK(commits.oldest(soon()).value() == 1);
  REQUIRE(commits.raise_oldest(40, soon()));
  CHECK(bytes_at(std::string(kBoundaryKey)).size() == 3);
  REQUIRE(commits.raise_oldest(30, soon()));
  CHECK(commits.oldest(soon()).value() == 40);
  CHECK(log().oldest(soon()).value() == 40);
  // One answer that is old, or has a wrong bit.
  for (const auto kind : {test::FaultKind::kStale, test::FaultKind::kFlipByte}) {
    store.add({.kind = kind, .prefix = std::string(kBoundaryKey)});
    CHECK_FALSE(commits.oldest(soon()));
    store.clear();
  }
  // What was seen here before counts more than an old answer.
  put(std::string(kBoundaryKey), std::string("20\n"));
  CHECK(commits.oldest(soon()).value() == 40);
}

TEST_CASE_FIXTURE(Fixture, "opening: closed, ours, another's, taken over") {
  make_history(1);
  CommitLog commits = log();
  const auto first = commits.open_writer(writer(1), soon());
  REQUIRE(first);
  CHECK(first->slot == 1);
  CHECK_FALSE(first->took_over);
  CHECK(first->before.record->seq == 1);
  CHECK(first->opening.record->epoch == 2);
  CHECK(first->opening.record->writer.open);
  CHECK(first->opening.record->root == first->before.record->root);
  CHECK(first->opening.record->previous->digest == first->before.digest);

  clock.advance(std::chrono::minutes(7));
  const auto refused = commits.open_writer(writer(2), soon());
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == Errc::kPrecondition);
  for (const char* part : {"host-1", "7 min ago", "--read-only", "--takeover"})
    CHECK(refused.error().message().find(part) != std::string::npos);

  const auto again = commits.open_writer(writer(1), soon());
  REQUIRE(again);  // after a crash: ours
  CHECK(again->slot == 1);
  CHECK(again->opening.record->epoch == 3);

  const auto taken = commits.open_writer(writer(2, /*takeover=*/true), soon());
  REQUIRE(taken);
  CHECK(taken->took_over);
  CHECK(taken->slot == 2);
  CHECK(taken->opening.record->slots.size() == 2);

  // The older writer cannot publish any more, and learns who can.
  CommitRecord late = *again->opening.record;
  late.seq += 1;
  late.previous = CommitRecord::Previous{again->opening.record->seq, again->opening.digest};
  const auto lost = commits.create(late.seq, encoded(late), soon());
  CHECK(lost.error().code() == Errc::kPrecondition);
  const Error fenced = commits.lost_to(late.seq, soon());
  CHECK(fenced.code() == Errc::kFenced);
  CHECK(fenced.message().find("host-2") != std::string::npos);
}

TEST_CASE_FIXTURE(Fixture, "opening right after the head was found is one create") {
  make_history(5);
  CommitLog commits = log();
  const auto head = commits.find_head(std::nullopt, soon());
  REQUIRE(head);
  WriterOptions options = writer(1);
  options.last_seen = LastSeen{head->record->seq, head->record->root};
  uint64_t before = store.requests();
  REQUIRE(commits.open_writer(options, soon()));
  CHECK(store.requests() - before == 2);  // and the hint

  // Somebody was faster, and has it open or left.
  for (const bool left : {false, true}) {
    CommitLog slow = log();
    const auto found = slow.find_head(std::nullopt, soon());
    REQUIRE(found);
    CommitRecord other = *found->record;
    other.seq += 1;
    other.epoch += 1;
    other.previous = CommitRecord::Previous{found->record->seq, found->digest};
    other.writer.cache_id = writer(2).cache_id;
    other.writer.open = !left;
    REQUIRE(log().create(other.seq, encoded(other), soon()));
    options.last_seen = LastSeen{found->record->seq, found->record->root};
    const auto opened = slow.open_writer(options, soon());
    CHECK(opened.has_value() == left);
    if (!opened) CHECK(opened.error().code() == Errc::kPrecondition);
    if (opened) CHECK(opened->before.record->seq == other.seq);
    CommitLog own = log();
    WriterOptions again = writer(1, /*takeover=*/true);
    REQUIRE(own.open_writer(again, soon()));
  }

  // Who was refused for another that left meanwhile is not told so from memory.
  CommitLog commits_of_2 = log();
  REQUIRE(commits_of_2.find_head(std::nullopt, soon()));
  CHECK_FALSE(commits_of_2.open_writer(writer(2), soon()));
  CommitRecord closed = *log().find_head(std::nullopt, soon())->record;
  closed.previous =
      CommitRecord::Previous{closed.seq, log().find_head(std::nullopt, soon())->digest};
  closed.seq += 1;
  closed.writer.open = false;
  REQUIRE(log().create(closed.seq, encoded(closed), soon()));
  CHECK(commits_of_2.open_writer(writer(2), soon()));

  // What was found long ago is looked for again.
  CommitLog idle = log();
  const auto old = idle.find_head(std::nullopt, soon());
  REQUIRE(old);
  clock.advance(std::chrono::seconds(11));
  before = store.requests();
  REQUIRE(idle.open_writer(writer(2), soon()));
  CHECK(store.requests() - before >= 5);
}

TEST_CASE_FIXTURE(Fixture, "of writers that open at the same time one wins") {
  make_history(1);
  constexpr int kWriters = 6;
  std::vector<Result<OpenedWriter>> opened(kWriters, fail(Errc::kIo, "not run"));
  std::vector<std::thread> threads;
  for (int i = 0; i < kWriters; ++i)
    threads.emplace_back([&, i] {
      CommitLog own = log();
      opened[static_cast<size_t>(i)] = own.open_writer(writer(static_cast<uint8_t>(i + 1)), soon());
    });
  for (auto& thread : threads) thread.join();
  int won = 0;
  for (const auto& result : opened) {
    won += result ? 1 : 0;
    if (!result) CHECK(result.error().code() == Errc::kPrecondition);
  }
  CHECK(won == 1);
  CHECK(log().find_head(std::nullopt, soon()).value().record->seq == 2);
}

TEST_CASE_FIXTURE(Fixture, "an opening is shown before it is sent, and costs few requests") {
  make_history(5);
  put(std::string(kHeadKey), std::string("5\n"));
  CommitLog commits = log();
  WriterOptions options = writer(1);
  uint64_t shown = 0;
  options.intended = [&](uint64_t seq, Bytes bytes) -> Status {
    shown = seq;
    CHECK(CommitRecord::decode(bytes).value().writer.open);
    CHECK_FALSE(get_sync(*memory, commit_key(seq), GetRange::all(), {}));
    return {};
  };
  const uint64_t before = store.requests();
  const auto opened = commits.open_writer(options, soon());
  REQUIRE(opened);
  CHECK(shown == 6);
  // HEAD, gc.boundary, the head, the number behind it, the create. A commit costs its create.
  CHECK(store.requests() - before == 5);
  CommitRecord next = *opened->opening.record;
  next.seq = 7;
  next.previous = CommitRecord::Previous{6, opened->opening.digest};
  REQUIRE(commits.create(7, encoded(next), soon()));
  commits.hint_head(7);
  CHECK(store.requests() - before == 6);
  commits.hint_head(7);  // too soon after the last
  CHECK(store.requests() - before == 6);
  // Who leaves has written it when he goes.
  put(std::string(kHeadKey), std::string("6\n"));
  store.add({.kind = FaultKind::kHold, .ops = StoreOp::kPut});
  std::atomic<bool> let_go{false};
  executor.submit([&] {
    while (store.held() == 0) std::this_thread::yield();
    let_go = true;
    store.release();
  });
  commits.leave_hint(7, soon());
  CHECK(let_go);
  CHECK(store.requests() - before == 7);
  CHECK(as_chars(bytes_at(std::string(kHeadKey))) == "7\n");
}

TEST_CASE("names of objects and their inverse") {
  const Digest digest = sha256(as_bytes("x"));
  CHECK(commit_key(42) == "c/00000000000000000042");
  CHECK(parse_commit_key(commit_key(UINT64_MAX)) == UINT64_MAX);
  CHECK(parse_pack_key(pack_key(digest)) == digest);
  CHECK(parse_index_key(index_key(digest)) == digest);
  for (const char* key : {"c/", "c/1", "c/0000000000000000004x", "c/000000000000000000042", "p/",
                          "c/99999999999999999999", "x/aa/bb.idx"}) {
    CAPTURE(key);
    CHECK_FALSE(parse_commit_key(key));
    CHECK_FALSE(parse_pack_key(key));
    CHECK_FALSE(parse_index_key(key));
  }
  std::string other = pack_key(digest);
  other[2] = other[2] == '0' ? '1' : '0';
  CHECK_FALSE(parse_pack_key(other));
  CHECK(parse_number_text(number_text(77)) == 77U);
  CHECK_FALSE(parse_number_text(""));
  CHECK_FALSE(parse_number_text("-1"));
}
