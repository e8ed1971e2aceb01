#include "fs/dir_cookies.h"

#include <algorithm>

namespace cairn {

namespace {

// Names have at most 255 bytes, so a byte says a length.
void put_name(std::string& out, std::string_view before, std::string_view name) {
  const auto differ = std::mismatch(before.begin(), before.end(), name.begin(), name.end());
  const auto shared = static_cast<size_t>(differ.first - before.begin());
  out.push_back(static_cast<char>(shared));
  out.push_back(static_cast<char>(name.size() - shared));
  out.append(name.substr(shared));
}

}  // namespace

std::string DirCookies::name_at(uint64_t cookie) const {
  const uint64_t index = cookie - kFirst;
  const Block& block = blocks_[index / kBlockNames];
  const uint64_t wanted = std::min<uint64_t>(index % kBlockNames, block.names - 1);
  std::string name;
  const char* at = block.bytes.data();
  for (uint64_t i = 0; i <= wanted; ++i) {
    const auto shared = static_cast<unsigned char>(at[0]);
    const auto rest = static_cast<unsigned char>(at[1]);
    name.resize(shared);
    name.append(at + 2, rest);
    at += 2 + rest;
  }
  return name;
}

DirCookies::Position DirCookies::find(uint64_t cookie) const {
  cookie = std::min(cookie, end() - 1);
  if (cookie < kFirst) return {};
  return {cookie, name_at(cookie)};
}

uint64_t DirCookies::next(uint64_t before, std::string_view name) {
  const uint64_t old = before + 1;
  if (old < end() && name_at(old) == name) return old;
  append(name);
  return end() - 1;
}

void DirCookies::append(std::string_view name) {
  if (count_ % kBlockNames == 0) {
    if (!blocks_.empty()) blocks_.back().bytes.shrink_to_fit();
    blocks_.emplace_back();
    last_.clear();
  }
  Block& block = blocks_.back();
  const size_t size_before = block.bytes.size();
  put_name(block.bytes, last_, name);
  ++block.names;
  ++count_;
  bytes_ += block.bytes.size() - size_before;
  last_ = name;
  if (bytes_ > max_bytes_) shrink();
}

void DirCookies::shrink() {
  // The newest block stays whole.
  while (bytes_ > max_bytes_ / 2 && shrunk_ + 1 < blocks_.size()) {
    Block& block = blocks_[shrunk_++];
    const size_t first = 2 + static_cast<unsigned char>(block.bytes[1]);
    bytes_ -= block.bytes.size() - first;
    block.bytes = block.bytes.substr(0, first);
    block.names = 1;
  }
}

}  // namespace cairn
