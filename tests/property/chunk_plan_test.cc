// The plan of chunks to stage, against a model that holds the file's bytes.
#include "cache/chunk_plan.h"

#include <doctest/doctest.h>
#include <rapidcheck.h>

#include <map>
#include <string>

namespace cairn {
namespace {

constexpr uint32_t kChunk = 8;

// A file under change: what it was when it was published, and every byte as it is now.
struct Model {
  std::string base;
  std::string now;
  FrozenFile frozen;
  std::map<uint64_t, Extents> chunks;
  std::string log;  // every byte ever written, which is what DataRefs point into

  explicit Model(std::string published) : base(std::move(published)), now(base) {
    frozen.size = frozen.base_limit = base.size();
  }

  void put(uint64_t offset, const std::string& bytes, bool zero) {
    if (bytes.empty()) return;
    if (offset + bytes.size() > now.size()) now.resize(offset + bytes.size());
    now.replace(offset, bytes.size(), bytes);
    const uint64_t start = log.size();
    log += bytes;
    for (uint64_t at = 0; at < bytes.size();) {
      const uint64_t chunk = (offset + at) / kChunk;
      Extent extent;
      extent.offset = static_cast<uint32_t>((offset + at) % kChunk);
      extent.length =
          static_cast<uint32_t>(std::min<uint64_t>(kChunk - extent.offset, bytes.size() - at));
      extent.zero = zero;
      if (!zero) extent.ref.offset = start + at;
      write_extent(chunks[chunk], extent);
      at += extent.length;
    }
  }

  void truncate(uint64_t size) {
    now.resize(size);
    frozen.base_limit = std::min(frozen.base_limit, size);
    for (auto it = chunks.begin(); it != chunks.end();) {
      const uint64_t start = it->first * kChunk;
      if (start >= size) {
        it = chunks.erase(it);
        continue;
      }
      if (size - start < kChunk) cut_extents(it->second, static_cast<uint32_t>(size - start));
      it = it->second.empty() ? chunks.erase(it) : std::next(it);
    }
  }

  void freeze() {
    frozen.size = now.size();
    frozen.chunks.clear();
    for (const auto& [index, extents] : chunks) frozen.chunks.push_back({index, extents});
  }
};

std::string chunk_of(const std::string& content, uint64_t index) {
  return index * kChunk >= content.size() ? "" : content.substr(index * kChunk, kChunk);
}

std::string assemble(const Model& model, const ChunkPlan& plan) {
  const std::string base = chunk_of(model.base, plan.index);
  std::string out;
  for (const Piece& piece : plan.pieces) {
    RC_ASSERT(piece.offset == out.size());
    if (piece.kind == Piece::Kind::kData) {
      out += model.log.substr(piece.ref.offset, piece.length);
      continue;
    }
    for (uint32_t i = piece.offset; i < piece.offset + piece.length; ++i)
      out += piece.kind == Piece::Kind::kBase && i < plan.base_bytes ? base.at(i) : '\0';
  }
  return out;
}

TEST_CASE("chunk plan: assembling what is planned gives the file, and nothing else changed") {
  const bool ok = rc::check([] {
    const auto length = *rc::gen::inRange(0, 60);
    Model model(
        *rc::gen::container<std::string>(static_cast<size_t>(length), rc::gen::inRange('a', 'z')));
    const auto steps = *rc::gen::inRange(0, 6);
    for (int i = 0; i < steps; ++i) {
      const auto offset = static_cast<uint64_t>(*rc::gen::inRange(0, 70));
      const auto count = static_cast<size_t>(*rc::gen::inRange(1, 20));
      switch (*rc::gen::inRange(0, 3)) {
        case 0:
          model.put(offset, std::string(count, 'A'), false);
          break;
        case 1:
          model.put(offset, std::string(count, '\0'), true);
          break;
        default:
          model.truncate(offset);
      }
    }
    model.freeze();
    const auto plans = plan_chunks(model.frozen, model.base.size(), kChunk);
    RC_ASSERT(plans.has_value());
    const uint64_t kept = kept_bytes(model.frozen, model.base.size());
    std::map<uint64_t, std::string> planned;
    for (const ChunkPlan& plan : *plans) {
      const std::string bytes = assemble(model, plan);
      RC_ASSERT(bytes.size() == plan.length);
      RC_ASSERT(planned.emplace(plan.index, bytes).second);
      if (plan.zero()) RC_ASSERT(bytes == std::string(bytes.size(), '\0'));
      if (plan.whole()) RC_ASSERT(!plan.needs_base());
    }
    for (uint64_t chunk = 0; chunk * kChunk < model.now.size(); ++chunk) {
      const std::string wanted = chunk_of(model.now, chunk);
      const auto it = planned.find(chunk);
      if (it != planned.end()) {
        RC_ASSERT(it->second == wanted);
        planned.erase(it);
      } else if (chunk * kChunk < kept) {
        RC_ASSERT(wanted == chunk_of(model.base, chunk));
      } else {
        RC_ASSERT(wanted == std::string(wanted.size(), '\0'));
      }
    }
    RC_ASSERT(planned.empty());  // nothing behind the end
  });
  CHECK(ok);
}

TEST_CASE("chunk plan: the base is asked for only where it shows") {
  FrozenFile file;
  file.size = 24;
  file.base_limit = 20;
  file.chunks = {{1, {{0, 8, false, {}, 1}}}, {2, {{0, 4, false, {}, 1}}}};
  const auto plans = plan_chunks(file, 24, kChunk);
  REQUIRE(plans.has_value());
  REQUIRE(plans->size() == 2);
  CHECK((*plans)[0].whole());
  CHECK(!(*plans)[0].needs_base());
  CHECK(!(*plans)[1].needs_base());  // bytes 16 to 19 are written, 20 and on are cut
  file.base_limit = 21;
  CHECK((*plan_chunks(file, 24, kChunk))[1].needs_base());
}

TEST_CASE("chunk plan: a file that grows or is cut at a chunk's end keeps its chunks") {
  FrozenFile file;
  file.size = 1ULL << 40;
  file.base_limit = 16;
  CHECK(plan_chunks(file, 16, kChunk)->empty());
  file.size = 16;
  CHECK(plan_chunks(file, 1ULL << 40, kChunk)->empty());
  file.size = 17;
  CHECK(plan_chunks(file, 16, kChunk)->empty());  // a last chunk of one zero
  file.base_limit = 15;
  REQUIRE(plan_chunks(file, 16, kChunk)->size() == 1);
  CHECK(plan_chunks(file, 16, kChunk)->front().index == 1);
}

TEST_CASE("chunk plan: chunks out of order are refused") {
  FrozenFile file;
  file.size = 100;
  file.chunks = {{2, {}}, {1, {}}};
  CHECK(plan_chunks(file, 0, kChunk).error().code() == Errc::kInvalid);
}

}  // namespace
}  // namespace cairn
