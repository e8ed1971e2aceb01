#include "tests/sim/model.h"

#include <fmt/format.h>

#include <functional>

namespace cairn::sim {

Model::Model() {
  ModelNode root;
  root.type = FileType::kDirectory;
  root.ino = kRootIno;
  root.mode = mode_of_type(FileType::kDirectory) | 0755;
  root.nlink = 2;
  nodes_[kRootId] = std::make_shared<const ModelNode>(std::move(root));
}

ModelNode& Model::change(NodeId id) {
  auto own = std::make_shared<ModelNode>(*nodes_.at(id));
  own->seen.reset();
  ModelNode& out = *own;
  nodes_[id] = std::move(own);
  return out;
}

NodeId Model::add(ModelNode node) {
  nodes_[next_] = std::make_shared<const ModelNode>(std::move(node));
  return next_++;
}

void Model::see(NodeId id, const Attr& attr) {
  auto own = std::make_shared<ModelNode>(*nodes_.at(id));
  own->ino = attr.ino;
  own->seen = attr;
  nodes_[id] = std::move(own);
}

NodeId Model::child(NodeId dir, const std::string& name) const {
  const auto& children = at(dir).children;
  const auto it = children.find(name);
  return it == children.end() ? 0 : it->second;
}

void Model::drop_link(NodeId id) {
  if (at(id).type == FileType::kDirectory || at(id).nlink == 1) {
    nodes_.erase(id);
  } else {
    --change(id).nlink;
  }
}

bool Model::holds(NodeId ancestor, NodeId id) const {
  if (ancestor == id) return true;
  const ModelNode& node = at(ancestor);
  for (const auto& [name, child] : node.children)
    if (at(child).type == FileType::kDirectory && holds(child, id)) return true;
  return false;
}

std::vector<NodeId> Model::all(FileType type) const {
  std::vector<NodeId> out;
  for (const auto& [id, node] : nodes_)
    if (node->type == type) out.push_back(id);
  return out;
}

std::optional<std::string> difference(const ModelNode& node, const Attr& attr) {
  const auto differ = [](const char* what, auto expected, auto found) {
    return fmt::format("{} is {}, expected {}", what, found, expected);
  };
  if (node.mode != attr.mode) return differ("mode", node.mode, attr.mode);
  if (node.uid != attr.uid) return differ("uid", node.uid, attr.uid);
  if (node.gid != attr.gid) return differ("gid", node.gid, attr.gid);
  if (node.nlink != attr.nlink) return differ("nlink", node.nlink, attr.nlink);
  if (node.size() != attr.size) return differ("size", node.size(), attr.size);
  if (node.rdev != attr.rdev) return differ("rdev", node.rdev, attr.rdev);
  if (node.ino != 0 && node.ino != attr.ino) return differ("ino", node.ino, attr.ino);
  if (!node.seen) return std::nullopt;
  const Attr& seen = *node.seen;
  if (seen.mtime != attr.mtime) return differ("mtime", seen.mtime, attr.mtime);
  if (seen.ctime != attr.ctime) return differ("ctime", seen.ctime, attr.ctime);
  if (seen.atime != attr.atime) return differ("atime", seen.atime, attr.atime);
  if (seen.btime != attr.btime) return differ("btime", seen.btime, attr.btime);
  return std::nullopt;
}

namespace {
std::optional<std::string> difference_at(const Model& model, NodeId id, const Listing& listing,
                                         const std::string& path, size_t& count) {
  const ModelNode& node = model.at(id);
  const auto it = listing.find(path);
  if (it == listing.end()) return path + " is not there";
  ++count;
  const Shown& shown = it->second;
  if (auto found = difference(node, shown.attr)) return path + ": " + *found;
  if (node.type != FileType::kDirectory && *node.bytes != shown.bytes) {
    size_t at = 0;
    while (at < shown.bytes.size() && at < node.bytes->size() &&
           shown.bytes[at] == (*node.bytes)[at])
      ++at;
    return fmt::format("{}: content differs from byte {} of {}", path, at, node.bytes->size());
  }
  if (node.xattrs != shown.xattrs) return path + ": extended attributes differ";
  if (node.type != FileType::kDirectory) return std::nullopt;
  if (node.children.size() != shown.children.size())
    return fmt::format("{}: {} names, expected {}", path, shown.children.size(),
                       node.children.size());
  for (const auto& [name, child] : node.children)
    if (auto found = difference_at(model, child, listing, path + "/" + name, count)) return found;
  return std::nullopt;
}
}  // namespace

std::optional<std::string> difference(const Model& model, const Listing& listing) {
  size_t count = 0;
  if (auto found = difference_at(model, kRootId, listing, "", count)) return found;
  if (count != listing.size()) return "there are more names than there should be";
  return std::nullopt;
}

void adopt(Model& model, const Listing& listing) {
  const std::function<void(NodeId, const std::string&)> walk = [&](NodeId id,
                                                                   const std::string& path) {
    model.see(id, listing.at(path).attr);
    const auto children = model.at(id).children;
    for (const auto& [name, child] : children) walk(child, path + "/" + name);
  };
  walk(kRootId, "");
}

bool same(const Model& a, const Model& b) {
  if (a.nodes().size() != b.nodes().size()) return false;
  for (const auto& [id, node] : a.nodes()) {
    const auto other = b.nodes().find(id);
    if (other == b.nodes().end()) return false;
    if (node == other->second) continue;
    const ModelNode& x = *node;
    const ModelNode& y = *other->second;
    if (x.type != y.type || x.mode != y.mode || x.uid != y.uid || x.gid != y.gid ||
        x.nlink != y.nlink || x.rdev != y.rdev || *x.bytes != *y.bytes ||
        x.children != y.children || x.xattrs != y.xattrs)
      return false;
  }
  return true;
}

}  // namespace cairn::sim
