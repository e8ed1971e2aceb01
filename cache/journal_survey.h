// What the files of a journal hold, damaged or not: for `cairn recover`, which must say what is
// lost and bring out the rest. A mount never reads a journal this way: it takes the log in order or
// not at all (journal_recovery).
//
// Only reads. A file is read whole, so one at a time is in memory; one that is far larger than a
// journal file is told as damage. Checks of what looks like a record are bounded. Errors are those
// of the directory and of reading; damage is a value.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cache/journal.h"
#include "cache/journal_format.h"

namespace cairn {

// Intact records of one file, one behind the other.
struct JournalRun {
  std::string path;
  JournalHeader header;  // of the file, as it is or as it must have been
  Lsn first = 0, last = 0;
  uint64_t begin = 0, end = 0;  // in the file
};

// Bytes that are no record though records should be there.
struct JournalDamage {
  std::string path;
  uint64_t begin = 0, end = 0;
  std::string what;
  std::string text() const;  // a sentence with the place
};

struct JournalSurvey {
  std::vector<std::string> paths;     // of all files of the journal, by LSN
  std::vector<JournalRun> runs;       // by LSN; every run begins behind the one before
  std::vector<JournalDamage> damage;  // by place; behind the last record, what a crash left is told
  Lsn first_file = 0;                 // LSN in the name of the first file
  Lsn durable = 0;                    // the highest LSN that something intact says was durable

  Lsn first() const { return runs.empty() ? first_file : runs.front().first; }
  // Of the last intact record; without any, of the one before the first file.
  Lsn last() const {
    if (!runs.empty()) return runs.back().last;
    return first_file > 0 ? first_file - 1 : 0;
  }
  // Nothing is wrong but, at most, the torn end that a crash leaves.
  bool is_whole() const;
  // A sentence for everything that is wrong, when records up to `needed` must be there.
  void tell(Lsn needed, std::vector<std::string>& out) const;
};

// A directory that is not there is an empty journal.
Result<JournalSurvey> survey_journal(Env& env, const Journal::Options& options);

// Gives the records of a run from `from` on to `visit`, in order.
Status visit_run(Env& env, const JournalRun& run, Lsn from, uint64_t record_bytes_max,
                 const std::function<Status(const JournalRecord&, Lsn durable)>& visit);

// The UUID that the journal's files name as their cache's, when an intact header does.
Result<std::optional<Uuid>> cache_id_of_journal(Env& env, const std::string& dir);

// A journal that only gives what is there: `file` for data inside records, of which damaged bytes
// are refused with kCorruption. Every change is refused.
std::unique_ptr<Journal> open_surveyed_journal(Env& env, const Journal::Options& options,
                                               JournalSurvey survey);

}  // namespace cairn
