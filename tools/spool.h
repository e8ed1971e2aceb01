// spool: all that a stream gives, in a file without a name, for what has to know the whole before
// it begins. It lies in the temporary directory and is gone with its descriptor, however the
// process ends. Blocks. Errors name the directory: it is usually that which is full.
#pragma once

#include <memory>

#include "cache/base/env.h"
#include "s3/s3_stream.h"

namespace cairn {

struct Spooled {
  std::shared_ptr<File> file;
  uint64_t size = 0;
};
Result<Spooled> spool(const ReadStream& read);

}  // namespace cairn
