// Collections: garbage collections of the volume while its writer works, and snapshots of it.
//
// A grace period is chosen for each collection, from none to long; the writer may die in it, be
// taken over or be closed. Snapshots are made and deleted by a person who has nothing mounted; each
// must show the commit it names, whatever was collected since.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "tests/sim/world.h"

namespace cairn::sim {

class Collections {
 public:
  explicit Collections(World& world);
  ~Collections();
  void collect();   // on a thread of the writer
  void snapshot();  // names the newest commit, or takes a name away
  void look_at_snapshots();
  void end();  // when nothing is under way any more

 private:
  struct Person;
  World& w_;
  std::unique_ptr<Person> person_;
  std::map<std::string, uint64_t> snapshots_;  // name, number of the commit
  uint64_t names_given_ = 0;
};

}  // namespace cairn::sim
