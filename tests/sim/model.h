// Model: what a tree of files is after each operation, and what a mount shows, so that the two can
// be compared: names, attributes, times, inode numbers, contents.
//
// A Model is a value that shares its nodes with its copies, so one state an operation is cheap to
// keep. What an operation that was not answered set (times, a new inode's number) is unknown; it
// is not compared until a listing was adopted.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fs/volume.h"

namespace cairn::sim {

using NodeId = uint64_t;
inline constexpr NodeId kRootId = 1;

struct ModelNode {
  FileType type = FileType::kRegular;
  uint32_t mode = 0, uid = 0, gid = 0, nlink = 1;
  uint64_t rdev = 0;
  std::shared_ptr<const std::string> bytes = std::make_shared<const std::string>();  // or target
  std::map<std::string, NodeId> children;
  std::map<std::string, std::string> xattrs;
  Ino ino = 0;               // 0: not known yet
  std::optional<Attr> seen;  // times; not known while unset

  uint64_t size() const { return type == FileType::kDirectory ? 0 : bytes->size(); }
};

class Model {
 public:
  Model();
  const ModelNode& at(NodeId id) const { return *nodes_.at(id); }
  bool has(NodeId id) const { return nodes_.contains(id); }
  size_t size() const { return nodes_.size(); }
  // A copy of the node that is this model's own; what was seen of it is no longer true.
  ModelNode& change(NodeId id);
  NodeId add(ModelNode node);
  void see(NodeId id, const Attr& attr);
  // The child `name` of a directory, or 0.
  NodeId child(NodeId dir, const std::string& name) const;
  // Takes one name away; the node goes with the last one (a directory at once).
  void drop_link(NodeId id);
  bool holds(NodeId ancestor, NodeId id) const;
  std::vector<NodeId> all(FileType type) const;
  const std::map<NodeId, std::shared_ptr<const ModelNode>>& nodes() const { return nodes_; }

 private:
  std::map<NodeId, std::shared_ptr<const ModelNode>> nodes_;
  NodeId next_ = kRootId + 1;
};

struct Shown {
  Attr attr;
  std::string bytes;
  std::map<std::string, std::string> xattrs;
  std::vector<std::string> children;  // in order
};
using Listing = std::map<std::string, Shown>;  // by path

// The first difference, for a person; nullopt when the listing is what the model says.
std::optional<std::string> difference(const Model& model, const Listing& listing);
// Takes over what the model does not know from a listing that is like it.
void adopt(Model& model, const Listing& listing);
// The same, compared with another state of the model.
bool same(const Model& a, const Model& b);

// Where the attributes of a node are not what the model says; times and number only when seen.
std::optional<std::string> difference(const ModelNode& node, const Attr& attr);

}  // namespace cairn::sim
