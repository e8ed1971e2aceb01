#include "tests/support/tree_model.h"

#include "cache/base/digest.h"

namespace cairn::test {

std::string describe(FileType type, unsigned nlink, const std::string& bytes,
                     const std::map<std::string, std::string>& xattrs) {
  std::string out = std::to_string(static_cast<int>(type)) + " links=" + std::to_string(nlink) +
                    " size=" + std::to_string(bytes.size()) + " " +
                    sha256(as_bytes(bytes)).hex().substr(0, 16);
  for (const auto& [name, value] : xattrs) out += " " + name + "=" + value;
  return out;
}

uint64_t TreeModel::child(uint64_t dir, const std::string& name) const {
  const auto& children = at(dir).children;
  const auto it = children.find(name);
  return it == children.end() ? 0 : it->second;
}

bool TreeModel::holds(uint64_t ancestor, uint64_t id) const {
  if (ancestor == id) return true;
  for (const auto& [name, child] : at(ancestor).children)
    if (is_dir(child) && holds(child, id)) return true;
  return false;
}

uint64_t TreeModel::add(uint64_t dir, const std::string& name, ModelNode node) {
  if (node.type == FileType::kDirectory) {
    node.nlink = 2;
    ++at(dir).nlink;
  }
  nodes_.emplace(next_, std::move(node));
  at(dir).children[name] = next_;
  return next_++;
}

void TreeModel::link(uint64_t id, uint64_t dir, const std::string& name) {
  at(dir).children[name] = id;
  ++at(id).nlink;
}

void TreeModel::unlink(uint64_t dir, const std::string& name) {
  const uint64_t id = at(dir).children.at(name);
  at(dir).children.erase(name);
  if (is_dir(id)) --at(dir).nlink;
  if (is_dir(id) || --at(id).nlink == 0) nodes_.erase(id);
}

void TreeModel::move(uint64_t from, const std::string& old_name, uint64_t to,
                     const std::string& new_name) {
  const uint64_t id = at(from).children.at(old_name);
  const uint64_t target = child(to, new_name);
  if (target == id) return;
  if (target != 0) unlink(to, new_name);
  at(from).children.erase(old_name);
  at(to).children[new_name] = id;
  if (!is_dir(id)) return;
  --at(from).nlink;
  ++at(to).nlink;
}

void TreeModel::exchange(uint64_t a, const std::string& a_name, uint64_t b,
                         const std::string& b_name) {
  uint64_t& one = at(a).children.at(a_name);
  uint64_t& other = at(b).children.at(b_name);
  if (is_dir(one) != is_dir(other)) {
    at(a).nlink += is_dir(other) ? 1U : -1U;
    at(b).nlink += is_dir(one) ? 1U : -1U;
  }
  std::swap(one, other);
}

Listing TreeModel::list() const {
  Listing out;
  walk(kRoot, "", out);
  return out;
}

void TreeModel::walk(uint64_t id, const std::string& path, Listing& out) const {
  const ModelNode& node = at(id);
  out[path] = describe(node.type, node.nlink, node.bytes, node.xattrs);
  for (const auto& [name, child] : node.children) walk(child, path + "/" + name, out);
}

}  // namespace cairn::test
