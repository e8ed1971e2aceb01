// Recovery of the journal: what its files hold, where the log ends, and what has to go.
//
// `recover_journal` only reads; `cut_journal` then makes the disk agree with what was found. Used
// by Journal::open, before anything else touches the directory.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "cache/journal.h"
#include "cache/journal_format.h"

namespace cairn {

// One file of the journal, as the open journal keeps it.
struct JournalFile {
  uint32_t seed = 0;
  uint64_t end = 0;    // behind its last record
  uint64_t bytes = 0;  // its size, preallocated part included
  // (LSN, offset) of some records, so that a read need not begin at the start.
  std::vector<std::pair<Lsn, uint64_t>> index;

  void note_record(Lsn lsn, uint64_t offset);
  // Where to begin for `lsn`: the LSN and offset of a record at or before it.
  std::pair<Lsn, uint64_t> start_for(Lsn lsn, Lsn first) const;
};

struct RecoveredJournal {
  std::map<Lsn, JournalFile> files;  // by first LSN; the last one may be appended to
  Lsn next = 1;                      // LSN of the next record
  bool tail_must_go = false;         // something lies behind the last record of the last file
  std::vector<std::string> dead;     // paths of files that are not part of the log, in order
};

std::string journal_path(const std::string& dir, Lsn first);
// The first LSNs of the files in `dir`, from their names, ascending.
Result<std::vector<Lsn>> find_journal_files(Env& env, const std::string& dir);
// Larger than this is no journal file.
uint64_t journal_file_limit(const Journal::Options& options);

Result<RecoveredJournal> recover_journal(Env& env, const Journal::Options& options,
                                         Lsn replay_after, Lsn durable_at_least,
                                         const Journal::Replay& replay);
Status cut_journal(Env& env, const Journal::Options& options, RecoveredJournal& journal);

}  // namespace cairn
