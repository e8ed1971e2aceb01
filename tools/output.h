// Output: where `get` writes: standard output, or a file that appears when it is whole.
//
// A file is written under another name beside it and renamed by `finish`; without that it is gone
// with this. What is there and no plain file (a pipe, a device) is written to as it is.
// Owner: the command, on its thread. Errors: those of the disk, with the path.
#pragma once

#include <string>

#include "cache/base/bytes.h"
#include "cache/base/result.h"

namespace cairn {

// "-", /dev/stdout and what that is a link to.
bool is_standard_output(const std::string& path);
// That, a pipe or a device: nothing is left of it when the writing ends early.
bool is_written_as_it_is(const std::string& path);

// What was said to std::cout is where it goes; the error of a disk that is full, or of whatever it
// is.
Status flush_standard_output();

// For who ends the process without an end of everything: what is half a file goes.
void remove_unfinished_outputs();

class Output {
 public:
  static Result<Output> open(const std::string& named);
  Output(Output&& other) noexcept;
  Output& operator=(Output&&) = delete;
  ~Output();
  bool is_standard() const { return path_.empty(); }
  Status write(Bytes bytes);
  // The same; zeroes become a hole of a file that is made here.
  Status write_sparse(Bytes bytes);
  // `mtime_ns` below 0: now.
  Status finish(int64_t mtime_ns = -1);
  // The same where nothing is; EEXIST otherwise.
  Status finish_new();

 private:
  Output(int fd, std::string path, std::string temporary)
      : fd_(fd), path_(std::move(path)), temporary_(std::move(temporary)) {}
  Status give_name(unsigned flags);
  int fd_;
  std::string path_;       // empty: standard output
  std::string temporary_;  // empty: there is none
  bool ends_with_hole_ = false;
};

// A stream that may be waited for in vain: gives up soon after the token was cancelled.
class CancelToken;
Result<size_t> read_some(int fd, MutableBytes out, const CancelToken& cancel);

}  // namespace cairn
