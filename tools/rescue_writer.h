// RescueWriter: makes what a cache holds in a plain directory, as it was in the mount: with owner,
// mode, times, extended attributes and hard links as far as this user may set them.
//
// What cannot be read of a file is zeroes, and named in the log with the path below the target.
// Hostile names cannot lead outside as long as symbolic links are made after everything else, or
// by whom the tree has made a tree. Owner: one rescue. Blocks.
#pragma once

#include <functional>
#include <future>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "fs/volume.h"
#include "tools/rescue.h"

namespace cairn {

class RescueWriter {
 public:
  RescueWriter(Volume& volume, std::string target, const std::vector<LostData>& lost,
               RescueReport& report);
  // Parts that only the store has may be missing, whatever the reason; else only what is damaged
  // may. Of attributes those are put that `xattrs` names; without it, all.
  struct Objects {
    std::function<Result<std::vector<std::string>>(Ino)> xattrs;
    std::function<Result<uint64_t>(Ino)> store_end;  // of what the store has to give of the content
  };
  void set_objects(Objects objects) { objects_ = std::move(objects); }

  // Anything but a directory; its own directory is made.
  Status node(const Attr& attr, const std::string& path);
  Status put_attributes(const Attr& attr, const std::string& path);
  void failed(const std::string& path, const Error& error);
  std::string full(const std::string& path) const { return target_ + path; }
  // A name that nothing has, not even a link that leads elsewhere.
  std::string free_name(const std::string& wanted) const;

  // Runs an operation until what it needs is here.
  template <class Op>
  auto now(const Op& op) -> decltype(op(std::declval<Need&>())) {
    while (true) {
      Need need;
      auto result = op(need);
      if (result || result.error().code() != Errc::kNotLocal || !need.any()) return result;
      std::promise<Status> done;
      Context context;
      context.deadline =
          Deadline::after(volume_.engine().clock(), volume_.engine().settings().io_timeout);
      volume_.engine().satisfy(std::move(need), context,
                               [&done](Status status) { done.set_value(std::move(status)); });
      TRY(done.get_future().get());
    }
  }

 private:
  struct Bad {  // what cannot be read, as one line for what lies side by side
    uint64_t begin = 0, end = 0, bytes = 0;
    std::string why;
    bool any() const { return begin != end; }
  };
  Status file(const Attr& attr, const std::string& path);
  Status copy(HandleId handle, const Attr& attr, const std::string& path, File& out);
  Status copy_part(HandleId handle, uint64_t at, uint64_t length, File& out, Bad& bad,
                   const std::string& path);
  Status copy_chunk(HandleId handle, const Attr& attr, uint64_t chunk, File& out, Bad& bad,
                    const std::string& path);
  void note_bad(uint64_t at, uint64_t length, const Error& why, Bad& bad, const std::string& path);
  void say_bad(Bad& bad, const std::string& path) const;
  Status put_xattrs(Ino ino, const std::string& to);

  Volume& volume_;
  const std::string target_;
  std::map<Ino, std::vector<LostData>> lost_;
  RescueReport& report_;
  std::optional<Objects> objects_;
  std::map<Ino, std::string> made_;  // with several names: where the first one is
};

}  // namespace cairn
