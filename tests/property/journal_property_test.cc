// The journal under every damage: what is replayed is an exact prefix, and a prefix that lacks
// something durable is refused.
#include <doctest/doctest.h>
#include <rapidcheck.h>

#include "cache/base/coding.h"
#include "cache/base/log.h"
#include "cache/journal.h"
#include "cache/journal_format.h"
#include "cache/segments.h"
#include "tests/support/memory_env.h"

using namespace cairn;
using cairn::test::MemoryEnv;

namespace {

const std::string kDir = "/cache/journal";

Journal::Options small_options() {
  return {.dir = kDir,
          .cache_id = {std::byte{7}},
          .file_bytes_max = 250,
          .record_bytes_max = 300,
          .sync_data = {}};
}

struct QuietLog {
  QuietLog() { set_log_level(LogLevel::kOff); }
  ~QuietLog() { set_log_level(LogLevel::kInfo); }
};

std::string path_of(Lsn first) {
  std::array<std::byte, 8> number{};
  put_be64(number.data(), first);
  return kDir + "/" + to_hex(number) + ".log";
}

std::string payload_of(Lsn lsn) {
  return std::string(lsn * 37 % 90, static_cast<char>('a' + lsn % 26)) + std::to_string(lsn);
}

Status append_one(Journal& journal, Lsn lsn) {
  const std::string payload = payload_of(lsn);
  const size_t half = payload.size() / 2;
  const Bytes parts[] = {as_bytes(payload).first(half), as_bytes(payload).subspan(half)};
  TRY_ASSIGN(const Journal::Appended done, journal.append(static_cast<uint8_t>(lsn), parts));
  if (done.lsn != lsn) return fail(Errc::kInvalid, "got another LSN");
  return {};
}

// A small journal of several files with syncs in between, and where everything in it lies.
struct Sample {
  struct FrameAt {
    Lsn lsn;
    Lsn durable;
    uint64_t begin;
    uint64_t end;
  };
  struct FileBytes {
    Lsn first;
    Lsn durable;
    ByteVec bytes;
    std::vector<FrameAt> frames;
  };
  std::vector<FileBytes> files;
  Lsn last = 0;
};

Sample make_sample(Lsn count, Lsn sync_every) {
  MemoryEnv env;
  Sample sample;
  sample.last = count;
  std::vector<Lsn> firsts;
  {
    auto journal = Journal::open(env, small_options(), 0, 0, {}).value();
    for (Lsn lsn = 1; lsn <= count; ++lsn) {
      REQUIRE(append_one(*journal, lsn));
      if (lsn % sync_every == 0) REQUIRE(journal->sync(lsn - 1));
    }
  }
  const auto names = env.list_dir(kDir).value();
  for (const std::string& name : names) {
    Sample::FileBytes file;
    file.bytes = read_file(env, kDir + "/" + name, 1 << 20).value();
    const auto header = decode_journal_header(Bytes(file.bytes).first(kJournalHeaderBytes)).value();
    file.first = header.first;
    file.durable = header.durable;
    const auto opened = env.open(kDir + "/" + name, OpenMode::kRead).value();
    FrameReader reader(*opened, frame_seed(header), kJournalHeaderBytes, file.bytes.size(), 300);
    for (Lsn lsn = file.first;; ++lsn) {
      const auto frame = reader.next(lsn).value();
      if (!frame) break;
      file.frames.push_back({lsn, frame->durable, frame->offset, frame->end()});
    }
    sample.files.push_back(std::move(file));
  }
  return sample;
}

// What must come of a damaged copy: the number of records, or nullopt for a refusal.
std::optional<Lsn> expected_records(const Sample& whole, const std::vector<ByteVec>& damaged,
                                    Lsn durable_at_least) {
  const auto same = [&](size_t file, uint64_t begin, uint64_t end) {
    return damaged[file].size() >= end &&
           equal(Bytes(damaged[file]).subspan(begin, end - begin),
                 Bytes(whole.files[file].bytes).subspan(begin, end - begin));
  };
  Lsn next = 1;
  Lsn durable = durable_at_least;
  bool ended = false;
  for (size_t i = 0; i < damaged.size(); ++i) {
    if (!same(i, 0, kJournalHeaderBytes)) {
      const bool half_made = damaged[i].size() <= kJournalHeaderBytes;
      if (!half_made || (i + 1 < damaged.size() && !ended)) return std::nullopt;
      continue;
    }
    if (whole.files[i].first != next) ended = true;
    if (ended) durable = std::max(durable, whole.files[i].durable);
    for (const auto& frame : whole.files[i].frames) {
      const bool intact = same(i, frame.begin, frame.end);
      if (!intact) ended = true;
      if (intact && !ended) ++next;
      if (intact && ended) durable = std::max(durable, frame.durable);
    }
  }
  return next > durable ? std::optional(next - 1) : std::nullopt;
}

void write_files(MemoryEnv& env, const Sample& whole, const std::vector<ByteVec>& damaged) {
  REQUIRE(env.make_dirs(kDir));
  for (size_t i = 0; i < damaged.size(); ++i) {
    const auto file = env.open(path_of(whole.files[i].first), OpenMode::kCreateNew).value();
    REQUIRE(file->write_at(0, damaged[i]));
  }
}

// Replays and checks that what comes is 1, 2, 3 ... as it was written; gives the last LSN.
Result<Lsn> replay_all(Env& env, std::unique_ptr<Journal>* out = nullptr, Lsn durable = 0) {
  Lsn last = 0;
  bool exact = true;
  auto journal = Journal::open(env, small_options(), 0, durable,
                               [&](const JournalRecord& record) -> Result<bool> {
                                 exact = exact && record.lsn == last + 1 &&
                                         record.type == static_cast<uint8_t>(record.lsn) &&
                                         as_chars(record.payload) == payload_of(record.lsn);
                                 ++last;
                                 return true;
                               });
  if (!exact) return fail(Errc::kInvalid, "a wrong record was delivered");
  if (!journal) return tl::unexpected(std::move(journal).error());
  if ((*journal)->appended() != last) return fail(Errc::kInvalid, "LSNs do not go on");
  if (out != nullptr) *out = std::move(*journal);
  return last;
}

bool check_damaged(const Sample& whole, const std::vector<ByteVec>& damaged, Lsn durable = 0) {
  MemoryEnv env;
  write_files(env, whole, damaged);
  const auto expected = expected_records(whole, damaged, durable);
  std::unique_ptr<Journal> journal;
  const auto got = replay_all(env, &journal, durable);
  if (!expected) {
    if (got || got.error().code() != Errc::kCorruption) return false;
    // A refusal names the place and changes nothing.
    if (got.error().message().find(kDir) == std::string::npos) return false;
    for (size_t i = 0; i < damaged.size(); ++i)
      if (read_file(env, path_of(whole.files[i].first), 1 << 20).value() != damaged[i])
        return false;
    return true;
  }
  if (!got || *got != *expected) return false;
  // What was cut off is gone for good: it does not come back behind new records.
  if (journal->durable() != *got) return false;
  if (!append_one(*journal, *got + 1) || !journal->sync(*got + 1)) return false;
  journal.reset();
  const auto again = replay_all(env);
  return again && *again == *got + 1;
}

std::vector<ByteVec> bytes_of(const Sample& sample) {
  std::vector<ByteVec> out;
  for (const auto& file : sample.files) out.push_back(file.bytes);
  return out;
}

}  // namespace

TEST_CASE("a journal cut off or flipped at any byte gives an exact prefix or is refused") {
  const QuietLog quiet;
  for (const Lsn sync_every : {100, 3}) {
    const Sample whole = make_sample(9, sync_every);
    REQUIRE(whole.files.size() >= 3);
    REQUIRE(expected_records(whole, bytes_of(whole), 0) == 9);
    CHECK(check_damaged(whole, bytes_of(whole)));
    int refused = 0;
    int shortened = 0;
    for (size_t file = 0; file < whole.files.size(); ++file)
      for (size_t at = 0; at < whole.files[file].bytes.size(); ++at) {
        auto cut = bytes_of(whole);
        cut[file].resize(at);
        auto flipped = bytes_of(whole);
        flipped[file][at] ^= std::byte{0x10};
        CAPTURE(file);
        CAPTURE(at);
        CHECK(check_damaged(whole, cut));
        CHECK(check_damaged(whole, flipped));
        for (const auto& damaged : {cut, flipped}) {
          const auto records = expected_records(whole, damaged, 0);
          if (!records) ++refused;
          if (records && *records < 9) ++shortened;
        }
      }
    CHECK(refused > 0);
    CHECK(shortened > 0);
  }
}

TEST_CASE("holes, zeroes and garbage anywhere give an exact prefix or are refused") {
  const QuietLog quiet;
  CHECK(rc::check("damage", [] {
    const auto count = *rc::gen::inRange<Lsn>(1, 14);
    const Sample whole = make_sample(count, *rc::gen::inRange<Lsn>(1, 9));
    auto damaged = bytes_of(whole);
    for (int i = *rc::gen::inRange(1, 4); i > 0; --i) {
      ByteVec& bytes = damaged[*rc::gen::inRange<size_t>(0, damaged.size())];
      if (bytes.empty()) continue;
      const auto from = *rc::gen::inRange<size_t>(0, bytes.size());
      const auto to = *rc::gen::inRange<size_t>(from, bytes.size() + 1);
      const auto rng = make_seeded_rng(from);
      switch (*rc::gen::inRange(0, 3)) {
        case 0:
          bytes.resize(from);
          break;
        case 1:
          std::fill(bytes.begin() + static_cast<ptrdiff_t>(from),
                    bytes.begin() + static_cast<ptrdiff_t>(to), std::byte{0});
          break;
        default:
          for (size_t at = from; at < to; ++at) bytes[at] = static_cast<std::byte>(rng->next());
      }
    }
    const auto durable = *rc::gen::inRange<Lsn>(0, count + 1);
    RC_ASSERT(check_damaged(whole, damaged, *rc::gen::element<Lsn>(0, durable)));
  }));
}

TEST_CASE("a missing file in the middle is damage; missing trimmed files are not") {
  const QuietLog quiet;
  const Sample whole = make_sample(9, 2);
  REQUIRE(whole.files.size() >= 3);
  for (size_t gone = 0; gone < whole.files.size(); ++gone) {
    MemoryEnv env;
    write_files(env, whole, bytes_of(whole));
    REQUIRE(env.remove(path_of(whole.files[gone].first)));
    const bool is_last = gone + 1 == whole.files.size();
    const auto got = replay_all(env);
    if (is_last) {
      CHECK(got.value() == whole.files[gone].first - 1);
    } else {
      CHECK(got.error().code() == Errc::kCorruption);
    }
  }
  MemoryEnv env;
  write_files(env, whole, bytes_of(whole));
  REQUIRE(env.remove(path_of(1)));
  const Lsn trimmed = whole.files[1].first - 1;
  std::vector<Lsn> seen;
  const auto journal =
      Journal::open(env, small_options(), trimmed + 1, 0, [&](const JournalRecord& record) {
        seen.push_back(record.lsn);
        return Result<bool>(true);
      }).value();
  CHECK(journal->trimmed() == trimmed);
  CHECK(seen.front() == trimmed + 2);
  CHECK(seen.back() == 9);
}

TEST_CASE("replay may end the log, but not below what was durable") {
  const QuietLog quiet;
  const Sample whole = make_sample(9, 4);  // from record 9 on it is known that 1 to 7 are durable
  for (Lsn refused = 1; refused <= 9; ++refused) {
    MemoryEnv env;
    write_files(env, whole, bytes_of(whole));
    auto journal = Journal::open(
        env, small_options(), 0, 0,
        [&](const JournalRecord& record) -> Result<bool> { return record.lsn != refused; });
    Lsn durable = 0;
    for (const auto& file : whole.files)
      for (const auto& frame : file.frames)
        if (frame.lsn > refused) durable = std::max(durable, frame.durable);
    CAPTURE(refused);
    if (refused <= durable) {
      CHECK(journal.error().code() == Errc::kCorruption);
      CHECK(replay_all(env).value() == 9);  // nothing was cut off
    } else {
      REQUIRE(journal);
      CHECK((*journal)->appended() == refused - 1);
      journal->reset();
      CHECK(replay_all(env).value() == refused - 1);
    }
  }
  MemoryEnv env;
  write_files(env, whole, bytes_of(whole));
  const auto failed = Journal::open(env, small_options(), 0, 0, [](const JournalRecord&) {
    return Result<bool>(fail(Errc::kNoSpace, "from the caller"));
  });
  CHECK(failed.error().message() == "from the caller");
}

TEST_CASE("a frame inside a payload is never a record") {
  const QuietLog quiet;
  MemoryEnv env;
  {
    auto journal = Journal::open(env, small_options(), 0, 0, {}).value();
    REQUIRE(append_one(*journal, 1));
    ByteVec inner;
    const Bytes parts[] = {as_bytes("made up")};
    encode_frame(inner, 0, 2, 1, 2, parts);
    encode_frame(inner, 0, 3, 2, 3, parts);
    const Bytes outer[] = {inner};
    REQUIRE(journal->append(2, outer));
  }
  const auto file = env.open(path_of(1), OpenMode::kReadWrite).value();
  const auto header_bytes = read_file(env, path_of(1), 1 << 20).value();
  const auto header = decode_journal_header(Bytes(header_bytes).first(kJournalHeaderBytes)).value();
  FrameReader reader(*file, frame_seed(header), kJournalHeaderBytes, header_bytes.size(), 300);
  REQUIRE(reader.next(1).value());
  REQUIRE(file->write_at(reader.offset(), as_bytes("torn")));
  CHECK(replay_all(env).value() == 1);
}

TEST_CASE("what was synced survives power cuts, data first, and the rest is a prefix") {
  const QuietLog quiet;
  CHECK(rc::check("lives", [] {
    struct Record {
      DataRef ref;
      ByteVec data;
    };
    MemoryEnv env;
    const auto rng = make_seeded_rng(*rc::gen::arbitrary<uint64_t>());
    std::vector<Record> history;  // record n is history[n - 1]
    Lsn durable = 0;
    Lsn expected_at_least = 0;
    Lsn checkpointed = 0;
    uint64_t numbers_end = 0;
    for (int life = *rc::gen::inRange(2, 6); life > 0; --life) {
      std::shared_ptr<Segments> segments =
          Segments::open(env, {.dir = "/cache/data", .segment_bytes = 16384}, numbers_end).value();
      auto options = small_options();
      options.file_bytes_max = 9000;
      options.sync_data = [&segments] { return segments->sync_written(); };
      Lsn replayed = checkpointed;
      auto opened = Journal::open(
          env, options, checkpointed, durable, [&](const JournalRecord& record) -> Result<bool> {
            RC_ASSERT(record.lsn == replayed + 1);
            RC_ASSERT(record.lsn <= history.size());
            const Record& expected = history[record.lsn - 1];
            ByteVec reference;
            put_le(reference, expected.ref.file);
            put_le(reference, expected.ref.offset);
            RC_ASSERT(equal(record.payload.first(16), reference));
            const auto file = segments->file(expected.ref.file);
            if (!file) return false;
            ByteVec data(expected.data.size());
            TRY_ASSIGN(const size_t got, (*file)->read_at(expected.ref.offset, data));
            if (got != data.size() || data != expected.data) return false;
            segments->note_lsn(expected.ref.file, record.lsn);
            ++replayed;
            return true;
          });
      if (!opened) RC_FAIL(opened.error().message());
      const auto journal = std::move(*opened);
      RC_ASSERT(replayed >= expected_at_least);
      RC_ASSERT(journal->appended() == replayed);
      RC_ASSERT(journal->durable() == replayed);
      history.resize(replayed);
      durable = replayed;
      for (int i = *rc::gen::inRange(0, 30); i > 0; --i) {
        const int what = *rc::gen::inRange(0, 10);
        if (what == 0) {
          const Lsn upto = *rc::gen::inRange<Lsn>(0, history.size() + 1);
          RC_ASSERT(journal->sync(upto).has_value());
          durable = std::max(durable, upto);
          RC_ASSERT(journal->durable() >= upto);
        } else if (what == 1) {
          checkpointed = *rc::gen::inRange<Lsn>(checkpointed, durable + 1);
          RC_ASSERT(journal->trim(checkpointed).has_value());
          RC_ASSERT(journal->trimmed() <= checkpointed);
        } else {
          ByteVec data(*rc::gen::element<size_t>(1, 600, 5000));
          for (std::byte& byte : data) byte = static_cast<std::byte>(rng->next());
          const DataRef ref = segments->append(SegmentClass::kWritten, data).value();
          ByteVec payload;
          put_le(payload, ref.file);
          put_le(payload, ref.offset);
          payload.resize(16 + rng->below(280));
          const Bytes parts[] = {payload};
          RC_ASSERT(journal->append(1, parts).value().lsn == history.size() + 1);
          segments->note_lsn(ref.file, history.size() + 1);
          history.push_back({ref, std::move(data)});
        }
      }
      numbers_end = segments->numbers_end();
      if (*rc::gen::inRange(0, 3) == 0) {
        env.kill();
        expected_at_least = history.size();  // only the process died: nothing may be missing
      } else {
        env.crash(*rng);
        expected_at_least = durable;
      }
    }
  }));
}
