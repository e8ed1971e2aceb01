#include "cache/object_store.h"

#include <algorithm>

#include "cache/await.h"

namespace cairn {

void Body::add(Buffer bytes) {
  if (bytes.empty()) return;
  const uint64_t length = bytes.size();
  pieces_.push_back(Piece{size_, std::move(bytes), nullptr, {}});
  size_ += length;
}

void Body::add(std::shared_ptr<File> file, ByteRange range) {
  if (range.length == 0) return;
  pieces_.push_back(Piece{size_, {}, std::move(file), range});
  size_ += range.length;
}

Result<size_t> Body::read_at(uint64_t offset, MutableBytes out) const {
  size_t done = 0;
  auto it = std::upper_bound(pieces_.begin(), pieces_.end(), offset,
                             [](uint64_t at, const Piece& piece) { return at < piece.start; });
  if (it != pieces_.begin()) --it;
  for (; it != pieces_.end() && done < out.size(); ++it) {
    const uint64_t inside = offset + done - it->start;
    if (inside >= it->length()) continue;
    const auto part = static_cast<size_t>(
        std::min<uint64_t>(it->length() - inside, out.size() - done));
    const MutableBytes target = out.subspan(done, part);
    if (it->file) {
      TRY_ASSIGN(const size_t n, it->file->read_at(it->range.offset + inside, target));
      if (n != part) return fail(Errc::kCorruption, "a cached file is shorter than its range");
    } else {
      std::memcpy(target.data(), it->bytes.data() + inside, part);
    }
    done += part;
  }
  return done;
}

Body Body::slice(ByteRange range) const {
  Body part;
  for (const Piece& piece : pieces_) {
    const uint64_t from = std::max(range.offset, piece.start);
    const uint64_t to = std::min(range.end(), piece.start + piece.length());
    if (from >= to) continue;
    const uint64_t inside = from - piece.start;
    if (piece.file) {
      part.add(piece.file, {piece.range.offset + inside, to - from});
    } else {
      part.add(piece.bytes.slice(static_cast<size_t>(inside), static_cast<size_t>(to - from)));
    }
  }
  return part;
}

Result<Buffer> Body::to_buffer() const {
  if (pieces_.size() == 1 && !pieces_.front().file) return pieces_.front().bytes;
  ByteVec out(size_);
  TRY(read_at(0, out));
  return Buffer(std::move(out));
}

namespace {
tl::unexpected<Error> refuse_key(std::string_view key, const char* why) {
  return fail(Errc::kInvalid, "key '" + std::string(key.substr(0, 80)) + "': " + why);
}
}  // namespace

Status check_any_key(std::string_view key) {
  constexpr size_t kKeySizeMax = 1024;
  if (key.empty()) return refuse_key(key, "it is empty");
  if (key.size() > kKeySizeMax) return refuse_key(key, "it is longer than 1024 bytes");
  if (key.find('\0') != std::string_view::npos) return refuse_key(key, "it has a NUL byte");
  return {};
}

Status check_key(std::string_view key) {
  TRY(check_any_key(key));
  const auto refuse = [whole = key](const char* why) { return refuse_key(whole, why); };
  while (true) {
    const size_t slash = key.find('/');
    const std::string_view part = key.substr(0, slash);
    if (part.empty()) return refuse("it has an empty component");
    if (part == "." || part == "..") return refuse("it has a component '.' or '..'");
    if (slash == std::string_view::npos) return {};
    key.remove_prefix(slash + 1);
  }
}

bool outcome_unknown(const Error& error) {
  if (error.no_effect()) return false;
  switch (error.code()) {
    case Errc::kTransient:
    case Errc::kTimeout:
    case Errc::kCancelled:
    case Errc::kIo: return true;
    default: return false;
  }
}

Result<GetResult> get_sync(ObjectStore& store, std::string key, GetRange range, Context context) {
  return await<GetResult>([&](Callback<GetResult> done) {
    store.get(std::move(key), range, std::move(context), std::move(done));
  });
}

Result<std::string> put_sync(ObjectStore& store, std::string key, Body body,
                             PutCondition condition, Context context) {
  return await<std::string>([&](Callback<std::string> done) {
    store.put(std::move(key), std::move(body), condition, std::move(context), std::move(done));
  });
}

Status remove_sync(ObjectStore& store, std::string key, Context context) {
  return await<void>([&](Callback<void> done) {
    store.remove(std::move(key), std::move(context), std::move(done));
  });
}

Result<ListPage> list_sync(ObjectStore& store, ListScope scope, std::string after,
                           uint32_t limit, Context context) {
  return await<ListPage>([&](Callback<ListPage> done) {
    store.list(std::move(scope), std::move(after), limit, std::move(context), std::move(done));
  });
}

}  // namespace cairn
