// Operations: what a program does on a mount, chosen by the seed, with the model as its memory.
//
// `step` carries out one operation: the state after it is added to the timeline before it is
// issued, marked as answered when it was, and taken back when it was refused. Whatever is read is
// compared at once. One at a time; the mount may die in it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tests/sim/world.h"

namespace cairn::sim {

inline constexpr uint64_t kChunk = 4096;
inline constexpr uint64_t kMaxFile = 16 * kChunk;

class Operations {
 public:
  Operations(World& world, Machine& machine);
  void step();
  void release_handles();
  // Set when an operation failed because of the disk: what it did is unknown until the next mount.
  bool broken() const { return broken_; }

 private:
  struct Handle {
    HandleId id = 0;
    NodeId node = 0;
    Ino ino = 0;
    bool orphan = false;
    std::string bytes;  // of an orphan
  };
  struct Planned {
    std::string what;
    Model next;
    std::vector<NodeId> touched = {};
    int refused_with = 0;  // errno; 0: it must succeed
  };
  using Call = std::function<Status(Volume&, Need&)>;

  uint64_t below(uint64_t bound) { return world_.below(bound); }
  const Model& now() const { return machine_.timeline.now(); }
  Mount& mount() { return *machine_.mount; }
  // True when it was answered with success.
  bool perform(Planned planned, const Call& call);
  void refused(const Planned& planned, const Error& error);
  bool excused(const Error& error);
  void look(NodeId id);
  std::string name() { return "n" + std::to_string(below(7)); }
  NodeId some_dir();
  NodeId some(FileType type);
  std::string some_bytes(uint64_t length);
  std::optional<HandleId> handle_of(NodeId file);
  void done_with(HandleId id);

  void make();
  void write();
  void change_content(NodeId file, const std::string& what, std::string content, const Call& call);
  void truncate();
  void allocate();
  void copy_range();
  void remove();
  void unlinked(NodeId node, const std::string& content);
  void rename();
  void link();
  void set_xattr();
  void set_attr();
  void keep_open();
  void read();
  void seek();
  void read_orphan();
  void read_names();

  World& world_;
  Machine& machine_;
  std::vector<Handle> handles_;
  bool broken_ = false;
};

}  // namespace cairn::sim
