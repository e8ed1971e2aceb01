#include "tests/support/faulty_env.h"

namespace cairn::test {

template <class Call>
auto FaultyEnv::run(State& state, const char* name, const Call& call) -> decltype(call()) {
  const uint64_t number = ++state.calls;
  const Fault& fault = state.fault;
  const bool hit = fault.nth > 0 && number >= fault.nth && number - fault.nth < fault.count;
  if (!hit) return call();
  ++state.failed;
  if (fault.when == When::kAfter) (void)call();
  return fail_errno(fault.sys_errno, std::string("injected into ") + name);
}

class FaultyEnv::FaultyFile final : public File {
 public:
  FaultyFile(std::unique_ptr<File> base, std::shared_ptr<State> state)
      : base_(std::move(base)), state_(std::move(state)) {}

  Result<size_t> read_at(uint64_t offset, MutableBytes out) override {
    return run(*state_, "read", [&] { return base_->read_at(offset, out); });
  }
  Status write_at(uint64_t offset, Bytes data) override {
    return run(*state_, "write", [&] { return base_->write_at(offset, data); });
  }
  Status sync_data() override {
    return run(*state_, "sync", [&] { return base_->sync_data(); });
  }
  Result<uint64_t> size() override {
    return run(*state_, "size", [&] { return base_->size(); });
  }
  Result<uint64_t> allocated_bytes() override {
    return run(*state_, "allocated", [&] { return base_->allocated_bytes(); });
  }
  Status allocate(uint64_t offset, uint64_t length) override {
    return run(*state_, "allocate", [&] { return base_->allocate(offset, length); });
  }
  Status punch(uint64_t offset, uint64_t length) override {
    return run(*state_, "punch", [&] { return base_->punch(offset, length); });
  }
  Status truncate(uint64_t size) override {
    return run(*state_, "truncate", [&] { return base_->truncate(size); });
  }

 private:
  const std::unique_ptr<File> base_;
  const std::shared_ptr<State> state_;
};

Result<std::unique_ptr<File>> FaultyEnv::open(const std::string& path, OpenMode mode) {
  TRY_ASSIGN(auto file, run(*state_, "open", [&] { return base_.open(path, mode); }));
  return std::unique_ptr<File>(std::make_unique<FaultyFile>(std::move(file), state_));
}
Result<FileInfo> FaultyEnv::stat(const std::string& path) {
  return run(*state_, "stat", [&] { return base_.stat(path); });
}
Result<std::vector<std::string>> FaultyEnv::list_dir(const std::string& path) {
  return run(*state_, "list", [&] { return base_.list_dir(path); });
}
Status FaultyEnv::make_dirs(const std::string& path) {
  return run(*state_, "make", [&] { return base_.make_dirs(path); });
}
Status FaultyEnv::rename(const std::string& from, const std::string& to) {
  return run(*state_, "rename", [&] { return base_.rename(from, to); });
}
Status FaultyEnv::link(const std::string& from, const std::string& to) {
  return run(*state_, "link", [&] { return base_.link(from, to); });
}
Status FaultyEnv::remove(const std::string& path) {
  return run(*state_, "remove", [&] { return base_.remove(path); });
}
Status FaultyEnv::remove_dir(const std::string& path) {
  return run(*state_, "remove directory", [&] { return base_.remove_dir(path); });
}
Status FaultyEnv::sync_dir(const std::string& path) {
  return run(*state_, "sync directory", [&] { return base_.sync_dir(path); });
}
Result<std::unique_ptr<FileLock>> FaultyEnv::lock_file(const std::string& path) {
  return run(*state_, "lock", [&] { return base_.lock_file(path); });
}
Result<DiskSpace> FaultyEnv::disk_space(const std::string& path) {
  return run(*state_, "disk space", [&] { return base_.disk_space(path); });
}
Status FaultyEnv::set_attribute(const std::string& path, const std::string& name,
                                const std::string& value) {
  return run(*state_, "set attribute", [&] { return base_.set_attribute(path, name, value); });
}
Result<FileAttributes> FaultyEnv::attributes(const std::string& path) {
  return run(*state_, "attributes", [&] { return base_.attributes(path); });
}

}  // namespace cairn::test
