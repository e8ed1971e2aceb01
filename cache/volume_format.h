// Making a volume, and finding out what lies under a prefix.
//
// Functions for tools; they block on the store and run on any thread but the store's executor.
// Order of making: look that nothing is there, probe the store, cairn.json (created once: of two
// who format the same place one wins), the first metadata pack, commit 1 (created once), HEAD.
// Whatever stops it before commit 1 leaves no volume: making one again says what to remove.
// Errors: kExists (something lies there; the message names one key; nothing was touched),
// kPrecondition (somebody else makes a volume there now), kInvalid (parameters), kUnsupported (the
// store does not honour conditional creates; a later format), and the store's.
// Format: FORMAT.md, "cairn.json".
#pragma once

#include <functional>
#include <string>

#include "cache/base/clock.h"
#include "cache/base/executor.h"
#include "cache/base/random.h"
#include "cache/format/superblock.h"
#include "cache/object_store.h"

namespace cairn {

// What cairn.json says, for people and for the first look. The superblock is the authority.
struct VolumeFile {
  uint64_t format = Superblock::kFormat;
  std::string uuid;
  std::string created;  // UTC, RFC 3339
  uint64_t chunk_size = 0;
  uint64_t links_per_node = 0;
  uint64_t fanout_bits = 0;
  std::string profile;
  std::string probe_store;   // where conditional creates were tried
  std::string probe_result;  // and what came of it

  std::string encode() const;
  // kCorruption when it is no such file, kUnsupported for a later format.
  static Result<VolumeFile> decode(Bytes in);
};

struct VolumeProbe {
  bool passed = false;
  std::string result;  // one line for a person
};

struct FormatOptions {
  uint64_t chunk_size = 256 * 1024;
  uint64_t links_per_node = 174;
  uint64_t fanout_bits = 2;
  std::string profile = "default";
  uint64_t quota_bytes = 0;
  uint32_t uid = 0;  // of the root directory
  uint32_t gid = 0;
  std::string host;
  // Races creates in the store and says who won; not called when something lies there.
  std::function<Result<VolumeProbe>()> probe;
  bool accept_failed_probe = false;  // --unsafe-single-writer
};

// Makes a volume. Returns its cairn.json.
Result<VolumeFile> format_volume(ObjectStore& store, Executor& executor, Clock& clock, Rng& rng,
                                 const FormatOptions& options, Context context);

struct Identity {
  enum class Kind : uint8_t {
    kVolume,  // cairn.json is there; whether it was finished the commit log finds out
    kEmpty,
    kOther,
  };
  Kind kind = Kind::kEmpty;
  VolumeFile volume;    // of kVolume
  std::string example;  // a key that lies there, of kOther
};
// One request for a volume, two otherwise.
Result<Identity> identify(ObjectStore& store, Context context);

}  // namespace cairn
