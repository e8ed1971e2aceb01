#include "cache/tail_files.h"

#include <fmt/format.h>

#include <utility>

#include "cache/base/log.h"

namespace cairn {
namespace {
constexpr std::string_view kTailSuffix = ".tail";
constexpr std::string_view kTailPartSuffix = ".part";
constexpr Duration kTailLogInterval = std::chrono::minutes(1);

std::optional<Digest> pack_of_name(std::string_view name) {
  if (!name.ends_with(kTailSuffix)) return std::nullopt;
  name.remove_suffix(kTailSuffix.size());
  const auto pack = Digest::from_hex(name);
  if (!pack) return std::nullopt;
  return *pack;
}
}  // namespace

std::string TailFiles::path(const Digest& pack) const {
  return dir_ + "/" + pack.hex() + std::string(kTailSuffix);
}

Result<std::shared_ptr<TailFiles>> TailFiles::open(Env& env, std::string dir, uint64_t bytes_max) {
  std::shared_ptr<TailFiles> files(new TailFiles(env, std::move(dir), bytes_max));
  TRY(files->adopt());
  return files;
}

Status TailFiles::adopt() {
  TRY(env_.make_dirs(dir_));
  TRY_ASSIGN(const auto names, env_.list_dir(dir_));
  for (const std::string& name : names) {
    const auto pack = pack_of_name(name);
    const auto info = env_.stat(dir_ + "/" + name);
    if (pack && info && info->is_regular && bytes_ + info->size <= bytes_max_) {
      bytes_of_.emplace(*pack, info->size);
      bytes_ += info->size;
    } else if (pack || name.ends_with(kTailPartSuffix)) {
      TRY(env_.remove(dir_ + "/" + name));
    }
  }
  return {};
}

bool TailFiles::has(const Digest& pack) const {
  const std::lock_guard lock(mutex_);
  return bytes_of_.contains(pack);
}

std::vector<Digest> TailFiles::packs() const {
  std::vector<Digest> all;
  const std::lock_guard lock(mutex_);
  for (const auto& [pack, bytes] : bytes_of_) all.push_back(pack);
  return all;
}

uint64_t TailFiles::room() const {
  const std::lock_guard lock(mutex_);
  return refused_ ? 0 : bytes_max_ - bytes_;
}

std::optional<PackTail> TailFiles::load(const PackName& pack) {
  // Without its pack's size a tail cannot be judged.
  if (pack.size == 0 || !has(pack.digest)) return std::nullopt;
  auto tail = map(pack);
  if (tail) return *std::move(tail);
  log_info("{}: {}; it will be fetched again", path(pack.digest), tail.error().message());
  unlink(forget({pack.digest}));
  return std::nullopt;
}

Result<PackTail> TailFiles::map(const PackName& pack) {
  TRY_ASSIGN(const auto file, env_.open(path(pack.digest), OpenMode::kRead));
  TRY_ASSIGN(const Buffer bytes, file->map());
  TRY_ASSIGN(const uint64_t need, PackTail::need(bytes, pack.size));
  if (need > bytes.size()) return fail(Errc::kCorruption, "the file is too short");
  return PackTail::parse(bytes, pack.size, pack.digest);
}

std::optional<PackTail> TailFiles::keep(const PackTail& tail) {
  const Digest& pack = tail.name();
  const uint64_t bytes = tail.block().size();
  uint64_t call = 0;
  {
    const std::lock_guard lock(mutex_);
    if (bytes < kBytesMin || bytes_of_.contains(pack) || incoming_.contains(pack))
      return std::nullopt;
    refused_ = refused_ || bytes_ + bytes > bytes_max_;
    if (refused_) return std::nullopt;
    call = ++calls_;
    incoming_.emplace(pack, call);
    bytes_ += bytes;
  }
  auto kept = [&]() -> Result<PackTail> {
    TRY_ASSIGN(const Buffer mapped, write(pack, call, tail.block()));
    return tail.moved_to(mapped);
  }();
  bool wanted = false;  // it was not forgotten meanwhile
  {
    const std::lock_guard lock(mutex_);
    const auto it = incoming_.find(pack);
    wanted = it != incoming_.end() && it->second == call;
    if (wanted) incoming_.erase(it);
    if (wanted && kept)
      bytes_of_.emplace(pack, bytes);
    else
      bytes_ -= bytes;
    refused_ = refused_ || !kept;
  }
  if (!kept) log_once_per(kTailLogInterval, "tail-file", kept.error().message());
  if (wanted && kept) return *std::move(kept);
  unlink({pack});
  return std::nullopt;
}

Result<Buffer> TailFiles::write(const Digest& pack, uint64_t number, Bytes bytes) {
  const std::string part = fmt::format("{}.{}{}", path(pack), number, kTailPartSuffix);
  TRY_ASSIGN(const auto file, env_.open(part, OpenMode::kCreate));
  const auto fill = [&]() -> Result<Buffer> {
    TRY(file->truncate(0));
    TRY(file->write_at(0, bytes));
    TRY(env_.rename(part, path(pack)));
    return file->map();
  };
  auto mapped = fill();
  // What failed is said already; adopt() removes it otherwise.
  if (!mapped) (void)env_.remove(part);
  return mapped;
}

std::vector<Digest> TailFiles::forget(const std::vector<Digest>& packs) {
  std::vector<Digest> had;
  const std::lock_guard lock(mutex_);
  refused_ = false;  // with each commit, too
  for (const Digest& pack : packs) {
    incoming_.erase(pack);  // who writes it removes it
    const auto it = bytes_of_.find(pack);
    if (it == bytes_of_.end()) continue;
    bytes_ -= it->second;
    bytes_of_.erase(it);
    had.push_back(pack);
  }
  return had;
}

void TailFiles::unlink(const std::vector<Digest>& packs) {
  for (const Digest& pack : packs) {
    const Status removed = env_.remove(path(pack));
    if (!removed && removed.error().code() != Errc::kNotFound)
      log_warn("{}", removed.error().message());
  }
}

}  // namespace cairn
