// VolumeDriver: one life of a volume next to its model: random operations, publications, remounts,
// kills and power cuts. Step `i` of a seed does the same whatever steps came before it, as far as
// the tree lets it, so that a failing life can be made shorter by leaving steps out.
//
// Owner: the test. One thread. A difference between volume and model is thrown as a
// std::runtime_error that says what differed.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "s3/memory_store.h"
#include "tests/support/memory_env.h"
#include "tests/support/test_mount.h"
#include "tests/support/tree_model.h"

namespace cairn::test {

class VolumeDriver {
 public:
  explicit VolumeDriver(uint64_t seed);
  void step(uint64_t index);
  // Compares, unmounts, and compares again on an empty cache.
  void finish();

 private:
  static constexpr uint64_t kChunk = 4096;
  static constexpr uint64_t kMaxFile = 20 * kChunk;

  struct Dir {  // that both know: its inode number and its id in the model
    Ino ino = kRootIno;
    uint64_t id = TreeModel::kRoot;
  };
  struct Named {
    Dir dir;
    std::string name;
    uint64_t id = 0;  // in the model; 0: no such name
  };
  // A file that stays open over several steps, and may lose its name meanwhile.
  struct Held {
    HandleId handle = 0;
    uint64_t id = 0;                     // in the model while it has a name
    std::optional<std::string> orphan;  // its content when it has none
  };
  // An open file and the bytes it must have.
  struct OpenedFile {
    HandleId handle = 0;
    std::string* bytes = nullptr;
    bool release = false;  // opened for this step only
  };

  uint64_t below(uint64_t bound) { return rng_->below(bound); }
  uint64_t any_offset();
  std::string any_bytes(uint64_t length);
  Named pick();
  std::optional<OpenedFile> open_file();
  void close_file(const OpenedFile& file);
  void hold_orphans(uint64_t id);
  template <class Op>
  auto run(const Op& op) {
    return mount_.run(op);
  }

  void make();
  void remove();
  void rename();
  void exchange();
  void link();
  void set_xattr();
  void truncate();
  void write();
  void allocate();
  void copy();
  void read_back();
  void seek_through();
  void hold();
  void let_go();
  void publish();
  void kill();
  void power_cut();
  void remount();

  void reopen(const std::string& cache);
  Attr lookup(Ino parent, const std::string& name);
  Listing list();
  void list_entry(Ino ino, const std::string& path, Listing& out);
  std::string read_all(Ino ino, const Attr& attr);
  void compare(const char* when);

  const uint64_t seed_;
  std::unique_ptr<Rng> rng_;
  MemoryEnv env_;
  ThreadExecutor io_{"io", 2};
  MemoryStore store_{io_, system_clock()};
  TestMount mount_{store_, env_, io_};
  TreeModel model_;
  std::vector<Held> held_;
  std::vector<TreeModel> since_sync_;  // what a power cut may leave: one state an operation
  std::string cache_ = "/cache";
  unsigned caches_ = 0;
  std::map<Ino, uint64_t> allocated_;  // what the last listing saw
};

}  // namespace cairn::test
