#include "tools/spool.h"

#include <cerrno>
#include <cstdlib>

#include "tools/scratch_dir.h"

namespace cairn {

namespace {

constexpr size_t kSpoolStep = 1 << 20;

tl::unexpected<Error> no_room(Error error) {
  const char* named = std::getenv("TMPDIR");
  return tl::unexpected<Error>(
      std::move(error).wrap(std::string("a stream goes to ") + (named == nullptr ? "/tmp" : named) +
                            " first, as a whole (TMPDIR names another directory)"));
}

Result<std::shared_ptr<File>> nameless_file() {
  const ScratchDir scratch("cairn-put");
  if (scratch.path().empty()) return fail_errno(errno, "no file can be made");
  const std::string path = scratch.path() + "/stream";
  TRY_ASSIGN(std::shared_ptr<File> file, posix_env().open(path, OpenMode::kCreateNew));
  TRY(posix_env().remove(path));
  return file;
}

}  // namespace

Result<Spooled> spool(const ReadStream& read) {
  auto file = nameless_file();
  if (!file) return no_room(std::move(file).error());
  Spooled out{*std::move(file), 0};
  ByteVec step(kSpoolStep);
  while (true) {
    TRY_ASSIGN(const size_t n, read(step));
    if (n == 0) return out;
    if (Status written = out.file->write_at(out.size, Bytes(step).first(n)); !written)
      return no_room(std::move(written).error());
    out.size += n;
  }
}

}  // namespace cairn
