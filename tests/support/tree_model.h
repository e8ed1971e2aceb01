// TreeModel: what a volume must look like, as plain data: nodes with names, bytes and attributes.
// Copied freely; one copy is one moment. One thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "cache/format/records.h"

namespace cairn::test {

struct ModelNode {
  FileType type = FileType::kRegular;
  std::string bytes;  // content, or a link's target
  std::map<std::string, uint64_t> children;
  std::map<std::string, std::string> xattrs;
  unsigned nlink = 1;
};

// Path -> what is there, in words that can be compared.
using Listing = std::map<std::string, std::string>;
std::string describe(FileType type, unsigned nlink, const std::string& bytes,
                     const std::map<std::string, std::string>& xattrs);

class TreeModel {
 public:
  static constexpr uint64_t kRoot = 1;

  const ModelNode& at(uint64_t id) const { return nodes_.at(id); }
  ModelNode& at(uint64_t id) { return nodes_.at(id); }
  bool exists(uint64_t id) const { return nodes_.contains(id); }
  bool is_dir(uint64_t id) const { return at(id).type == FileType::kDirectory; }
  // The node of that name, or 0.
  uint64_t child(uint64_t dir, const std::string& name) const;
  // True when `id` is `ancestor` or lies below it.
  bool holds(uint64_t ancestor, uint64_t id) const;

  uint64_t add(uint64_t dir, const std::string& name, ModelNode node);
  void link(uint64_t id, uint64_t dir, const std::string& name);
  // Takes the name away, and the node with its last one.
  void unlink(uint64_t dir, const std::string& name);
  void move(uint64_t from, const std::string& old_name, uint64_t to, const std::string& new_name);
  void exchange(uint64_t a, const std::string& a_name, uint64_t b, const std::string& b_name);

  Listing list() const;

 private:
  void walk(uint64_t id, const std::string& path, Listing& out) const;

  std::map<uint64_t, ModelNode> nodes_{{kRoot, {FileType::kDirectory, "", {}, {}, 2}}};
  uint64_t next_ = 2;
};

}  // namespace cairn::test
