// Operations that read: what they get is compared at once.
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>

#include "fs/errno_map.h"
#include "tests/sim/operations.h"

namespace cairn::sim {

void Operations::read() {
  const NodeId file = some(FileType::kRegular);
  if (file == 0) return;
  const auto handle = handle_of(file);
  if (!handle) return;
  const std::string& content = *now().at(file).bytes;
  const uint64_t offset = below(kMaxFile);
  const uint64_t length = 1 + below(kMaxFile);
  const auto bytes =
      mount().run([&](Volume& v, Need& n) { return v.read(*handle, offset, length, n); });
  if (!mount().alive()) return;
  done_with(*handle);
  if (!bytes) {
    if (!excused(bytes.error())) world_.scheduler.give_up("read: " + bytes.error().message());
    return;
  }
  const std::string expected = offset < content.size() ? content.substr(offset, length) : "";
  if (to_string(*bytes) != expected)
    world_.scheduler.give_up(
        fmt::format("read of file {} at {}: other bytes than were written", file, offset));
}

// Data that is not zero lies in what SEEK_DATA finds.
void Operations::seek() {
  const NodeId file = some(FileType::kRegular);
  if (file == 0 || now().at(file).size() == 0) return;
  const auto handle = handle_of(file);
  if (!handle) return;
  const std::string& content = *now().at(file).bytes;
  const uint64_t offset = below(content.size());
  const auto found =
      mount().run([&](Volume& v, Need& n) { return v.seek(*handle, offset, SEEK_DATA, n); });
  if (!mount().alive()) return;
  done_with(*handle);
  const size_t first = content.find_first_not_of('\0', offset);
  if (!found) {
    const bool none = errno_of(found.error()) == ENXIO;
    if (none ? first == std::string::npos : excused(found.error())) return;
    world_.scheduler.give_up("seek: " + found.error().message());
  }
  if (*found < offset || (first != std::string::npos && *found > first))
    world_.scheduler.give_up(fmt::format("SEEK_DATA from {} skips data at {}", offset, first));
}

void Operations::read_orphan() {
  for (Handle& handle : handles_) {
    if (!handle.orphan) continue;
    if (below(2) == 0) {
      const uint64_t offset = below(kMaxFile);
      const std::string bytes = some_bytes(1 + below(2 * kChunk));
      // It changes nothing that has a name.
      if (!perform(
              {fmt::format("write to removed file {}", handle.node), now()},
              [&](Volume& v, Need& n) { return v.write(handle.id, offset, as_bytes(bytes), n); }))
        return;
      if (handle.bytes.size() < offset + bytes.size()) handle.bytes.resize(offset + bytes.size());
      handle.bytes.replace(offset, bytes.size(), bytes);
    }
    const auto bytes =
        mount().run([&](Volume& v, Need& n) { return v.read(handle.id, 0, 2 * kMaxFile, n); });
    if (!mount().alive()) return;
    if (!bytes) {
      if (!excused(bytes.error()))
        world_.scheduler.give_up("read of a removed file: " + bytes.error().message());
    } else if (to_string(*bytes) != handle.bytes) {
      world_.scheduler.give_up(
          fmt::format("read of removed file {}: other bytes than were written", handle.node));
    }
  }
}

void Operations::read_names() {
  const NodeId dir = some_dir();
  const std::string child = name();
  const NodeId id = now().child(dir, child);
  const auto attr =
      mount().run([&](Volume& v, Need& n) { return v.lookup(now().at(dir).ino, child, n); });
  if (!mount().alive()) return;
  if (!attr) {
    if (id == 0 ? errno_of(attr.error()) == ENOENT : excused(attr.error())) return;
    if (excused(attr.error())) return;
    world_.scheduler.give_up("lookup of " + child + ": " + attr.error().message());
  }
  if (id == 0) world_.scheduler.give_up("lookup finds " + child + ", which is not there");
  if (const auto found = difference(now().at(id), *attr))
    world_.scheduler.give_up("lookup of " + child + ": " + *found);
}

}  // namespace cairn::sim
