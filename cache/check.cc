// The volume's own objects: cairn.json, HEAD, gc.boundary, the commits, what lies beside them.
#include "cache/check.h"

#include <fmt/format.h>

#include <algorithm>

#include "cache/check_parts.h"
#include "cache/commit_log.h"
#include "cache/store_keys.h"
#include "cache/store_scan.h"
#include "cache/volume_format.h"

namespace cairn {
namespace {
class VolumeCheck {
 public:
  VolumeCheck(ObjectStore& store, CheckLog& log) : store_(store), log_(log) {}

  Status run() {
    TRY(read_volume_file());
    TRY(read_numbers());
    TRY(read_commits());
    if (!head_) {
      if (volume_file_missing_ && last_seq_ == 0)
        return fail(Errc::kNotFound,
                    fmt::format("{}: there is no cairn volume", store_.description()));
      if (last_seq_ == 0) log_.problem(commit_key(1), "missing; the volume was never finished");
      return {};
    }
    log_.report.head = head_->seq;
    TRY(read_snapshots());
    CheckPacks packs(store_, log_);
    TRY(packs.run(*head_, snapshots_));
    CheckBlocks blocks(store_, packs, log_);
    WalkedContents walked;
    CheckTree(blocks, packs, walked, log_).run(*head_, volume_file_);
    // Their files' content is where the head's index says, or still waits to be moved.
    TRY(packs.add_condemned(*head_, snapshots_));
    for (const CommitRecord& snapshot : snapshots_)
      if (snapshot.root != head_->root)
        CheckTree(blocks, packs, walked, log_).run(snapshot, volume_file_);
    return look_around(packs);
  }

 private:
  // The object's bytes; nullopt when it is not there.
  Result<std::optional<Buffer>> read(std::string_view key, uint64_t bytes_max) {
    auto got =
        get_sync(store_, std::string(key), GetRange::from(0, bytes_max), log_.options.context);
    if (got) return got->bytes;
    if (got.error().code() == Errc::kNotFound) return std::nullopt;
    return tl::unexpected<Error>(std::move(got).error());
  }

  Status read_volume_file() {
    log_.progress("cairn.json");
    TRY_ASSIGN(const auto bytes, read(kVolumeKey, 1 << 20));
    volume_file_missing_ = !bytes;
    if (!bytes) return {};
    auto file = VolumeFile::decode(*bytes);
    if (!file) {
      log_.problem(std::string(kVolumeKey), file.error().message());
    } else if (as_chars(*bytes) != file->encode()) {
      log_.problem(std::string(kVolumeKey), "not as it was written");
      volume_file_ = *std::move(file);
    } else {
      volume_file_ = *std::move(file);
    }
    return {};
  }

  Result<std::optional<uint64_t>> read_number(std::string_view key) {
    TRY_ASSIGN(const auto bytes, read(key, kNumberBytesMax));
    if (!bytes) return std::nullopt;
    const auto number = parse_number_text(as_chars(*bytes));
    if (!number || number_text(*number) != as_chars(*bytes)) {
      log_.problem(std::string(key), "not a number in decimal digits");
      return std::nullopt;
    }
    return number;
  }

  Status read_numbers() {
    TRY_ASSIGN(hint_, read_number(kHeadKey));
    TRY_ASSIGN(const auto boundary, read_number(kBoundaryKey));
    oldest_ = std::max<uint64_t>(1, boundary.value_or(1));
    return {};
  }

  Status read_commits() {
    log_.progress("commits");
    std::vector<uint64_t> numbers;
    TRY(list_all(store_, kCommitPrefix, log_.options.context, [&](const ObjectInfo& object) {
      const auto seq = parse_commit_key(object.key);
      if (seq && *seq > 0)
        numbers.push_back(*seq);
      else
        log_.problem(object.key, "no number of a commit");
    }));
    std::erase_if(numbers, [&](uint64_t seq) { return seq < oldest_; });
    uint64_t expected = oldest_;
    for (const uint64_t seq : numbers) {
      if (seq != expected)
        log_.problem(commit_key(expected), seq == expected + 1
                                               ? "missing"
                                               : fmt::format("missing, and all up to {}", seq - 1));
      expected = seq + 1;
    }
    last_seq_ = numbers.empty() ? 0 : numbers.back();
    if (hint_ && !numbers.empty() && *hint_ == 0)
      log_.problem(std::string(kHeadKey), "names commit 0, which no volume has");
    if (hint_ && !numbers.empty() && *hint_ > last_seq_)
      log_.problem(commit_key(*hint_),
                   fmt::format("missing: HEAD names it, the newest is {}", last_seq_));
    if (volume_file_missing_ && !numbers.empty()) log_.problem(std::string(kVolumeKey), "missing");
    for (size_t at = 0; at < numbers.size(); at += kCommitsAtOnce) {
      std::vector<std::string> keys;
      const size_t end = std::min(numbers.size(), at + kCommitsAtOnce);
      for (size_t i = at; i < end; ++i) keys.push_back(commit_key(numbers[i]));
      auto records = get_all(store_, keys, CommitRecord::kMaxBytes + 1, log_.options.context);
      for (size_t i = at; i < end; ++i) TRY(take_commit(numbers[i], std::move(records[i - at])));
    }
    return {};
  }

  Status take_commit(uint64_t seq, Result<GetResult> got) {
    const std::string key = commit_key(seq);
    if (!got && got.error().code() == Errc::kNotFound) return {};  // removed meanwhile
    if (!got) return tl::unexpected<Error>(std::move(got).error());
    ++log_.report.counts.commits;
    const Digest digest = sha256(got->bytes);
    auto decoded = CommitRecord::decode(got->bytes);
    head_.reset();  // only the newest counts, and only when it can be read
    if (!decoded) {
      log_.problem(key, decoded.error().message());
    } else {
      CommitRecord& record = *decoded;
      if (record.seq != seq)
        log_.problem(key, fmt::format("says that it is commit {}", record.seq));
      check_link(key, record);
      previous_epoch_ = record.epoch;
      if (record.seq == seq) head_ = std::move(record);
    }
    previous_seq_ = seq;
    previous_digest_ = digest;
    return {};
  }

  Status read_snapshots() {
    log_.progress("snapshots");
    std::vector<std::string> keys;
    TRY(list_all(store_, kRefPrefix, log_.options.context,
                 [&](const ObjectInfo& object) { keys.push_back(object.key); }));
    for (const std::string& key : keys) {
      TRY_ASSIGN(const auto bytes, read(key, CommitRecord::kMaxBytes + 1));
      if (!bytes) continue;  // deleted meanwhile
      ++log_.report.counts.snapshots;
      auto record = CommitRecord::decode(*bytes);
      if (record)
        snapshots_.push_back(*std::move(record));
      else
        log_.problem(key, record.error().message());
    }
    return {};
  }

  void check_link(const std::string& key, const CommitRecord& record) {
    if (record.epoch < previous_epoch_)
      log_.problem(key,
                   fmt::format("has epoch {}, its predecessor {}", record.epoch, previous_epoch_));
    if (!record.previous) {
      if (record.seq != 1) log_.problem(key, "names no predecessor");
      return;
    }
    if (record.previous->seq + 1 != record.seq)
      log_.problem(key, fmt::format("names commit {} as its predecessor", record.previous->seq));
    if (previous_seq_ == record.previous->seq && previous_digest_ != record.previous->digest)
      log_.problem(commit_key(previous_seq_),
                   fmt::format("is not the record that commit {} follows on", record.seq));
  }

  // What lies there and is not named by the head: waits for the collector, or is none of ours.
  Status look_around(const CheckPacks& packs) {
    log_.progress("unreferenced objects");
    const auto count = [&](const ObjectInfo& object) {
      const auto digest = object.key.starts_with(kPackPrefix) ? parse_pack_key(object.key)
                                                              : parse_index_key(object.key);
      if (!digest)
        log_.problem(object.key, "a name that no pack or index segment has");
      else if (!packs.names(*digest))
        ++log_.report.counts.unreferenced;
    };
    TRY(list_all(store_, kPackPrefix, log_.options.context, count));
    return list_all(store_, kIndexPrefix, log_.options.context, count);
  }

  ObjectStore& store_;
  CheckLog& log_;
  std::optional<VolumeFile> volume_file_;
  bool volume_file_missing_ = false;
  std::optional<uint64_t> hint_;
  uint64_t oldest_ = 1;
  uint64_t last_seq_ = 0;
  std::optional<CommitRecord> head_;
  std::vector<CommitRecord> snapshots_;
  uint64_t previous_seq_ = 0;
  uint64_t previous_epoch_ = 0;
  Digest previous_digest_{};
};
}  // namespace

void CheckLog::problem(std::string object, std::string what) {
  ++report.problem_count;
  if (report.problems.size() < CheckReport::kProblemsMax)
    report.problems.push_back({std::move(object), std::move(what)});
}

void CheckLog::progress(std::string_view step) {
  if (options.progress) options.progress(step, report.counts);
}

Result<CheckReport> check_volume(ObjectStore& store, const CheckOptions& options) {
  CheckLog log(options);
  TRY(VolumeCheck(store, log).run());
  return std::move(log.report);
}

}  // namespace cairn
