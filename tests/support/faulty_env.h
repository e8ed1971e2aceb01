// FaultyEnv: an Env that fails the n-th call, for loops that fail every call of an operation once.
//
// Every call of the Env and of the files it opened counts, in order; destructors do not. A failed
// call has no effect, or all of it (`kAfter`, as a network filesystem that loses an answer).
// Thread-safe. Owner: the test; it must outlive what it opened, and `base` must outlive it.
#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "cache/base/env.h"

namespace cairn::test {

class FaultyEnv final : public Env {
 public:
  enum class When : uint8_t { kBefore, kAfter };
  struct Fault {
    uint64_t nth = 0;    // counted from the call of `arm`, the first one is 1
    uint64_t count = 1;  // how many calls fail, from the nth on
    int sys_errno = 0;
    When when = When::kBefore;
  };
  static constexpr uint64_t kForever = std::numeric_limits<uint64_t>::max() / 2;

  explicit FaultyEnv(Env& base) : base_(base), state_(std::make_shared<State>()) {}

  // From now on. Not while another thread is inside a call.
  void arm(const Fault& fault) {
    state_->fault = fault;
    state_->calls = 0;
    state_->failed = 0;
  }
  void disarm() { arm({}); }
  uint64_t calls() const { return state_->calls; }    // since the last `arm`
  uint64_t failed() const { return state_->failed; }  // of them

  Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) override;
  Result<FileInfo> stat(const std::string& path) override;
  Result<std::vector<std::string>> list_dir(const std::string& path) override;
  Status make_dirs(const std::string& path) override;
  Status rename(const std::string& from, const std::string& to) override;
  Status link(const std::string& from, const std::string& to) override;
  Status remove(const std::string& path) override;
  Status remove_dir(const std::string& path) override;
  Status sync_dir(const std::string& path) override;
  Result<std::unique_ptr<FileLock>> lock_file(const std::string& path) override;
  Result<DiskSpace> disk_space(const std::string& path) override;
  Status set_attribute(const std::string& path, const std::string& name,
                       const std::string& value) override;
  Result<FileAttributes> attributes(const std::string& path) override;

 private:
  struct State {  // shared with the open files
    Fault fault;
    std::atomic<uint64_t> calls{0};
    std::atomic<uint64_t> failed{0};
  };
  class FaultyFile;
  template <class Call>
  static auto run(State& state, const char* name, const Call& call) -> decltype(call());

  Env& base_;
  const std::shared_ptr<State> state_;
};

}  // namespace cairn::test
